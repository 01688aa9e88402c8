"""What the routes of the librarian answer, for the OpenAPI document only: routes send the librarian's own values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field, TypeAdapter

from librarian.values import (
    Answer,
    ChunkView,
    FileError,
    FileView,
    Found,
    IngestResult,
    Job,
    LibrarySummary,
    LibraryView,
    Report,
    Skipped,
    Source,
    SymbolView,
)
from serve_app import librarian_requests as requests
from serve_app.api_models import ACCESS_MEANINGS, Counts, ErrorView
from serve_app.librarian_requests import GIT_URL, LIBRARY_ID

COMMIT = "4c9fb5c1d1b7a2f0a4b3c8d2e1f0a9b8c7d6e5f4"
BLOB = "9b1c7f0e5d3a2b4c6d8e0f1a3b5c7d9e1f2a4b6c"
CHUNK_ID = "fastapi/routing.py:APIRouter:a1b2c3d4"
JOB_ID = "018d0f5e-0001-7000-8000-000000000003"
MOMENT = "2024-01-15T10:00:00.000Z"


class LibraryPage(Counts):
    libraries: list[LibrarySummary]


class JobPage(Counts):
    jobs: list[Job] = Field(description="the newest first")


class SymbolList(BaseModel):
    symbols: list[SymbolView] = Field(description="the best matches first")
    count: int


class Deleted(BaseModel):
    library_id: str
    deleted: Literal[True]


_SUMMARY = LibrarySummary(LIBRARY_ID, "fastapi", GIT_URL, "master", COMMIT, MOMENT, MOMENT, 142, 890)
_SOURCE = Source(
    chunk_id=CHUNK_ID,
    library_id=LIBRARY_ID,
    file_path="fastapi/routing.py",
    name="APIRouter",
    qualified_name="APIRouter",
    chunk_type="class",
    language="python",
    start_line=150,
    end_line=320,
    relevance_score=0.95,
    snippet="class APIRouter(routing.Router):",
    commit=COMMIT,
    blob_id=BLOB,
)
_SYMBOL = SymbolView("APIRouter", "APIRouter", "class", "fastapi/routing.py", 150, 320, CHUNK_ID)
_RESULT = IngestResult(LIBRARY_ID, "fastapi", 142, 890, True, [], "master", COMMIT, True, 0, 12, 0, 0.81)
_JOB = Job(
    job_id=JOB_ID,
    status="running",
    phase="chunking",
    git_url=GIT_URL,
    branch=None,
    library_name="fastapi",
    library_id=LIBRARY_ID,
    files_done=60,
    files_total=142,
    chunks=371,
    seconds_left=0.4,
    created_at=MOMENT,
    started_at=MOMENT,
    finished_at=None,
)
_PAGE = {"count": 1, "total": 1, "limit": 50, "offset": 0}

EXAMPLES: dict[type, Any] = {
    LibraryPage: {"libraries": [asdict(_SUMMARY)], **_PAGE},
    JobPage: {"jobs": [asdict(_JOB)], **_PAGE},
    SymbolList: {"symbols": [asdict(_SYMBOL)], "count": 1},
    Deleted: {"library_id": LIBRARY_ID, "deleted": True},
    Job: asdict(_JOB),
    IngestResult: asdict(_RESULT),
    Found: asdict(Found([_SOURCE], 1.7, 200)),
    Answer: asdict(
        Answer("`Depends` declares a dependency [1].", [_SOURCE], 0, 15, None, True),
    ),
    LibraryView: asdict(
        LibraryView(
            library_id=LIBRARY_ID,
            name="fastapi",
            source_url=GIT_URL,
            branch="master",
            commit=COMMIT,
            created_at=MOMENT,
            updated_at=MOMENT,
            embedder="minilm-static-256-1",
            files=["fastapi/main.py", "fastapi/routing.py"],
            functions={"get_swagger_ui_html": "fastapi/openapi/docs.py"},
            classes={"APIRouter": "fastapi/routing.py"},
            symbols={"APIRouter": ["fastapi/routing.py"]},
            stats={"chunks": 890, "files": 142, "functions": 234, "classes": 45, "lang_python": 890},
            report=Report(
                [Skipped("docs/logo.png", "binary")], 12, {"binary": 12}, [FileError("x.py", "cut as text")], 1, 0
            ),
        )
    ),
    ChunkView: asdict(
        ChunkView(
            chunk_id=CHUNK_ID,
            library_id=LIBRARY_ID,
            file_path="fastapi/routing.py",
            name="APIRouter",
            qualified_name="APIRouter",
            chunk_type="class",
            language="python",
            start_line=150,
            end_line=320,
            content='class APIRouter(routing.Router):\n    """A router for grouping path operations."""',
            docstring="A router for grouping path operations.",
            signature="class APIRouter(routing.Router)",
            commit=COMMIT,
            blob_id=BLOB,
        )
    ),
    FileView: asdict(
        FileView(LIBRARY_ID, "fastapi/routing.py", "python", BLOB, COMMIT, 4_500, "import asyncio\n…", [_SOURCE])
    ),
}

_MEANINGS = ACCESS_MEANINGS | {
    400: ("malformed", "cannot be read: a JSON object is needed, this is an array"),
    404: ("library_not_found", "no library 'fastapi-abc12345'; GET /librarian/libraries lists them"),
    409: ("embedder_mismatch", "library 'fastapi-abc12345' was made with another embedder; ingest it again"),
    413: ("too_large", "the body is larger than 2000000 bytes; shorten it or raise limits.max_body_bytes"),
    415: ("unsupported_media_type", "cannot take a body of type 'text/plain'; send Content-Type: application/json"),
    422: ("invalid_request", "max_chunks: Input should be less than or equal to 100"),
    429: ("too_many_jobs", "20 ingests wait already (librarian.limits.max_jobs); send again later"),
    500: (
        "library_damaged",
        "library 'fastapi-abc12345' is damaged: chunks.parquet has another checksum; ingest again",
    ),
    502: ("source_unavailable", f"{GIT_URL}: no such repository, or no access to it"),
    503: ("librarian_unreachable", "the librarian does not answer at present: its search starts; send again"),
}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}

STREAM: dict[str, Any] = {
    "description": "Server-sent events, `data: <one line of JSON>` each, by `type`: `sources` {sources, "
    "chunks_examined}, then any number of `delta` {text}, then `answer` (all fields of the answer that is not "
    "streamed) or `error` {code, message}; `: ping` when nothing happens",
    "content": {
        "text/event-stream": {
            "schema": {
                "description": "one event of the stream",
                "type": "object",
                "properties": {"data": {"type": "string"}},
                "required": ["data"],
            }
        }
    },
}


def answers(
    model: type, status: int = 200, description: str = "Successful Response"
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for what it answers when all is well, with an example."""
    return {
        status: {
            "model": model,
            "description": description,
            "content": {"application/json": {"example": orjson.loads(orjson.dumps(EXAMPLES[model]))}},
        }
    }


def librarian_failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can fail in these ways; 422 and 503 every route can."""
    return {status: _failure(status) for status in sorted({*statuses, *ACCESS_MEANINGS, 422, 503})}


def _failure(status: int) -> dict[str, Any]:
    code, message = _MEANINGS[status]
    shown: dict[str, Any] = {
        "model": ErrorView,
        "description": message,
        "content": {"application/json": {"example": {"error": {"code": code, "message": message}}}},
    }
    if status in (429, 503):
        shown["headers"] = _RETRY_AFTER
    return shown


def _schemas(*models: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in models:
        schema = TypeAdapter(model).json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found


SCHEMAS = _schemas(requests.NewLibrary, requests.LibrarySearch, requests.SearchAcross, requests.LibraryQuestion)
"""Components that `body_of` refers to, which FastAPI does not find by itself."""
