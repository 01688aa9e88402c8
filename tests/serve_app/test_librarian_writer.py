from __future__ import annotations

from typing import Any

import pytest

from librarian.errors import AnswerFailed, UnknownModel
from librarian.writer import Prompt, Writer, Written
from organism.config import LlmSection
from serve_app.librarian_writer import open_writer
from tests.fake_llm import FakeLlm, Reply

MESSAGES = [Prompt("system", "Be brief."), Prompt("user", "What is tea?")]


def section(llm: FakeLlm, **backend: Any) -> LlmSection:
    return LlmSection.model_validate(
        {"retries": 0, "backends": [{"base_url": llm.base_url, "models": ["small", "large"], **backend}]}
    )


async def written(writer: Writer | None, model: str | None = None) -> list[str | Written]:
    assert writer is not None
    return [each async for each in writer.stream(MESSAGES, model)]


async def test_without_a_backend_there_is_no_writer():
    async with open_writer(LlmSection(), None, {}) as writer:
        assert writer is None


async def test_a_reply_comes_in_pieces_and_ends_with_its_cost():
    async with FakeLlm(Reply(text="A warm drink.")) as llm, open_writer(section(llm), "large", {}) as writer:
        assert writer is not None
        assert writer.models == ("large", "small")
        *pieces, end = await written(writer)
        assert "".join(map(str, pieces)) == "A warm drink."
        assert isinstance(end, Written)
        assert end.tokens == 15
        await written(writer, "small")
        assert [each.body["model"] for each in llm.requests] == ["large", "small"]
        assert [each["role"] for each in llm.requests[0].body["messages"]] == ["system", "user"]


async def test_what_goes_wrong_is_an_error_of_the_librarian():
    failing = Reply(status=401, error="bad key sk-abcdefghijklmnop")
    async with FakeLlm(failing) as llm, open_writer(section(llm), None, {}) as writer:
        with pytest.raises(AnswerFailed) as failed:
            await written(writer)
        assert "sk-abc" not in str(failed.value)
        with pytest.raises(UnknownModel):
            writer.check("grok-4.1")
        writer.check(None)
        with pytest.raises(UnknownModel) as unknown:
            await written(writer, "grok-4.1")
        assert unknown.value.available == ("small", "large")
