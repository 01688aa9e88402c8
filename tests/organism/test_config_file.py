"""Reading organism.yaml: every error names file, line, field and remedy."""

import pickle
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.config import OrganismConfig
from organism.config_file import environment, load_config, parse_config, read_dotenv, sanitized
from organism.errors import ConfigError, ConfigErrors
from organism.yaml_source import parse_yaml

HELLO = Path(__file__).parents[2] / "examples" / "hello"

GREETER = """\
organism: {name: hello}
listeners:
  - name: greeter
    payload_class: handlers.hello.Greeting
    handler: handlers.hello.handle_greeting
"""


def _problem(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "organism.yaml")
    assert len(caught.value.problems) == 1, caught.value
    return caught.value


def _told(text: str) -> tuple[int | None, str, str]:
    error = _problem(text)
    return error.line, error.field, f"{error.problem}. {error.remedy}"


def test_the_keys_of_upstream_work_as_they_are():
    config = parse_config(
        """
organism:
  name: hello
  port: 8765
max_concurrent_pipelines: 50
max_concurrent_handlers: 20
max_concurrent_per_agent: 5
thread_scheduling: depth-first
llm:
  strategy: failover
  retries: 3
  backends:
    - provider: xai
      api_key_env: XAI_API_KEY
      rate_limit_tpm: 100000
listeners:
  - name: greeter
    payload_class: handlers.hello.Greeting
    handler: handlers.hello.handle_greeting
    description: Greets
    agent: true
    peers: [shouter]
    prompt: |
      Be kind.
    timeout_seconds: 30
  - name: shouter
    payload_class: handlers.hello.GreetingResponse
    handler: handlers.hello.handle_shout
    broadcast: true
""",
        "organism.yaml",
    )
    greeter, shouter = config.listeners
    assert (config.organism.name, config.organism.port) == ("hello", 8765)
    assert (config.max_concurrent_pipelines, config.max_concurrent_handlers) == (50, 20)
    assert (config.max_concurrent_per_agent, config.thread_scheduling) == (5, "depth-first")
    assert (config.llm.strategy, config.llm.retries) == ("failover", 3)
    assert config.llm.backends[0].model_dump(include={"provider", "api_key_env", "rate_limit_tpm"}) == {
        "provider": "xai",
        "api_key_env": "XAI_API_KEY",
        "rate_limit_tpm": 100_000,
    }
    assert (greeter.agent, greeter.peers, greeter.prompt, greeter.timeout_s) == (True, ("shouter",), "Be kind.\n", 30)
    assert shouter.broadcast


def test_the_hello_organism_is_read_from_its_folder_and_from_its_file():
    assert load_config(HELLO) == load_config(HELLO / "organism.yaml")
    names = [each.name for each in load_config(HELLO).listeners]
    assert names == ["console", "greeter", "shouter", "response-handler"]


def test_an_unknown_key_is_told_with_line_and_the_nearest_known_one():
    line, field, text = _told(GREETER + "    pears: [a]\n")
    assert (line, field) == (6, "listeners.0.pears")
    assert "Did you mean 'peers'?" in text


def test_an_unknown_key_that_is_like_no_other_is_told_with_all_known_ones():
    line, field, text = _told("organism: {name: hello}\nstorage:\n  zzz: 1\n")
    assert (line, field) == (3, "storage.zzz")
    assert "path, provider" in text


def test_timeout_s_and_timeout_seconds_together_are_one_too_many():
    line, _, text = _told(GREETER + "    timeout_s: 1\n    timeout_seconds: 2\n")
    assert line == 7
    assert "keep one of the two" in text


