"""A title for a conversation."""

from __future__ import annotations

from typing import Any

from organism.llm.base import ChatMessage, Provider, Usage, answer
from organism.sessions.history import text_of, text_of_result
from organism.sessions.wire import Summary

MAX_WORDS = 6
MAX_CHARACTERS = 20_000
PROMPT = (
    f"Give the conversation a title of at most {MAX_WORDS} words, in its own language. "
    "Answer with the title alone, without quotation marks."
)


async def summarize(provider: Provider, messages: list[dict[str, Any]], model: str | None) -> tuple[Summary, Usage]:
    """Raises ModelError."""
    lines = [f"{each.get('role', 'user')}: {_text(each.get('content'))}" for each in messages]
    conversation = "\n".join(lines)[:MAX_CHARACTERS]
    final = await answer(provider, [ChatMessage("system", PROMPT), ChatMessage("user", conversation)], model=model)
    words = final.text.strip().strip("\"'“”«»*# ").split()
    return Summary(" ".join(words[:MAX_WORDS]).rstrip(".,;:"), final.model, final.backend), final.usage


def _text(content: Any) -> str:
    if isinstance(content, list):
        return text_of([part for part in content if isinstance(part, dict) and isinstance(part.get("text", ""), str)])
    return text_of_result(content if content is not None else "")
