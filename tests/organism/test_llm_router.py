"""The router: whom it asks, when it asks again, and the limits it keeps. Time is virtual where it matters."""

import asyncio
from contextlib import aclosing

import pytest

from organism.config import Backend, LlmSection
from organism.llm.base import (
    ChatMessage,
    Final,
    ModelNotFound,
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    NoBackendAnswered,
    NoModelConfigured,
    TextDelta,
    answer,
)
from organism.llm.openai import OpenAiProvider
from organism.llm.router import COOL_DOWN_S, MAX_PAUSE_S, Router, backend_names
from organism.llm.scripted import ScriptedProvider, ScriptedReply
from tests.fake_llm import FakeLlm, Reply

QUESTION = [ChatMessage("user", "Hello?")]


class VirtualTime:
    """A clock that moves only when somebody sleeps; `slept` says how long each time."""

    def __init__(self):
        self.now_s = 1000.0
        self.slept = []

    def clock(self):
        return self.now_s

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


class Gate:
    """A provider whose replies wait until they are let through."""

    def __init__(self, name):
        self.name = name
        self.running = 0
        self.peak = 0
        self.started = []
        self.turn = asyncio.Semaphore(0)

    async def stream(self, messages, tools=(), *, model=None, temperature=None, max_tokens=None):
        self.running += 1
        self.peak = max(self.peak, self.running)
        self.started.append(messages[0].content)
        try:
            await self.turn.acquire()
            async for event in ScriptedProvider(self.name, ("ok",)).stream(messages):
                yield event
        finally:
            self.running -= 1

    async def aclose(self):
        return


@pytest.fixture
def time():
    return VirtualTime()


def failing(name, *errors):
    """A provider that raises each of these in turn, None for an answer; afterwards it answers."""
    left = list(errors)

    def script(_):
        error = left.pop(0) if left else None
        return ScriptedReply(f"from {name}") if error is None else ScriptedReply(error=error)

    return ScriptedProvider(name, script)


def router_over(*providers, time, strategy="failover", retries=2, backends=None, delay_s=1.0):
    backends = backends or tuple(Backend(provider="scripted", name=each.name) for each in providers)
    config = LlmSection(strategy=strategy, retries=retries, retry_delay_s=delay_s, backends=backends)
    return Router(config, providers, clock=time.clock, sleep=time.sleep, jitter=lambda: 1.0)


async def asked(router, **options):
    return (await answer(router, QUESTION, **options)).text


def down(name="a"):
    return ModelUnavailable(name, "down")


# --- who is asked ---------------------------------------------------------------------------------------------------


async def test_failover_asks_the_first_as_long_as_it_answers(time):
    router = router_over(failing("a"), failing("b"), time=time)
    assert [await asked(router) for _ in range(3)] == ["from a"] * 3


async def test_failover_goes_to_the_next_at_once_when_one_fails(time):
    router = router_over(failing("a", down()), failing("b"), time=time)
    assert await asked(router) == "from b"
    assert time.slept == []


async def test_a_backend_that_failed_is_passed_over_until_it_has_cooled_down(time):
    router = router_over(failing("a", down()), failing("b"), time=time)
    assert [await asked(router) for _ in range(3)] == ["from b"] * 3
    assert not router.status()[0].is_healthy
    time.now_s += COOL_DOWN_S
    assert await asked(router) == "from a"
    assert router.status()[0].is_healthy


async def test_a_backend_that_is_cooling_down_is_asked_when_all_others_fail(time):
    router = router_over(failing("a", down()), failing("b", None, down("b")), time=time)
    assert await asked(router) == "from b"
    assert await asked(router) == "from a"


async def test_round_robin_takes_turns(time):
    router = router_over(failing("a"), failing("b"), failing("c"), time=time, strategy="round-robin")
    answers = [await asked(router) for _ in range(6)]
    assert answers == ["from a", "from b", "from c"] * 2


