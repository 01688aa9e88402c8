"""The client for everyone without an event loop: the asynchronous one, run by a thread of its own.

No method is written twice. `_blocking` and its like make each from its asynchronous original, with the same
parameters and docstring.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from organism.client.async_client import AsyncClient, AsyncSession
from organism.client.librarian import AsyncLibrarian
from organism.client.loop_thread import BlockingIterator, LoopThread
from organism.sessions.records import SessionView

P = ParamSpec("P")
T = TypeVar("T")
Inner = TypeVar("Inner", AsyncClient, AsyncSession, AsyncLibrarian)


class _Outer:
    """A blocking object around its asynchronous original."""

    _inner: Any
    _thread: LoopThread


def _blocking(
    method: Callable[Concatenate[Inner, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Outer, P], T]:
    @functools.wraps(method)
    def blocking(self: _Outer, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.call(method(self._inner, *args, **kwargs))

    return blocking


def _iterating(
    method: Callable[Concatenate[Inner, P], AsyncGenerator[T]],
) -> Callable[Concatenate[_Outer, P], BlockingIterator[T]]:
    @functools.wraps(method)
    def iterating(self: _Outer, *args: P.args, **kwargs: P.kwargs) -> BlockingIterator[T]:
        return BlockingIterator(self._thread, method(self._inner, *args, **kwargs))

    return iterating


def _giving_session(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AsyncSession]],
) -> Callable[Concatenate[_Outer, P], Session]:
    @functools.wraps(method)
    def giving(self: _Outer, *args: P.args, **kwargs: P.kwargs) -> Session:
        return Session(self._thread, self._thread.call(method(self._inner, *args, **kwargs)))

    return giving


class Client(_Outer):
    """The agent sessions of one organism, and its `librarian`; a context manager, so that its connections are closed.

    Parameters and errors are those of AsyncClient. May be used by several threads at once.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 60.0,
        query_timeout_s: float | None = None,
        reconnect_timeout_s: float = 60.0,
        idle_timeout_s: float = 35.0,
        api_key: str | None = None,
        ca_file: Path | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._inner = AsyncClient(
            base_url,
            timeout_s=timeout_s,
            query_timeout_s=query_timeout_s,
            reconnect_timeout_s=reconnect_timeout_s,
            idle_timeout_s=idle_timeout_s,
            api_key=api_key,
            ca_file=ca_file,
            headers=headers,
        )
        self._thread = LoopThread()
        self._is_closed = False
        self.librarian = Librarian(self._thread, self._inner.librarian)

    @property
    def url(self) -> str:
        return self._inner.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; runs go on."""
        if not self._is_closed:
            self._is_closed = True
            self._thread.call(self._inner.close())
            self._thread.close()

    def session(self, session_id: str) -> Session:
        """The session with this id, without asking whether there is one."""
        return Session(self._thread, self._inner.session(session_id))

    create = _giving_session(AsyncClient.create)
    get = _giving_session(AsyncClient.get)
    list = _blocking(AsyncClient.list)
    oneshot = _blocking(AsyncClient.oneshot)
    stream_oneshot = _iterating(AsyncClient.stream_oneshot)
    models = _blocking(AsyncClient.models)
    health = _blocking(AsyncClient.health)
    version = _blocking(AsyncClient.version)


class Session(_Outer):
    """One session of a server, as AsyncSession. What streams gives an iterator, which can be closed early."""

    def __init__(self, thread: LoopThread, inner: AsyncSession) -> None:
        self._thread = thread
        self._inner = inner

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    @property
    def id(self) -> str:
        return self._inner.id

    @property
    def view(self) -> SessionView | None:
        """What is known of the session from the last answer; None before the first."""
        return self._inner.view

    refresh = _blocking(AsyncSession.refresh)
    query = _blocking(AsyncSession.query)
    stream = _iterating(AsyncSession.stream)
    watch = _iterating(AsyncSession.watch)
    events = _blocking(AsyncSession.events)
    abort = _blocking(AsyncSession.abort)
    status = _blocking(AsyncSession.status)
    update = _blocking(AsyncSession.update)
    set_model = _blocking(AsyncSession.set_model)
    restore = _blocking(AsyncSession.restore)
    delete = _blocking(AsyncSession.delete)
    summary = _blocking(AsyncSession.summary)


class Librarian(_Outer):
    """Libraries of code, as AsyncLibrarian; `client.librarian` of a Client."""

    def __init__(self, thread: LoopThread, inner: AsyncLibrarian) -> None:
        self._thread = thread
        self._inner = inner

    ingest = _blocking(AsyncLibrarian.ingest)
    start_ingest = _blocking(AsyncLibrarian.start_ingest)
    finish = _blocking(AsyncLibrarian.finish)
    follow = _iterating(AsyncLibrarian.follow)
    job = _blocking(AsyncLibrarian.job)
    jobs = _blocking(AsyncLibrarian.jobs)
    cancel = _blocking(AsyncLibrarian.cancel)
    libraries = _blocking(AsyncLibrarian.libraries)
    library = _blocking(AsyncLibrarian.library)
    delete = _blocking(AsyncLibrarian.delete)
    search = _blocking(AsyncLibrarian.search)
    query = _blocking(AsyncLibrarian.query)
    stream = _iterating(AsyncLibrarian.stream)
    chunk = _blocking(AsyncLibrarian.chunk)
    file = _blocking(AsyncLibrarian.file)
    symbols = _blocking(AsyncLibrarian.symbols)
