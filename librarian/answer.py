"""Answers with citations: written by a language model where there is one, else extracted from the sources."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from librarian.citations import CitationFilter
from librarian.errors import AnswerFailed
from librarian.evidence import Evidence, is_enough
from librarian.extractive import NOT_FOUND, extract
from librarian.prompt import prompt, shown_sources
from librarian.values import Answer
from librarian.writer import Writer, Written


async def stream_answer(
    question: str, evidence: Sequence[Evidence], chunks_examined: int, writer: Writer | None, model: str | None
) -> AsyncGenerator[str | Answer]:
    """Pieces of the answer, then the Answer that they make. writer None: extractive.

    Raises:
        UnknownModel, AnswerFailed
    """
    sources = [each.source for each in evidence]
    if not is_enough(question, evidence):
        yield NOT_FOUND
        yield Answer(NOT_FOUND, sources, 0, chunks_examined, None, found=False)
        return
    if writer is None:
        text = extract(question, evidence)
        yield text
        yield Answer(text, sources, 0, chunks_examined, None, found=True)
        return
    citations = CitationFilter([each.text for each in evidence[: shown_sources(evidence)]])
    text, written = "", None
    async with aclosing(writer.stream(prompt(question, evidence), model)) as events:
        async for event in events:
            if isinstance(event, Written):
                written = event
            elif shown := citations.feed(event):
                text += shown
                yield shown
    if rest := citations.end():
        text += rest
        yield rest
    if written is None or not text.strip():
        raise AnswerFailed(model or writer.models[0], "its reply was empty or broke off")
    yield Answer(text, sources, written.tokens, chunks_examined, written.model, found=True)


async def answer(
    question: str, evidence: Sequence[Evidence], chunks_examined: int, writer: Writer | None, model: str | None
) -> Answer:
    """As stream_answer, the whole at once."""
    async with aclosing(stream_answer(question, evidence, chunks_examined, writer, model)) as events:
        async for event in events:
            if isinstance(event, Answer):
                return event
    raise AnswerFailed(model or "default", "its reply broke off")