async def test_round_robin_takes_turns_among_those_that_have_the_model(time):
    backends = (
        Backend(provider="scripted", models=("x", "y")),
        Backend(provider="scripted", models=("x", "y")),
        Backend(provider="scripted", models=("y",)),
    )
    providers = (failing("a"), failing("b"), failing("c"))
    router = router_over(*providers, time=time, strategy="round-robin", backends=backends)
    answers = [await asked(router, model=model) for model in ("x", "y", "x", "y", "x", "y")]
    assert [each[-1] for each in answers] == ["a", "b", "a", "c", "b", "a"]


async def test_least_loaded_takes_the_one_with_the_fewest_calls_under_way(time):
    gates = [Gate("a"), Gate("b")]
    router = router_over(*gates, time=time, strategy="least-loaded")
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(asked(router))
            await asyncio.sleep(0)
        await until(lambda: gates[0].running + gates[1].running == 6)
        assert [gate.running for gate in gates] == [3, 3]
        gates[1].turn.release()
        await until(lambda: router.status()[1].in_flight == 2)
        group.create_task(asked(router))
        await until(lambda: gates[1].running == 3)
        for gate in gates:
            for _ in range(3):
                gate.turn.release()


async def test_a_model_is_asked_of_the_backends_that_list_it(time):
    backends = (Backend(provider="openai", models=("x",)), Backend(provider="openai", models=("y", "z")))
    router = router_over(failing("a"), failing("b"), time=time, backends=backends)
    assert await asked(router, model="z") == "from b"
    assert await asked(router) == "from a"
    assert router.models == ("x", "y", "z")


async def test_a_model_nobody_lists_is_not_found_and_those_there_are_named(time):
    router = router_over(failing("a"), time=time, backends=(Backend(models=("x", "y")),))
    with pytest.raises(ModelNotFound, match="x, y"):
        await asked(router, model="z")


async def test_a_backend_without_a_list_takes_any_name_but_needs_one(time):
    router = router_over(failing("a"), time=time, backends=(Backend(provider="ollama"),))
    assert await asked(router, model="whatever") == "from a"
    with pytest.raises(ModelNotFound, match="no model is named"):
        await asked(router)


async def test_without_backends_the_router_exists_and_asking_it_tells_how_to_add_one():
    router = Router.from_config(LlmSection(), {})
    with pytest.raises(NoModelConfigured):
        await asked(router)
    await router.aclose()


def test_backends_without_names_get_their_providers_numbered():
    backends = [Backend(), Backend(name="openai-2"), Backend(), Backend(provider="xai")]
    assert backend_names(backends) == ["openai", "openai-2", "openai-3", "xai"]


# --- when it is asked again -----------------------------------------------------------------------------------------


async def test_the_delay_doubles_from_retry_to_retry(time):
    router = router_over(failing("a", down(), down(), down()), time=time, retries=3)
    assert await asked(router) == "from a"
    assert time.slept == [1.0, 2.0, 4.0]


async def test_the_delay_is_jittered_downwards_to_a_half(time):
    config = LlmSection(retries=1, retry_delay_s=1.0, backends=(Backend(provider="scripted"),))
    router = Router(config, [failing("a", down())], clock=time.clock, sleep=time.sleep, jitter=lambda: 0.0)
    await asked(router)
    assert time.slept == [0.5]


async def test_after_all_retries_the_error_of_the_only_backend_is_raised(time):
    router = router_over(failing("a", *[down()] * 9), time=time, retries=2)
    with pytest.raises(ModelUnavailable, match="down"):
        await asked(router)
    assert router.status()[0].requests == router.status()[0].failures == 3


async def test_with_several_backends_the_error_tells_of_each(time):
    router = router_over(failing("a", *[down()] * 9), failing("b", *[ModelTimeout("b", 5)] * 9), time=time)
    with pytest.raises(NoBackendAnswered, match=r"'a': down.*'b': nothing came for 5 s"):
        await asked(router)


async def test_retry_after_is_waited_for(time):
    router = router_over(failing("a", ModelRateLimited("a", "slow", 20.0)), time=time)
    assert await asked(router) == "from a"
    assert 20 <= sum(time.slept) <= 23


