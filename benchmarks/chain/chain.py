"""The handlers of the benchmark's chain: as little work as a handler can do."""

from __future__ import annotations

from organism import Context, Payload, Send


class Greeting(Payload):
    name: str


class GreetingResponse(Payload):
    message: str
    original_sender: str


class ShoutedResponse(Payload):
    message: str


async def greet(payload: Greeting, context: Context) -> Send:
    return Send(GreetingResponse(message=f"Hello {payload.name}!", original_sender=context.sender), to="shouter")


async def shout(payload: GreetingResponse, context: Context) -> Send:
    return Send(ShoutedResponse(message=payload.message.upper()), to="sink")


async def swallow(payload: ShoutedResponse, context: Context) -> None:
    return None
