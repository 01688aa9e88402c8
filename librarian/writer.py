"""The language model as the librarian sees it. Whoever starts a librarian hands one in; librarian knows no provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Prompt:
    """One message to the model."""

    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True, slots=True)
class Written:
    """The end of a reply. model: the name the endpoint gave. tokens: of prompt and reply."""

    model: str
    tokens: int


class Writer(Protocol):
    @property
    def models(self) -> tuple[str, ...]:
        """Names that `stream` takes, the default first."""
        ...

    def check(self, model: str | None) -> None:
        """Whether `stream` takes this model, before anything is looked up for it.

        Raises:
            UnknownModel
        """
        ...

    def stream(self, messages: Sequence[Prompt], model: str | None) -> AsyncGenerator[str | Written]:
        """Pieces of the reply, then one Written. model None: the default. Closing it ends the request.

        Raises:
            UnknownModel, AnswerFailed
        """
        ...