async def test_a_rate_limited_backend_is_left_alone_while_another_answers(time):
    a, b = failing("a", ModelRateLimited("a", "slow", 20.0)), failing("b", None, down("b"))
    router = router_over(a, b, time=time)
    assert await asked(router) == "from b"
    assert await asked(router) == "from b"
    assert len(a.calls) == 1
    time.now_s += 20
    assert await asked(router) == "from a"


async def test_an_endpoint_that_asks_to_wait_for_long_is_reported_instead(time):
    router = router_over(failing("a", ModelRateLimited("a", "quota", MAX_PAUSE_S * 10)), time=time)
    with pytest.raises(ModelRateLimited) as caught:
        await asked(router)
    assert caught.value.retry_after_s == pytest.approx(MAX_PAUSE_S * 10, abs=2)
    assert sum(time.slept) < 2


async def test_a_wrong_key_fails_over_and_is_not_tried_again(time):
    a, b = failing("a", *[ModelRejected("a", 401, "key")] * 9), failing("b", down("b"), None)
    router = router_over(a, b, time=time)
    assert await asked(router) == "from b"
    assert len(a.calls) == 1


async def test_a_wrong_key_on_the_only_backend_is_not_retried(time):
    router = router_over(failing("a", *[ModelRejected("a", 401, "key")] * 9), time=time)
    with pytest.raises(ModelRejected):
        await asked(router)
    assert time.slept == []


async def test_a_bad_request_is_bad_everywhere_and_tried_nowhere_else(time):
    b = failing("b")
    router = router_over(failing("a", ModelRejected("a", 400, "too long")), b, time=time)
    with pytest.raises(ModelRejected, match="too long"):
        await asked(router)
    assert not b.calls
    assert router.status()[0].is_healthy


async def test_a_break_after_the_first_delta_is_an_error_and_never_a_second_beginning(time):
    broken = ScriptedReply("Well", error=ModelProtocolError("a", "the reply broke off"))
    a, b = ScriptedProvider("a", (broken,)), failing("b")
    router = router_over(a, b, time=time)
    seen = []

    async def read():
        async for event in router.stream(QUESTION):
            seen.append(event)  # noqa: PERF401 - what came before the error must be kept

    with pytest.raises(ModelProtocolError):
        await read()
    assert seen == [TextDelta("Well")]
    assert not b.calls


# --- limits ---------------------------------------------------------------------------------------------------------


async def test_no_more_than_max_concurrent_calls_run_at_once_and_they_start_in_order(time):
    gate = Gate("a")
    router = router_over(gate, time=time, backends=(Backend(provider="scripted", max_concurrent=2),))
    names = [str(number) for number in range(6)]
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(answer(router, [ChatMessage("user", name)]))
        await until(lambda: gate.running == 2)
        assert router.status()[0].in_flight == 6
        for _ in names:
            gate.turn.release()
    assert gate.peak == 2
    assert gate.started == names


async def test_a_backend_at_its_limit_is_passed_over_for_one_with_room(time):
    gates = [Gate("a"), Gate("b")]
    backends = (Backend(provider="scripted", max_concurrent=1), Backend(provider="scripted"))
    router = router_over(*gates, time=time, backends=backends)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(asked(router))
        await until(lambda: gates[0].running + gates[1].running == 3)
        assert [gate.running for gate in gates] == [1, 2]
        for gate in gates:
            gate.turn.release()
        gates[1].turn.release()


async def test_a_call_that_is_cancelled_while_it_waits_gives_its_place_back(time):
    gate = Gate("a")
    router = router_over(gate, time=time, backends=(Backend(provider="scripted", max_concurrent=1),))
    first, second = (asyncio.create_task(asked(router)) for _ in range(2))
    await until(lambda: router.status()[0].in_flight == 2)
    second.cancel()
    await asyncio.wait({second})
    gate.turn.release()
    assert await first == "ok"
    assert router.status()[0].in_flight == 0
    gate.turn.release()
    assert await asked(router) == "ok"


