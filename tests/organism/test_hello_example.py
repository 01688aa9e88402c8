"""The hello organism: what its handlers send, with a model and without."""

from pathlib import Path
from typing import Any

import pytest

from organism.config_file import load_config
from organism.errors import ModelError
from organism.handlers import Completion, Context, Send
from organism.loading import forget_folder, load_listener
from organism.messages import Message
from organism.payloads import serializer_for

FOLDER = Path(__file__).parents[2] / "examples" / "hello"


class Services:
    """A model that answers with `reply`, or none."""

    def __init__(self, reply: str | None = None) -> None:
        self.reply = reply
        self.asked: list[str] = []

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]:
        return []

    async def complete(self, context: Context, message: str, options: dict[str, Any]) -> Completion:
        self.asked.append(message)
        if self.reply is None:
            raise ModelError("no model is configured")
        return Completion(self.reply, "scripted", 1, 1)


@pytest.fixture
def listeners():
    config = load_config(FOLDER)
    yield {each.name: load_listener(each, FOLDER) for each in config.listeners}
    forget_folder(FOLDER)


async def _run_chain(listeners, services: Services, text: str) -> list[tuple[str, bytes]]:
    """Hands each output on, as the pump would; returns who got what."""
    sender, recipient, data = "console", "console", b'{"text": "%s"}' % text.encode()
    steps = []
    while True:
        steps.append((recipient, data))
        context = Context(services, "m", "t", len(steps), sender, recipient, {}, [])
        payload = listeners[recipient].payload.from_json(data)
        result = await listeners[recipient].handler(payload, context)
        if result is None:
            return steps
        assert isinstance(result, Send)
        assert result.to is not None
        sender, recipient, data = recipient, result.to, serializer_for(type(result.payload))(result.payload)


async def test_hello_greets_by_itself_without_a_model(listeners):
    steps = await _run_chain(listeners, Services(), "Ann")
    assert [recipient for recipient, _ in steps] == ["console", "greeter", "shouter", "response-handler"]
    assert steps[2] == ("shouter", b'{"message":"Hello, Ann!","original_sender":"console"}')
    assert steps[-1][1] == b'{"message":"HELLO, ANN!"}'


async def test_hello_asks_the_model_when_there_is_one(listeners):
    services = Services("Welcome aboard, Ann!")
    steps = await _run_chain(listeners, services, "Ann")
    assert services.asked == ["Ann"]
    assert steps[-1][1] == b'{"message":"WELCOME ABOARD, ANN!"}'


def test_every_peer_is_sent_what_it_takes(listeners):
    config = load_config(FOLDER)
    sent = {"console": "greeter", "greeter": "shouter", "shouter": "response-handler"}
    assert {each.name: each.peers[0] for each in config.listeners if each.peers} == sent
