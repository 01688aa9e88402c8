"""Every error of the package, one tree:

LibrarianError
├── NotFound               LibraryNotFound, ChunkNotFound, FileNotInLibrary, JobNotFound
├── InvalidRequest         a field of a request cannot be used; UnknownModel: no model of that name
├── SourceRefused          the configuration or a rule of safety forbids this repository
├── SourceUnavailable      the repository cannot be read: not there, no access, vanished, too slow
├── LimitExceeded          the repository is larger than the configuration allows
├── LibraryDamaged         the files of a library are not what its manifest says
├── EmbedderMismatch       the library was made with another embedder
├── EmbedderUnavailable    the embedding endpoint does not answer
├── AnswerFailed           the language model did not answer
├── LibraryStorageError    the library folder cannot be read or written, or the disk is full
├── TooManyJobs            as many ingests wait as may
├── IngestCancelled        somebody cancelled the job
├── IngestInterrupted      the process that ingested died
└── LibrarianUnreachable   the process that searches or ingests does not answer at present

Each takes exactly the arguments it passes on to `super().__init__`, so that it survives pickling between processes,
and says in its text what happened and what to do.
"""

from __future__ import annotations


class LibrarianError(Exception):
    """Base of all errors raised by this package."""

    code = "internal"


class NotFound(LibrarianError):
    """What a client asks for is not there."""

    code = "not_found"


class LibraryNotFound(NotFound):
    code = "library_not_found"

    def __init__(self, library_id: str) -> None:
        super().__init__(library_id)
        self.library_id = library_id

    def __str__(self) -> str:
        return f"no library {self.library_id!r}; GET /librarian/libraries lists them"


class ChunkNotFound(NotFound):
    code = "chunk_not_found"

    def __init__(self, library_id: str, chunk_id: str) -> None:
        super().__init__(library_id, chunk_id)
        self.library_id = library_id
        self.chunk_id = chunk_id

    def __str__(self) -> str:
        return f"no chunk {self.chunk_id!r} in library {self.library_id!r}; it may have changed with the last ingest"


class FileNotInLibrary(NotFound):
    code = "file_not_found"

    def __init__(self, library_id: str, path: str) -> None:
        super().__init__(library_id, path)
        self.library_id = library_id
        self.path = path

    def __str__(self) -> str:
        return f"no file {self.path!r} in library {self.library_id!r}; its `report` says what was skipped, and why"


class JobNotFound(NotFound):
    code = "job_not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return f"no job {self.job_id!r}; GET /librarian/jobs lists those that are remembered"


class InvalidRequest(LibrarianError):
    """A field of a request cannot be used as it is; `field` is a dotted path such as `filters.paths.0`."""

    code = "invalid_request"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class UnknownModel(InvalidRequest):
    """`available` are the names of the models that there are; none where no LLM is configured."""

    code = "unknown_model"

    def __init__(self, model: str, available: tuple[str, ...]) -> None:
        LibrarianError.__init__(self, model, available)
        there = f"there are {', '.join(available)}" if available else "none is configured (llm.backends)"
        self.model = model
        self.available = available
        self.field = "model"
        self.problem = f"no model {model!r}; {there}; leave it out for the default"


class SourceRefused(LibrarianError):
    """A repository that may not be read; `problem` says by which rule and what to do."""

    code = "source_refused"

    def __init__(self, git_url: str, problem: str) -> None:
        super().__init__(git_url, problem)
        self.git_url = git_url
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.git_url}: {self.problem}"


class SourceUnavailable(LibrarianError):
    """A repository that cannot be read at present; credentials are never in `git_url` or `problem`."""

    code = "source_unavailable"

    def __init__(self, git_url: str, problem: str) -> None:
        super().__init__(git_url, problem)
        self.git_url = git_url
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.git_url}: {self.problem}"


class LimitExceeded(LibrarianError):
    """More than `librarian.limits` allows; `limit` is the name there."""

    code = "limit_exceeded"

    def __init__(self, limit: str, allowed: float, problem: str) -> None:
        super().__init__(limit, allowed, problem)
        self.limit = limit
        self.allowed = allowed
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.problem}; librarian.limits.{self.limit} allows {self.allowed:g}"


class LibraryDamaged(LibrarianError):
    """The files of a library are not what they should be; other libraries are not concerned."""

    code = "library_damaged"

    def __init__(self, library_id: str, problem: str) -> None:
        super().__init__(library_id, problem)
        self.library_id = library_id
        self.problem = problem

    def __str__(self) -> str:
        return f"library {self.library_id!r} is damaged: {self.problem}; ingest its repository again, or delete it"


class EmbedderMismatch(LibrarianError):
    """Vectors of two embedders cannot be compared."""

    code = "embedder_mismatch"

    def __init__(self, library_id: str, made_with: str, configured: str) -> None:
        super().__init__(library_id, made_with, configured)
        self.library_id = library_id
        self.made_with = made_with
        self.configured = configured

    def __str__(self) -> str:
        return (
            f"library {self.library_id!r} was made with the embedder {self.made_with!r}, configured is "
            f"{self.configured!r}; ingest its repository again"
        )


class EmbedderUnavailable(LibrarianError):
    """The embedding endpoint failed, also after retries."""

    code = "embedder_unavailable"

    def __init__(self, embedder: str, problem: str) -> None:
        super().__init__(embedder, problem)
        self.embedder = embedder
        self.problem = problem

    def __str__(self) -> str:
        return f"the embedder {self.embedder!r} failed: {self.problem}"


class AnswerFailed(LibrarianError):
    """The language model failed; a search still works."""

    code = "answer_failed"

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(model, problem)
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        return f"the model {self.model!r} gave no answer: {self.problem}"


class LibraryStorageError(LibrarianError):
    """The folder of the libraries cannot be read or written at present, for example because the disk is full."""

    code = "library_storage"

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(place, problem)
        self.place = place
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}; nothing was changed, send again when that is mended"


class TooManyJobs(LibrarianError):
    code = "too_many_jobs"

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return f"{self.waiting} ingests wait already (librarian.limits.max_jobs); send again later"


class IngestCancelled(LibrarianError):
    code = "ingest_cancelled"

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return f"job {self.job_id!r} was cancelled; the library is as it was before"


class IngestInterrupted(LibrarianError):
    code = "ingest_interrupted"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the ingest was interrupted: {self.problem}; the library is as it was before, send again"


class LibrarianUnreachable(LibrarianError):
    code = "librarian_unreachable"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the librarian does not answer at present: {self.problem}; send again"
