import asyncio

import orjson
import pytest
from conftest import served, socket_to
from fake_organism import FakeOrganism
from websockets.exceptions import ConnectionClosed

from organism.errors import ThreadKilled
from organism.ref import Event


async def test_a_client_is_told_the_whole_picture_first(address, organism):
    organism.send()
    async with socket_to(address) as socket:
        connected = await socket.hear()
    assert connected["event"] == "connected"
    assert connected["organism"]["name"] == "hello"
    assert [agent["name"] for agent in connected["agents"]][:2] == ["console", "greeter"]
    assert isinstance(connected["threads"], list)
    assert connected["seq"] in (0, 1)


async def test_messages_and_states_arrive_as_they_happen(address, organism):
    async with socket_to(address) as socket:
        await socket.hear("connected")
        message = organism.send()
        assert await socket.hear("message") == {
            "event": "message",
            "seq": 1,
            "message": message.to_api() | {"payload": {"name": "Dan"}},
        }
        organism.change("greeter", state="processing", current_thread="t1")
        heard = await socket.hear("agent_state")
        assert (heard["agent"], heard["state"], heard["current_thread"]) == ("greeter", "processing", "t1")


async def test_thread_and_error_events_have_the_shape_of_the_spec(address, organism):
    async with socket_to(address) as socket:
        await socket.hear("connected")
        organism.append("t1", "console", "greeter", b"{}")
        thread = organism.all_threads["t1"].view()
        problem = {"thread_id": "t1", "agent": "greeter", "error": "boom", "timestamp": "2024-01-15T10:30:05.000Z"}
        organism.happen(
            Event("thread_created", 1, thread), Event("thread_updated", 1, thread), Event("error", None, problem)
        )
        assert (await socket.hear("thread_created"))["thread"] == thread.to_api()
        updated = await socket.hear("thread_updated")
        assert (updated["thread_id"], updated["status"], updated["message_count"]) == ("t1", "active", 1)
        assert await socket.hear("error") == {"event": "error", "seq": None, **problem}


async def test_since_replays_the_log_without_a_gap_or_a_double(address, organism):
    for _ in range(2500):
        organism.append("t1", "console", "greeter", b"{}")
    organism.send()
    async with socket_to(address, "/ws?since=3") as socket:
        seen = []
        while len(seen) < 2500:
            event = await socket.hear("message")
            seen.append(event["seq"])
            if event["seq"] % 100 == 0 and len(organism.log) < 2503:
                organism.send()  # while the replay is under way
    assert seen == list(range(4, 2504))


async def test_a_subscription_lets_through_what_it_names(address, organism):
    async with socket_to(address) as socket:
        await socket.hear("connected")
        assert (await socket.ask(cmd="subscribe", events=["message"], agents=["shouter"]))["event"] == "ack"
        organism.send(to="greeter")
        organism.change("shouter", state="processing")
        organism.send(sender="greeter", to="shouter")
        assert (await socket.hear())["message"]["to"] == "shouter"
        await socket.ask(cmd="unsubscribe")
        organism.send(sender="greeter", to="shouter")
        await asyncio.sleep(0.05)
        await socket.hears_nothing_before_pong()


async def test_every_command_is_acknowledged_with_its_id(address, organism):
    organism.append("t1", "console", "greeter", b"{}")
    async with socket_to(address) as socket:
        await socket.hear("connected")
        injected = await socket.ask(cmd="inject", id=7, to="greeter", payload={"name": "Dan"})
        assert injected == {
            "event": "ack",
            "cmd": "inject",
            "id": 7,
            "thread_id": organism.log[-1].thread_id,
            "message_id": organism.log[-1].id,
            "seq": 2,
        }
        paused = await socket.ask(cmd="pause", id="p", agent="greeter")
        assert (paused["id"], paused["agent"]["paused"]) == ("p", True)
        assert (await socket.ask(cmd="resume", agent="greeter"))["agent"]["paused"] is False
        assert (await socket.ask(cmd="kill", thread_id="t1"))["thread"]["status"] == "killed"
        assert (await socket.ask(cmd="ping"))["cmd"] == "ping"


async def test_injects_on_one_connection_share_calls_and_keep_their_order(address, organism):
    organism.gate.clear()
    async with socket_to(address) as socket:
        await socket.hear("connected")
        await socket.ask(cmd="subscribe", events=["error"])
        for number in range(500):
            await socket.say(cmd="inject", id=number, to="greeter", payload={"name": str(number)})
        organism.gate.set()
        assert [(await socket.hear("ack"))["id"] for _ in range(500)] == list(range(500))
    assert len(organism.submitted) < 100
    assert [orjson.loads(message.payload)["name"] for message in organism.log] == [str(n) for n in range(500)]


