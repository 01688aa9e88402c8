"""The same three-hop chain on autogen-core's SingleThreadedAgentRuntime, in memory: the peer of benchmarks/pump.py."""

from __future__ import annotations

import time

from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler
from pydantic import BaseModel


class Greeting(BaseModel):
    name: str


class GreetingResponse(BaseModel):
    message: str
    original_sender: str


class ShoutedResponse(BaseModel):
    message: str


class Greeter(RoutedAgent):
    @message_handler
    async def greet(self, message: Greeting, ctx: MessageContext) -> None:
        payload = Greeting.model_validate(message.model_dump())
        answer = GreetingResponse(message=f"Hello {payload.name}!", original_sender=str(ctx.sender))
        await self.send_message(answer, AgentId("shouter", "default"))


class Shouter(RoutedAgent):
    @message_handler
    async def shout(self, message: GreetingResponse, ctx: MessageContext) -> None:
        payload = GreetingResponse.model_validate(message.model_dump())
        await self.send_message(ShoutedResponse(message=payload.message.upper()), AgentId("sink", "default"))


class Sink(RoutedAgent):
    @message_handler
    async def swallow(self, message: ShoutedResponse, ctx: MessageContext) -> None:
        ShoutedResponse.model_validate(message.model_dump())


async def messages_per_s(chains: int) -> float:
    """Runs so many chains one after the other, as the runtime does by itself; three messages each."""
    runtime = SingleThreadedAgentRuntime()
    await Greeter.register(runtime, "greeter", lambda: Greeter("greets"))
    await Shouter.register(runtime, "shouter", lambda: Shouter("shouts"))
    await Sink.register(runtime, "sink", lambda: Sink("swallows"))
    runtime.start()
    started_s = time.perf_counter()
    for _ in range(chains):
        await runtime.send_message(Greeting(name="Dan"), AgentId("greeter", "default"))
    await runtime.stop_when_idle()
    return 3 * chains / (time.perf_counter() - started_s)
