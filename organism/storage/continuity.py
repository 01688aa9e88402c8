"""The rule that every provider keeps: the log has no gaps."""

from __future__ import annotations

from organism.errors import StorageError
from organism.messages import Message


def check_continues(messages: list[Message], last_seq: int) -> None:
    """Refuses new entries that do not continue the log at `last_seq + 1`.

    Raises:
        StorageError: they do not; it is a mistake of the caller.
    """
    for expected, message in enumerate(messages, start=last_seq + 1):
        if message.seq != expected:
            raise StorageError(f"message {message.id} has seq {message.seq}, but the log goes on with {expected}")