async def test_a_command_waits_for_the_injects_before_it(address, organism):
    organism.gate.clear()
    async with socket_to(address) as socket:
        await socket.hear("connected")
        await socket.ask(cmd="subscribe", events=["error"])
        await socket.say(cmd="inject", to="greeter", payload={"name": "Dan"})
        await socket.say(cmd="ping")
        organism.gate.set()
        assert [(await socket.hear("ack"))["cmd"] for _ in range(2)] == ["inject", "ping"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "malformed"),
        ("{", "malformed"),
        ("[]", "malformed"),
        ('{"cmd":"ping","id":NaN}', "malformed"),
        ("[" * 100_000, "malformed"),
        (b"\xff\x00", "malformed"),
        (b'{"cmd":"ping"}', "malformed"),
        ("x" * 2_100_000, "too_large"),
        ("{}", "invalid_request"),
        ('{"cmd":"ping","id":' + "9" * 40 + "}", "invalid_request"),
        ('{"cmd":"ping","id":1e999}', "invalid_request"),
        ('{"cmd":"ping","id":{}}', "invalid_request"),
        ('{"cmd":null}', "invalid_request"),
        ('{"cmd":"dance"}', "invalid_request"),
        ('{"cmd":"pause"}', "invalid_request"),
        ('{"cmd":"pause","agent":"greeter","x":1}', "invalid_request"),
        ('{"cmd":"subscribe","events":["weather"]}', "invalid_request"),
        ('{"cmd":"inject","to":"greeter","payload":"x"}', "invalid_request"),
        ('{"cmd":"pause","agent":"nobody"}', "not_found"),
        ('{"cmd":"requeue","message_id":"m"}', "not_found"),
        ('{"cmd":"inject","to":"nobody","payload":{}}', "not_found"),
        ('{"cmd":"inject","to":"greeter","payload":{"nam":1}}', "invalid_payload"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_bad_frame_is_answered_and_the_connection_stays(address, frame, code):
    async with socket_to(address) as socket:
        await socket.hear("connected")
        await socket.connection.send(frame)
        answer = await socket.hear("error")
        assert (answer["code"], bool(answer["error"])) == (code, True)
        await socket.hears_nothing_before_pong()


async def test_a_refused_inject_is_answered_with_an_error_and_its_id(address, organism):
    organism.refuse = ThreadKilled("t1")
    async with socket_to(address) as socket:
        await socket.hear("connected")
        answer = await socket.ask(cmd="inject", id="a", to="greeter", payload={"name": "Dan"}, thread_id="t1")
    assert (answer["event"], answer["code"], answer["cmd"], answer["id"]) == ("error", "thread_killed", "inject", "a")


@pytest.mark.parametrize("path", ["/ws?since=x", "/ws?sinse=1", "/ws?since=-1", "/ws/messages?since=1"])
async def test_bad_parameters_are_explained_before_the_stream_is_closed(address, path):
    async with socket_to(address, path) as socket:
        answer = await socket.hear()
        assert (answer["event"], answer["code"]) == ("error", "invalid_request")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_more_streams_than_allowed_are_sent_away():
    async with served(FakeOrganism(limits={"max_clients": 1})) as address, socket_to(address) as first:
        await first.hear("connected")
        async with socket_to(address) as second:
            assert (await second.hear())["code"] == "replica_busy"
        await first.hears_nothing_before_pong()


async def test_an_idle_stream_beats():
    async with served(FakeOrganism(api={"heartbeat_s": 0.1})) as address:
        for path in ("/ws", "/ws/messages"):
            async with socket_to(address, path) as socket:
                assert await socket.hear("heartbeat") == {"event": "heartbeat", "seq": 0}


async def test_the_message_stream_is_silent_until_it_is_subscribed_to(address, organism):
    async with socket_to(address, "/ws/messages") as socket:
        organism.send()
        await socket.hears_nothing_before_pong()
        assert (await socket.ask(cmd="subscribe"))["event"] == "ack"
        message = organism.send()
        assert await socket.hear() == message.to_api() | {"payload": {"name": "Dan"}}
        assert message.slot_index == 1


async def test_the_message_stream_replays_from_a_seq_or_a_time(address, organism):
    for number in range(1500):
        organism.append(f"t{number % 2}", "console", "greeter", b"{}")
    async with socket_to(address, "/ws/messages") as socket:
        await socket.ask(cmd="subscribe", filter={"threads": ["t1"], "since": 100})
        assert [(await socket.hear(""))["seq"] for _ in range(700)] == list(range(102, 1501, 2))
        await socket.ask(cmd="subscribe", filter={"since": "2024-01-15T10:30:01.400Z"})
        assert [(await socket.hear(""))["seq"] for _ in range(101)] == list(range(1400, 1501))
        await socket.hears_nothing_before_pong()


async def test_the_message_stream_takes_no_other_commands(address):
    async with socket_to(address, "/ws/messages") as socket:
        answer = await socket.ask(cmd="inject", to="greeter", payload={"name": "Dan"})
    assert (answer["event"], answer["code"]) == ("error", "invalid_request")