@pytest.mark.parametrize(
    ("text", "line", "field", "told"),
    [
        (GREETER + "    peers: shouter\n", 6, "listeners.0.peers", "a list"),
        (GREETER + "    agent: perhaps\n", 6, "listeners.0.agent", "true or false"),
        (GREETER + "    timeout_s: soon\n", 6, "listeners.0.timeout_s", "a number"),
        (GREETER + "    timeout_seconds: -1\n", 6, "listeners.0.timeout_seconds", "greater than 0"),
        (GREETER + "    description: 12\n", 6, "listeners.0.description", "quotes"),
        (GREETER + "    isolation: shard\n", 6, "listeners.0.isolation", "'actor' or 'shared'"),
        (GREETER + "    prompt:\n", 6, "listeners.0.prompt", "is empty"),
        (GREETER.replace("name: hello", "name: 1 2"), 1, "organism.name", "begins with a letter"),
        (GREETER.replace("handlers.hello.Greeting", "Greeting"), 4, "listeners.0.payload_class", "handlers.hello."),
        (GREETER.replace("    handler: handlers.hello.handle_greeting\n", ""), 3, "listeners.0.handler", "is missing"),
        ("organism: {port: 1}\n", 1, "organism.name", "Add `name:`"),
        ("organism: hello\n", 1, "organism", "`key: value`"),
        ("listeners: []\n", 1, "organism", "is missing"),
        ("organism:\n  name: hello\n  port: 70000\n", 3, "organism.port", "65535"),
    ],
)
def test_a_wrong_value_is_told_with_its_line_and_what_is_expected(text, line, field, told):
    problem = _told(text)
    assert problem[:2] == (line, field)
    assert told in problem[2]


SHOUTER = "  - {name: shouter, payload_class: a.B, handler: a.b"


@pytest.mark.parametrize(
    ("text", "line", "field", "told"),
    [
        (GREETER + SHOUTER.replace("shouter", "greeter") + "}\n", 6, "listeners.1.name", "listeners.0 already"),
        (GREETER + SHOUTER + ", peers: [greter]}\n", 6, "listeners.1.peers.0", "Did you mean 'greeter'?"),
        (GREETER + SHOUTER + ", peers: [zzz]}\n", 6, "listeners.1.peers.0", "greeter, shouter"),
        (
            GREETER + "    broadcast: true\n" + SHOUTER.replace("a.B", "a.Greeting") + ", broadcast: true}\n",
            7,
            "listeners.1.payload_class",
            "cannot tell it from handlers.hello.Greeting",
        ),
        (
            GREETER + "    model: gork\nllm:\n  backends: [{models: [grok]}]\n",
            6,
            "listeners.0.model",
            "Did you mean 'grok'?",
        ),
        (
            "organism: {name: a}\nllm:\n  backends:\n  - name: x\n  - name: x\n",
            5,
            "llm.backends.1.name",
            "llm.backends.0 already",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_told(text, line, field, told):
    problem = _told(text)
    assert problem[:2] == (line, field)
    assert told in problem[2]


def test_a_key_in_the_place_of_a_variables_name_is_refused_and_not_repeated():
    secret = "sk-abcdefghijklmnopqrstuvwxyz"
    error = _problem(f"organism: {{name: a}}\nllm:\n  backends:\n    - api_key_env: {secret}\n")
    assert (error.line, error.field) == (4, "llm.backends.0.api_key_env")
    assert ".env" in error.remedy
    assert secret not in str(error)


def test_a_secret_in_a_wrong_place_is_not_repeated():
    secret = "sk-abcdefghijklmnopqrstuvwxyz"
    assert secret not in str(_problem(f"organism: {{name: a, port: {secret}}}\n"))


def test_several_problems_are_told_together_in_the_order_of_the_file():
    with pytest.raises(ConfigErrors) as caught:
        parse_config("organism: {name: hello, prot: 1}\nlisteners:\n  - name: a\n", "organism.yaml")
    told = [(each.line, each.field) for each in caught.value.problems]
    assert told == [(1, "organism.prot"), (3, "listeners.0.payload_class"), (3, "listeners.0.handler")]
    assert str(caught.value).count("\n") == 2
    assert (caught.value.line, caught.value.field) == told[0]


@pytest.mark.parametrize("text", ["organism: {name: hello, prot: 1}\n", "organism: {prot: 1}\n"])
def test_errors_cross_process_borders(text):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "organism.yaml")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), vars(copy)) == (type(caught.value), str(caught.value), vars(caught.value))


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", None, "is empty"),
        ("# nothing\n", None, "is empty"),
        ("just text\n", 1, "no mapping"),
        ("\n- a\n", 2, "no mapping"),
        ("organism:\n\tname: hello\n", 2, "tab"),
        ("organism: {name: hello\n", None, "is not YAML"),
        ("organism: 'hello\n", None, "is not YAML"),
        ("a: &a [*a]\n", 1, "contains itself"),
        ("a: *b\n", 1, "undefined alias"),
        ("---\na: 1\n---\nb: 1\n", 3, "another document"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "could not determine a constructor"),
        ("a: 2026-13-45\n", None, "month"),
        ("? [a, b]\n: 1\n", 1, "as a key"),
        ("a: \x00\n", None, "is not YAML"),
        ("[" * 200_000, 1, "nested deeper"),
        ("- " * 200_000, 1, "nested deeper"),
        ("a: 1\n" * 1_000_000, None, "larger than"),
    ],
    ids=lambda each: repr(each)[:30],
)
def test_what_is_no_yaml_mapping_is_told_with_its_line(text, line, told):
    problem = _told(text)
    assert line is None or problem[0] == line
    assert told in problem[2]


