"""What the listeners of organism.yaml do."""

from organism.handlers import Context, Payload, Send


class Text(Payload):
    text: str


class WordCount(Payload):
    words: int
    words_in_thread: int


class Announcement(Payload):
    text: str


async def count_words(payload: Text, context: Context) -> Send:
    """`context.state` belongs to this listener and thread; it is stored together with what is sent."""
    words = len(payload.text.split())
    total = context.state.get("words", 0) + words
    context.state["words"] = total
    return Send(WordCount(words=words, words_in_thread=total), to="announcer")


async def announce(payload: WordCount, context: Context) -> Send:
    text = f"{payload.words} words, {payload.words_in_thread} in this thread"
    return Send(Announcement(text=text), to="outbox")


async def keep(payload: Announcement, context: Context) -> None:
    """Sends nothing on: when all messages of a thread are handled, it is completed."""
