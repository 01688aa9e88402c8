"""What clients may send to the routes of the librarian."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request

from librarian.chunks import ChunkType, Language
from librarian.values import Filters
from serve_app.queries import Page

MAX_SOURCES = 100
"""Chunks in one answer."""

GIT_URL = "https://github.com/tiangolo/fastapi.git"
LIBRARY_ID = "fastapi-abc12345"


def _without_control_characters(text: str) -> str:
    if any(ord(each) < ord(" ") or each == "\x7f" for each in text):
        raise ValueError("must not have control characters")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Line = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_not_blank)]
Name = Annotated[Line, AfterValidator(_without_control_characters)]
Question = Annotated[str, Field(min_length=1, max_length=10_000), AfterValidator(_not_blank)]
MaxChunks = Annotated[int, Field(ge=1, le=MAX_SOURCES)]
Glob = Annotated[str, Field(min_length=1, max_length=1_000)]


class _Body(BaseModel):
    """Unknown fields are refused, so that a misspelt one does not pass for none."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewLibrary(_Body):
    """A git repository to ingest. The same URL and branch a second time update the library."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"git_url": GIT_URL, "branch": "master", "library_name": "fastapi"}]},
    )

    git_url: Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_without_control_characters)] = Field(
        description="https, ssh (also git@host:path); file:// and paths where librarian.local_repositories allows them"
    )
    branch: Name | None = Field(default=None, description="or tag; left out: what the remote's HEAD names")
    library_name: Annotated[Name, Field(max_length=100)] | None = Field(
        default=None, description="left out: the repository's"
    )


class IngestQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait: bool = Field(
        default=True, description="false: answer 202 with the job at once, as with the header Prefer: respond-async"
    )

    def is_asynchronous(self, request: Request) -> bool:
        preferred = ",".join(request.headers.getlist("prefer")).lower().split(",")
        return not self.wait or any(each.partition(";")[0].strip() == "respond-async" for each in preferred)


class SearchFilters(_Body):
    """All conditions hold together; an empty list is none."""

    paths: list[Glob] = Field(
        default=[], max_length=100, description="globs as in .gitignore, or folders", examples=[["src/**/*.py", "docs"]]
    )
    languages: list[Language] = Field(default=[], max_length=100)
    chunk_types: list[ChunkType] = Field(default=[], max_length=100)

    def to_filters(self) -> Filters:
        return Filters(tuple(self.paths), tuple(self.languages), tuple(self.chunk_types))


class LibrarySearch(_Body):
    """Plain words, or the name of a symbol."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"query": "how are dependencies resolved", "max_chunks": 5, "filters": {"languages": ["python"]}}
            ]
        },
    )

    query: Question
    max_chunks: MaxChunks = 10
    filters: SearchFilters = SearchFilters()
    explain: bool = Field(default=False, description="each source tells how its score came about")


class SearchAcross(LibrarySearch):
    """A search in several libraries at once."""

    libraries: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default=[], max_length=1_000, description="ids; empty for all", examples=[[LIBRARY_ID]]
    )


class LibraryQuestion(_Body):
    """A question in plain words."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"question": "How does dependency injection work?", "max_chunks": 20}]},
    )

    question: Question
    max_chunks: MaxChunks = 20
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="of llm.backends; left out: librarian.model; without any the answer is extractive"
    )


class JobsQuery(Page):
    """As of every list."""


class LibrariesQuery(Page):
    q: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="only libraries with this in their name, id or source_url"
    )


class SymbolsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    q: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        description="a name, a qualified name, or a part of one", examples=["APIRouter.get"]
    )
    limit: int = Field(default=50, ge=1, le=1000)