def test_keys_that_stand_twice_are_told_wherever_they_are():
    with pytest.raises(ConfigErrors) as caught:
        parse_config("organism:\n  name: a\n  name: b\norganism: {name: c}\n", "organism.yaml")
    told = [(each.line, each.field) for each in caught.value.problems]
    assert sorted(told) == [(3, "organism.name"), (4, "organism")]
    assert "first in line 2" in str(caught.value)


def test_a_bomb_of_aliases_is_refused_before_it_goes_off():
    lines = ["l0: &l0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "Write fewer aliases" in _told("\n".join(lines))[2]


def test_anchors_and_merges_are_understood_and_their_lines_found():
    text = """\
organism: {name: hello}
listeners:
  - &base
    name: a
    payload_class: a.B
    handler: a.b
    timeout_s: -1
  - <<: *base
    name: b
    timeout_s: -2
"""
    with pytest.raises(ConfigErrors) as caught:
        parse_config(text, "organism.yaml")
    assert [each.line for each in caught.value.problems] == [7, 10]


def test_a_file_that_is_not_there_is_told_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(ConfigError, match=f"organism new {tmp_path}"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "other" / "organism.yaml")


def test_a_file_that_is_not_utf8_is_told_with_its_line(tmp_path):
    (tmp_path / "organism.yaml").write_bytes(b"organism:\n  name: \xe9\n")
    with pytest.raises(ConfigError, match=r"organism\.yaml:2: file: is not UTF-8"):
        load_config(tmp_path)


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "organism.yaml").write_bytes(b"\xef\xbb\xbforganism: {name: hello}\n")
    assert load_config(tmp_path).organism.name == "hello"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20) | st.text(alphabet="ab:-{}[]&*!|>#'\"\n\t ,?%@`\\<1é\x00", max_size=60))
def test_no_text_does_more_than_raise_a_config_error(text):
    with suppress(ConfigError):
        parse_yaml(text, "organism.yaml")


def test_the_sanitized_config_holds_no_secrets():
    text = GREETER + "    runtime_env: {env_vars: {API_KEY: hunter2}}\n    prompt: use sk-abcdefghijklmnop\n"
    for shown in (sanitized(text), sanitized(parse_config(text, "organism.yaml"))):
        assert shown["organism"] == {"name": "hello"}
        assert shown["listeners"][0]["runtime_env"] == {"env_vars": {"API_KEY": "***"}}
        assert shown["listeners"][0]["prompt"] == "use ***"


def test_a_config_survives_being_sent_as_json():
    config = load_config(HELLO)
    assert OrganismConfig.model_validate_json(config.model_dump_json()) == config


def test_the_dotenv_beside_the_file_is_read_and_the_real_environment_wins(tmp_path):
    (tmp_path / ".env").write_text("# keys\nexport A=1\nB='two words'\nC=\nD\n", "utf-8")
    assert read_dotenv(tmp_path) == {"A": "1", "B": "two words", "C": ""}
    assert environment(tmp_path, {"A": "real", "Z": "26"}) == {"A": "real", "B": "two words", "C": "", "Z": "26"}


def test_without_a_dotenv_there_are_no_variables(tmp_path):
    assert read_dotenv(tmp_path) == {}


def test_a_broken_line_of_the_dotenv_is_told_without_what_is_in_it(tmp_path):
    (tmp_path / ".env").write_text("A=1\nB='hunter2\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_dotenv(tmp_path)
    assert caught.value.line == 2
    assert "hunter2" not in str(caught.value)
