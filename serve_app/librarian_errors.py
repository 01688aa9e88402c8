"""Failures of the librarian as clients see them: their status, and `{code, message, details?}`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from librarian.errors import (
    AnswerFailed,
    EmbedderMismatch,
    EmbedderUnavailable,
    IngestCancelled,
    IngestInterrupted,
    InvalidRequest,
    LibrarianError,
    LibrarianUnreachable,
    LibraryDamaged,
    LibraryStorageError,
    LimitExceeded,
    NotFound,
    SourceRefused,
    SourceUnavailable,
    TooManyJobs,
)
from librarian.values import Job
from organism.masking import mask, mask_text

LIBRARIAN_STATUS: dict[type, int] = {
    NotFound: 404,
    InvalidRequest: 422,
    SourceRefused: 422,
    LimitExceeded: 422,
    EmbedderMismatch: 409,
    IngestCancelled: 409,
    TooManyJobs: 429,
    SourceUnavailable: 502,
    EmbedderUnavailable: 502,
    AnswerFailed: 502,
    LibraryStorageError: 503,
    IngestInterrupted: 503,
    LibrarianUnreachable: 503,
    LibraryDamaged: 500,
    LibrarianError: 500,
}

RETRY_AFTER_S = {TooManyJobs: 10, LibrarianUnreachable: 1, IngestInterrupted: 1, LibraryStorageError: 5}
"""What clients are told to wait: a job takes seconds, a restart of a process one or two."""


def librarian_status(error: LibrarianError) -> int:
    """The status of the nearest of the error's classes that has one."""
    return next(LIBRARIAN_STATUS[kind] for kind in type(error).__mro__ if kind in LIBRARIAN_STATUS)


def describe_librarian(error: LibrarianError) -> dict[str, Any]:
    """Over REST, event streams and in jobs. What an endpoint said may have the key in it that it was sent."""
    shown: dict[str, Any] = {"code": error.code, "message": mask_text(str(error))}
    if details := _details(error):
        shown["details"] = details
    return shown


def without_secrets(job: Job) -> Job:
    """As it may be shown: its error may be of anything that an ingest calls."""
    return job if job.error is None else replace(job, error=mask(job.error))


def _details(error: LibrarianError) -> list[dict[str, Any]]:
    if isinstance(error, InvalidRequest):
        return [{"path": error.field, "problem": error.problem}]
    if isinstance(error, LimitExceeded):
        return [{"path": f"librarian.limits.{error.limit}", "problem": f"allows {error.allowed:g}"}]
    if isinstance(error, SourceRefused):
        return [{"path": "git_url", "problem": mask_text(error.problem)}]
    return []


def librarian_headers(error: LibrarianError) -> dict[str, str] | None:
    delay_s = next((RETRY_AFTER_S[kind] for kind in type(error).__mro__ if kind in RETRY_AFTER_S), None)
    return None if delay_s is None else {"retry-after": str(delay_s)}
