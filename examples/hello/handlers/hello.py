"""The greeter, who asks a model when there is one, and the shouter."""

from organism import Context, Payload, Send
from organism.errors import ModelError


class Greeting(Payload):
    """Somebody to greet."""

    name: str


class GreetingResponse(Payload):
    """A greeting, and who asked for it."""

    message: str
    original_sender: str


class ShoutedResponse(Payload):
    """A greeting in capitals."""

    message: str


async def handle_greeting(payload: Greeting, context: Context) -> Send:
    message = await greet(payload.name, context)
    return Send(GreetingResponse(message=message, original_sender=context.sender), to="shouter")


async def handle_shout(payload: GreetingResponse, context: Context) -> Send:
    return Send(ShoutedResponse(message=payload.message.upper()), to="response-handler")


async def greet(name: str, context: Context) -> str:
    """A greeting by the model, or a plain one where none is configured or none answers."""
    try:
        completion = await context.complete(name)
    except ModelError:
        return f"Hello, {name}!"
    return completion.text