async def test_tokens_per_minute_make_the_next_call_wait(time):
    router = router_over(failing("a"), time=time, backends=(Backend(provider="scripted", rate_limit_tpm=300),))
    await asked(router, max_tokens=280)
    assert time.slept == []
    await asked(router, max_tokens=280)
    assert time.slept == []  # the first one used far less than was expected of it
    for _ in range(40):
        await asked(router, max_tokens=280)
    assert sum(time.slept) >= 60


async def test_what_was_estimated_is_corrected_by_what_was_used():
    async with FakeLlm(Reply("Hi", usage=(900, 100))) as llm:
        time = VirtualTime()
        config = LlmSection(backends=(Backend(base_url=llm.base_url, models=("m",), rate_limit_tpm=1500),))
        provider = OpenAiProvider("a", config.backends[0], {})
        router = Router(config, [provider], clock=time.clock, sleep=time.sleep)
        await asked(router)
        assert time.slept == []
        await asked(router, max_tokens=600)
        assert time.slept == [60]
        await router.aclose()


async def test_a_failed_call_costs_no_tokens(time):
    backends = (Backend(provider="scripted", rate_limit_tpm=300),)
    router = router_over(failing("a", down(), down()), time=time, backends=backends)
    await asked(router, max_tokens=200)
    assert time.slept == [1.0, 2.0]


# --- over real HTTP -------------------------------------------------------------------------------------------------


@pytest.fixture
async def pair():
    async with FakeLlm(Reply("from a")) as first, FakeLlm(Reply("from b")) as second:
        yield first, second


def http_router(pair, **more):
    backends = tuple(
        Backend(name=name, base_url=llm.base_url, models=("m",), timeout_s=0.5)
        for name, llm in zip("ab", pair, strict=True)
    )
    return Router.from_config(LlmSection(backends=backends, retry_delay_s=0.01, **more), {})


@pytest.mark.parametrize(
    "failure",
    [
        Reply(status=500),
        Reply(status=429, retry_after_s=30),
        Reply(status=401),
        Reply(status=404),
        Reply(never_answers=True),
        Reply(breaks_after=0),
        Reply(raw="data: nonsense\n\n"),
        Reply(raw="<html>", content_type="text/html"),
    ],
    ids=["500", "429", "401", "404", "never-answers", "breaks-at-once", "malformed", "html"],
)
async def test_every_failure_before_the_first_delta_fails_over(pair, failure):
    router = http_router(pair)
    pair[0].script(failure)
    final = await answer(router, QUESTION)
    assert (final.text, final.backend) == ("from b", "b")
    assert [each.failures for each in router.status()] == [1, 0]
    await router.aclose()


async def test_a_short_retry_after_is_honoured(pair):
    router = http_router(pair[:1] * 2)
    pair[0].script(*[Reply(status=429, retry_after_s=0.2)] * 2)
    began_s = asyncio.get_running_loop().time()
    assert (await answer(router, QUESTION)).text == "from a"
    assert asyncio.get_running_loop().time() - began_s >= 0.2
    await router.aclose()


async def test_usage_is_counted_per_backend(pair):
    router = http_router(pair, strategy="round-robin")
    pair[0].script(Reply(usage=(100, 10)), Reply(usage=(200, 20)))
    for _ in range(3):
        await answer(router, QUESTION)
    assert [(each.input_tokens, each.output_tokens, each.requests) for each in router.status()] == [
        (300, 30, 2),
        (10, 5, 1),
    ]
    await router.aclose()


async def test_cancelling_a_call_closes_its_connection_and_frees_its_place(pair):
    router = http_router(pair)
    pair[0].script(Reply("one two three", hangs_after=2))
    async with aclosing(router.stream(QUESTION)) as events:
        assert await anext(events) == TextDelta("one")
    await pair[0].wait_until(lambda server: server.abandoned_count == 1)
    assert router.status()[0].in_flight == 0
    assert isinstance(await answer(router, QUESTION), Final)
    await router.aclose()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - any condition at all
            await asyncio.sleep(0.001)
