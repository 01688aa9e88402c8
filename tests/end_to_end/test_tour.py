"""The README's first tour, taken by a new user: the tests are its steps, in order, on one organism."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.end_to_end.terminal import README, TOUR, Ran, Terminal, commands_of, text_of
from tests.end_to_end.up import Up
from tests.ray.launched import wait_for

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the tour uses curl"),
]

SOON_S = 20.0
CHAIN = ["greeter", "shouter", "response-handler"]


@pytest.fixture(scope="module")
def terminal(clone: Path, hello: Up) -> Terminal:
    return Terminal(clone, hello.url)


def agent(hello: Up, name: str) -> dict[str, Any]:
    return hello.get(f"/api/v1/agents/{name}").json()


def thread_status(hello: Up, thread_id: str) -> str:
    return hello.get(f"/api/v1/threads/{thread_id}").json()["status"]


def completes(hello: Up, thread_id: str) -> bool:
    return wait_for(lambda: thread_status(hello, thread_id) == "completed", SOON_S, f"{thread_id} completed")


def refused(ran: Ran, exit_code: int, *words: str) -> None:
    """The command ended with this code, and one error in readable words."""
    assert (ran.exit_code, ran.output) == (exit_code, ""), ran
    assert ran.errors.startswith("error: ")
    assert [word for word in words if word not in ran.errors] == [], ran.errors


def test_the_steps_of_the_tour_are_the_tests_of_this_file() -> None:
    assert re.findall(r"^\*\*(\w+)\.\*\*", TOUR, re.MULTILINE) == ["Send", "Watch", "Pause", "Kill", "Reload", "Stop"]


def test_send(hello: Up, terminal: Terminal) -> None:
    waited, posted, thread, schema, wrong = map(terminal.run, commands_of("Send"))
    assert waited.exit_code == 0, waited
    assert [re.findall(r"→ ([\w-]+)", line) for line in waited.lines[1:-1]] == [[name] for name in CHAIN]
    assert "HELLO, DAN!" in waited.lines[-2]
    assert waited.lines[-1] == "completed, 3 messages"
    accepted = json.loads(posted.output)
    assert set(accepted) == {"thread_id", "message_id", "seq"}
    assert json.loads(thread.output)["id"] == accepted["thread_id"]
    assert json.loads(schema.output)["required"] == ["name"]
    refused(wrong, 3, "name: Field required", "nmae: Extra inputs are not permitted")


def test_watch(hello: Up, terminal: Terminal) -> None:
    tail, status, threads, thread = commands_of("Watch")

    def send() -> None:
        hello.post("/api/v1/inject", json={"to": "greeter", "payload": {"name": "Eve"}}).raise_for_status()

    with terminal.running(tail) as said:
        wait_for(lambda: send() or "HELLO, EVE!" in said.read_text(), SOON_S, "tail shows the greeting")
    assert "Traceback" not in said.read_text()
    listed = terminal.run(status)
    assert f"hello at {hello.url}: running" in listed.lines[0]
    assert [line.split()[0] for line in listed.lines[1:]] == ["agent", "console", *CHAIN]
    completed = terminal.run(threads)
    assert terminal.thread_id in completed.output
    shown = terminal.run(thread)
    assert len(shown.lines) == 5
    assert shown.lines[-1] == "completed, 3 messages"


def next_of(stream: ClientConnection, event: str | None) -> dict[str, Any]:
    while (heard := json.loads(stream.recv(SOON_S))).get("event") != event:
        pass
    return heard


def test_watch_over_websockets(hello: Up) -> None:
    address = hello.url.replace("http", "ws")
    with connect(f"{address}/ws", proxy=None) as events, connect(f"{address}/ws/messages", proxy=None) as log:
        snapshot = next_of(events, "connected")
        assert [each["name"] for each in snapshot["agents"]] == ["console", *CHAIN]
        log.send(json.dumps({"cmd": "subscribe", "filter": {"agents": ["response-handler"], "since": snapshot["seq"]}}))
        events.send(json.dumps({"cmd": "inject", "id": 1, "to": "greeter", "payload": {"name": "Zoe"}}))
        thread_id = next_of(events, "ack")["thread_id"]
        shouted = next_of(log, None)
        assert (shouted["thread_id"], shouted["payload"]["message"]) == (thread_id, "HELLO, ZOE!")
        while next_of(events, "thread_updated")["status"] != "completed":
            pass


def test_pause(hello: Up, terminal: Terminal) -> None:
    pause, inject, status, resume = commands_of("Pause")
    assert terminal.run(pause).output == "shouter is paused; `organism resume shouter` goes on\n"
    assert terminal.run(inject).output == f"thread {terminal.thread_id}\n"
    wait_for(lambda: agent(hello, "shouter")["queue_depth"] == 1, SOON_S, "one message waits for the shouter")
    assert re.search(r"^shouter +waiting \(paused\) +1 ", terminal.run(status).output, re.MULTILINE)
    assert thread_status(hello, terminal.thread_id) == "active"
    assert terminal.run(resume).output == "shouter goes on\n"
    completes(hello, terminal.thread_id)


def test_kill_a_thread(hello: Up, terminal: Terminal) -> None:
    pause, inject, kill, resume = commands_of("Kill")
    terminal.run(pause)
    terminal.run(inject)
    wait_for(lambda: agent(hello, "shouter")["queue_depth"] == 1, SOON_S, "one message waits for the shouter")
    assert terminal.run(kill).output == f"thread {terminal.thread_id} is killed\n"
    assert terminal.run(resume).exit_code == 0
    shown = terminal.run(f"organism thread {terminal.thread_id}")
    assert shown.lines[-1] == "killed, 2 messages"
    assert shown.lines[-2].endswith("[dropped]")
    again = terminal.run(f"""organism inject greeter '{{"name": "Bob"}}' --thread {terminal.thread_id}""")
    refused(again, 3, "killed")


def test_kill_a_process(hello: Up, terminal: Terminal) -> None:
    assert "kill -9" in text_of("Kill")
    before = {each["name"]: each for each in json.loads(terminal.run("organism status --json").output)["agents"]}
    os.kill(before["greeter"]["pid"], signal.SIGKILL)
    answer = terminal.run("""organism inject greeter '{"name": "Dan"}' --wait""")
    assert answer.lines[-1] == "completed, 3 messages", answer
    after = wait_for(lambda: (now := agent(hello, "greeter"))["restarts"] and now, SOON_S, "the restart is shown")
    assert after["restarts"] == before["greeter"]["restarts"] + 1
    assert after["pid"] != before["greeter"]["pid"]
    assert agent(hello, "shouter")["pid"] == before["shouter"]["pid"]


def test_reload(hello: Up, terminal: Terminal, clone: Path) -> None:
    assert "`examples/hello/handlers/hello.py`" in text_of("Reload")
    reload, inject = commands_of("Reload")
    assert terminal.run(reload).output == "no listener has changed\n"
    handlers = clone / "examples/hello/handlers/hello.py"
    handlers.write_text(handlers.read_text().replace("Hello, ", "Good morning, "))
    changed = terminal.run(reload)
    assert changed.exit_code == 0, changed
    assert re.fullmatch(r"changed [\w, -]*greeter[\w, -]*\n", changed.output)
    assert "GOOD MORNING, DAN!" in terminal.run(inject).output


def test_a_wrong_file_changes_nothing(hello: Up, terminal: Terminal, clone: Path) -> None:
    file = clone / "examples/hello/organism.yaml"
    before = file.read_text()
    file.write_text(f"{before}\nlistenres: []\n")
    line = before.count("\n") + 2
    refused(terminal.run("organism reload"), 3, f"organism.yaml:{line}: listenres: ", "listeners")
    checked = terminal.run("organism check examples/hello")
    refused(checked, 4, f"organism.yaml:{line}: listenres: ")
    file.write_text(before)
    assert terminal.run("organism check examples/hello").output == f"{file} is valid: hello, 4 listeners\n"
    assert terminal.run("""organism inject greeter '{"name": "Dan"}' --wait""").exit_code == 0


CLUMSY = """
from organism import Context, Payload

