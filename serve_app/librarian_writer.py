"""The language models of the organism, as the librarian's answers use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from librarian.errors import AnswerFailed, UnknownModel
from librarian.writer import Prompt, Writer, Written
from organism.config import LlmSection
from organism.errors import ModelError
from organism.llm.base import ChatMessage, Final, ModelNotFound, TextDelta
from organism.llm.router import Router
from organism.masking import mask_text


@asynccontextmanager
async def open_writer(llm: LlmSection, default: str | None, environ: Mapping[str, str]) -> AsyncIterator[Writer | None]:
    """None where no backend is configured: answers are extractive then.

    Args:
        default: the model of answers that name none; None lets the router choose.
        environ: has the keys of the backends.
    """
    if not llm.backends:
        yield None
        return
    # In a thread: it imports the client of the provider, which takes most of a second.
    router = await asyncio.to_thread(Router.from_config, llm, environ)
    try:
        yield RouterWriter(router, default)
    finally:
        await router.aclose()


class RouterWriter:
    """Implements Writer (librarian/writer.py)."""

    def __init__(self, router: Router, default: str | None) -> None:
        self._router = router
        self._default = default

    @property
    def models(self) -> tuple[str, ...]:
        """See Writer.models; a backend that lists none takes others besides."""
        listed = self._router.models
        return listed if self._default is None else tuple(dict.fromkeys((self._default, *listed)))

    def check(self, model: str | None) -> None:
        """See Writer.check."""
        try:
            self._router.check(model or self._default)
        except ModelNotFound as error:
            raise UnknownModel(error.model or "", error.available) from error

    async def stream(self, messages: Sequence[Prompt], model: str | None) -> AsyncGenerator[str | Written]:
        """See Writer.stream."""
        chosen = model or self._default
        reply = self._router.stream([ChatMessage(each.role, each.content) for each in messages], model=chosen)
        try:
            async with aclosing(reply) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        yield event.text
                    elif isinstance(event, Final):
                        yield Written(event.model, event.usage.total_tokens)
        except ModelNotFound as error:
            raise UnknownModel(error.model or "", error.available) from error
        except ModelError as error:
            raise AnswerFailed(chosen or "the default", mask_text(str(error))) from error
