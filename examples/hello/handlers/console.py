"""Where conversations begin and end."""

from organism import Context, Payload, Send

from .hello import Greeting, ShoutedResponse


class ConsoleInput(Payload):
    """What a person typed."""

    text: str


async def handle_console_input(payload: ConsoleInput, context: Context) -> Send:
    return Send(Greeting(name=payload.text), to="greeter")


async def handle_response(payload: ShoutedResponse, context: Context) -> None:
    """Sends nothing on, so the thread is completed; its last message is the answer."""