class Cup(Payload):
    of: str

async def carry(payload: Cup, context: Context) -> None:
    raise RuntimeError(f"spilled the {payload.of}")
"""
CLUMSY_LISTENER = """
  - {name: waiter, payload_class: handlers.waiter.Cup, handler: handlers.waiter.carry, description: Carries cups}
"""


def test_dead_letters_get_another_chance(hello: Up, terminal: Terminal, clone: Path) -> None:
    folder = clone / "examples/hello"
    (folder / "handlers/waiter.py").write_text(CLUMSY)
    with (folder / "organism.yaml").open("a") as file:
        file.write(CLUMSY_LISTENER)
    assert terminal.run("organism reload").output == "added waiter\n"
    failed = terminal.run("""organism inject waiter '{"of": "tea"}' --wait""")
    assert failed.exit_code == 6
    assert failed.lines[-1].startswith("error, 1 message: ")
    assert "spilled the tea" in failed.lines[-1]
    listed = terminal.run("organism dead-letters")
    assert "spilled the tea" in listed.output
    [letter] = json.loads(terminal.run("organism dead-letters --json").output)["dead_letters"]
    (folder / "handlers/waiter.py").write_text(CLUMSY.replace("raise RuntimeError", "print"))
    assert terminal.run("organism reload").output == "changed waiter\n"
    assert terminal.run(f"organism requeue {letter['id']}").exit_code == 0
    completes(hello, terminal.thread_id)
    assert terminal.run("organism dead-letters").errors == "there are none\n"
    wait_for(lambda: "waiter | spilled the tea\n" in hello.output, SOON_S, "what the handler prints")


def test_unknown_names_are_refused_in_words(terminal: Terminal) -> None:
    refused(terminal.run("organism inject nobody '{}'"), 3, "no agent named 'nobody'")
    refused(terminal.run("organism inject greeter '{'"), 2, "the payload is not JSON")
    refused(terminal.run("organism pause nobody"), 3, "no agent named 'nobody'")
    refused(terminal.run("organism thread 1"), 3, "no thread '1'")
    refused(terminal.run("organism kill 1"), 3, "no thread '1'")
    refused(terminal.run("organism requeue 1"), 3, "no dead letter '1'")


def test_a_new_organism_runs_at_once(terminal: Terminal, clone: Path) -> None:
    written = terminal.run("organism new my-organism")
    assert written.exit_code == 0, written
    [start] = [line for line in written.lines if line.startswith("start it")]
    [send] = [line for line in written.lines if line.startswith("send to it")]
    assert start.endswith(" organism up my-organism")
    assert terminal.run("organism check my-organism").exit_code == 0
    refused(terminal.run("organism new my-organism"), 1, "organism.yaml")
    up = Up(clone / "my-organism", "--port", "0")
    try:
        other = Terminal(clone, up.wait_ready().url)
        answer = other.run(send.removeprefix("send to it").strip())
        assert answer.exit_code == 0, answer
        assert answer.lines[-1].startswith("completed, ")
        assert other.run("organism down").exit_code == 0
        assert up.process.wait(SOON_S) == 0
    finally:
        up.end()


def test_stop(hello: Up, terminal: Terminal) -> None:
    assert "`organism down`" in text_of("Stop")
    url = hello.url
    assert terminal.run("organism down").output == f"the organism at {url} is stopped\n"
    assert hello.process.wait(SOON_S) == 0
    assert not hello.run_file.exists()
    wait_for(lambda: not hello.pids(), SOON_S, "its processes gone")
    refused(terminal.run("organism status"), 1, f"nothing answers at {url}; start it with `organism up`")
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_the_tour_starts_as_the_makefile_does() -> None:
    assert "`make run`" in TOUR
    assert "organism up examples/hello/organism.yaml" in (README.parent / "Makefile").read_text()
