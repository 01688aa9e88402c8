"""Any endpoint that speaks OpenAI's /embeddings: OpenAI, Ollama, vLLM and the like."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from librarian.config import EmbedderChoice
from librarian.embedder.base import Vectors
from librarian.errors import EmbedderUnavailable, InvalidRequest

BATCH_TEXTS = 64
ATTEMPTS = 4
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 20.0
MAX_REASON_CHARS = 300
PROBE = "dimension"


class OpenAiEmbedder:
    """The key is read when asked for, and is in no error. sleep: waits between attempts, seconds."""

    def __init__(
        self, choice: EmbedderChoice, environ: Mapping[str, str], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not choice.base_url or not choice.base_url.startswith(("http://", "https://")):
            raise InvalidRequest("librarian.embedder.base_url", "the openai provider needs an http or https address")
        if not choice.model:
            raise InvalidRequest("librarian.embedder.model", "the openai provider needs the name of a model")
        self._choice = choice
        self._key = environ.get(choice.api_key_env, "").strip() if choice.api_key_env else ""
        if choice.api_key_env and not (self._key and self._key.isascii() and self._key.isprintable()):
            problem = f"environment variable {choice.api_key_env} holds no key; put it there, or in .env"
            raise EmbedderUnavailable(f"openai/{choice.model}", problem)
        self._sleep = sleep
        self._dim = choice.dim
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(timeout=choice.timeout_s, headers=headers, trust_env=False)

    @property
    def name(self) -> str:
        return f"openai/{self._choice.model}-{self.dim}"

    @property
    def dim(self) -> int:
        """Asked of the endpoint where the configuration does not say."""
        if self._dim is None:
            self._dim = len(self._ask([PROBE])[0])
        return self._dim

    def close(self) -> None:
        self._client.close()

    def embed(self, texts: Sequence[str]) -> Vectors:
        made = np.zeros((len(texts), self.dim), np.float32)
        filled = [number for number, text in enumerate(texts) if text.strip()]  # endpoints refuse empty texts
        for first in range(0, len(filled), BATCH_TEXTS):
            batch = filled[first : first + BATCH_TEXTS]
            made[batch] = self._vectors([texts[number] for number in batch])
        return made

    def embed_query(self, text: str) -> Vectors:
        return self.embed([text])[0]

    def _vectors(self, texts: list[str]) -> Vectors:
        rows = self._ask(texts)
        if any(len(row) != self.dim for row in rows):
            raise self._failed(f"its vectors have not {self.dim} dimensions; correct librarian.embedder.dim")
        made = np.array(rows, np.float64)
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        return (made / np.where(lengths, lengths, 1)).astype(np.float32)

    def _ask(self, texts: list[str]) -> list[list[float]]:
        body: dict[str, Any] = {"model": self._choice.model, "input": texts, "encoding_format": "float"}
        if self._choice.dim is not None:
            body["dimensions"] = self._choice.dim
        return self._rows(self._post(body), len(texts))

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        url = f"{str(self._choice.base_url).rstrip('/')}/embeddings"
        problem = ""
        for attempt in range(ATTEMPTS):
            delay_s = FIRST_DELAY_S * 2**attempt
            try:
                response = self._client.post(url, json=body)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__} while asking the endpoint"
            else:
                if response.is_success:
                    return response
                problem = self._reason(response)
                if response.status_code not in (408, 409, 429) and response.status_code < 500:
                    raise self._failed(problem)
                delay_s = _retry_after_s(response, delay_s)
            if attempt < ATTEMPTS - 1:
                self._sleep(min(delay_s, MAX_DELAY_S))
        raise self._failed(f"{problem} ({ATTEMPTS} attempts)")

    def _rows(self, response: httpx.Response, count: int) -> list[list[float]]:
        try:
            data = sorted(response.json()["data"], key=lambda each: each["index"])
            rows = [[float(part) for part in each["embedding"]] for each in data]
            numbers = [each["index"] for each in data]
        except (ValueError, KeyError, TypeError):
            raise self._failed("its reply is no list of embeddings; is base_url right?") from None
        if numbers != list(range(count)) or not all(rows) or not np.isfinite(np.concatenate(rows)).all():
            raise self._failed("its reply has not one vector of numbers for each text")
        return rows

    def _reason(self, response: httpx.Response) -> str:
        text = response.text
        if self._key:
            text = text.replace(self._key, "***")  # some endpoints repeat a refused key
        return f"status {response.status_code}: {text[:MAX_REASON_CHARS]}"

    def _failed(self, problem: str) -> EmbedderUnavailable:
        return EmbedderUnavailable(f"openai/{self._choice.model}", problem)


def _retry_after_s(response: httpx.Response, otherwise_s: float) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else otherwise_s
