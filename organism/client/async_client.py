"""The client for asyncio."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

import orjson

from organism.client.answers import Answer, Models, OfferedAgent, SessionPage
from organism.client.credentials import Credentials, credentials_of
from organism.client.events import Event, read_event
from organism.client.following import Events, run, watch
from organism.client.http import Http
from organism.client.librarian import AsyncLibrarian
from organism.sessions.events import AssistantMessage, Content
from organism.sessions.records import ModelChoice, SessionView
from organism.sessions.wire import ModelOffer, SessionStatus, Summary


class AsyncClient:
    """The agent sessions of one organism, and its `librarian`; an async context manager, so that its connections are
    closed.

    Every method raises ClientError: ApiError with status, code and text where the server refuses, Unreachable,
    TimedOut or ConnectionLost where it cannot be asked.

    Args:
        base_url: where the organism answers, such as http://127.0.0.1:8000.
        timeout_s: of a request that does not wait for a run.
        query_timeout_s: of `query`, which takes as long as the run; None waits for ever.
        reconnect_timeout_s: how long a stream tries to come back after its connection was lost; `watch` has its own.
        idle_timeout_s: a stream without a sign of life counts as lost; servers send a heartbeat every 10 s.
        api_key: a key that `organism keys add` has made, or a JWT; ORGANISM_API_KEY by default. Sent to no other host.
        ca_file: PEM of the authority whose certificates an https:// address may have; ORGANISM_CA_FILE by default.
        headers: sent with every request, for instance for a proxy that wants a key of its own.

    Raises:
        ValueError: the address, the key or the CA file cannot be used.
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
        self._http = Http(
            base_url,
            timeout_s=timeout_s,
            idle_timeout_s=idle_timeout_s,
            credentials=_credentials(api_key, ca_file),
            headers=headers,
        )
        self._query_timeout_s = query_timeout_s
        self._reconnect_timeout_s = reconnect_timeout_s
        self.librarian = AsyncLibrarian(
            self._http, query_timeout_s=query_timeout_s, reconnect_timeout_s=reconnect_timeout_s
        )

    @property
    def url(self) -> str:
        return self._http.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; runs go on."""
        await self._http.close()

    async def create(
        self,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        model: ModelChoice | str | None = None,
        agent: str | None = None,
    ) -> AsyncSession:
        """A new session; `agent` is one of those that `models` lists, the first of them by default."""
        body = {"name": name, "tags": tags, "model": _model_json(model), "agent": agent}
        answer = await self._http.post("sessions/create", body)
        return AsyncSession(self, answer["sessionId"], _view_of(answer["session"]))

    def session(self, session_id: str) -> AsyncSession:
        """The session with this id, without asking whether there is one."""
        return AsyncSession(self, session_id)

    async def get(self, session_id: str) -> AsyncSession:
        """The session with this id and its `view`. Raises SessionNotFound."""
        session = self.session(session_id)
        await session.refresh()
        return session

    async def list(
        self, *, limit: int = 1000, offset: int = 0, tag: str | None = None, q: str | None = None
    ) -> SessionPage:
        """The last changed first; `q` is found in name, id and tags. At most 1,000 at once."""
        answer = await self._http.get("sessions", limit=limit, offset=offset, tag=tag, q=q)
        return SessionPage([_view_of(each) for each in answer["sessions"]], answer["total"])

    async def oneshot(self, query: Content, *, agent: str | None = None, name: str | None = None) -> Answer:
        """Creates a session, asks it, and waits for the answer."""
        body = {"query": query, "agent": agent, "name": name}
        return _answer_of(await self._http.post_and_wait("oneshot/query", body, self._query_timeout_s))

    async def stream_oneshot(self, query: Content, *, agent: str | None = None, name: str | None = None) -> Events:
        """Creates a session, asks it, and yields what happens; the first is an UnknownEvent `session_created`."""
        body = {"query": query, "agent": agent, "name": name}
        async with aclosing(run(self._http, "oneshot/query/stream", body, self._reconnect_timeout_s)) as events:
            async for event in events:
                yield event

    async def models(self) -> Models:
        """Models and agents to choose from."""
        answer = await self._http.get("models")
        default = answer["defaultModel"]
        return Models(
            [ModelOffer(each["provider"], tuple(each["models"])) for each in answer["models"]],
            None if default is None else ModelChoice.model_validate(default),
            [OfferedAgent(each["name"], each["description"]) for each in answer["agents"]],
        )

    async def health(self) -> dict[str, Any]:
        """`{status: ok}` where the server answers at all."""
        return await self._http.get("health")

    async def version(self) -> str:
        """The version of the server."""
        return (await self._http.get("version"))["version"]


class AsyncSession:
    """One session of a server; `view` is what is known of it from the last answer, None before the first."""

    def __init__(self, client: AsyncClient, session_id: str, view: SessionView | None = None) -> None:
        self.id = session_id
        self.view = view
        self._client = client
        self._http = client._http

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    async def refresh(self) -> SessionView:
        """What the server knows of the session now."""
        return self._noted((await self._http.get("sessions/details", sessionId=self.id))["session"])

    async def query(self, query: Content) -> Answer:
        """Asks, and waits for the answer; the run goes on when this is cancelled, `abort` ends it.

        Raises:
            Busy: a run is under way.
            ModelFailed: no answer, and why.
        """
        body = {"sessionId": self.id, "query": query}
        answer = await self._http.post_and_wait("sessions/query", body, self._client._query_timeout_s)
        return _answer_of({**answer, "sessionId": self.id})

    async def stream(self, query: Content) -> Events:
        """Asks, and yields what happens, the last being the run's agent_run_end, exactly once.

        A lost connection is made again, and goes on behind the last stored event. Leaving early does not end the run.

        Raises:
            Busy: a run is under way.
            ConnectionLost: it broke before the server said that it had begun, or could not be made again in time.
        """
        body = {"sessionId": self.id, "query": query}
        patience_s = self._client._reconnect_timeout_s
        async with aclosing(run(self._http, "sessions/query/stream", body, patience_s)) as events:
            async for event in events:
                yield event

    async def watch(self, after: int | None = None, *, reconnect_timeout_s: float | None = None) -> Events:
        """Everything that happens in the session, whoever asks it, until the session is deleted.

        Stored events come once each and in order, through lost connections and restarts of the server.

        Args:
            after: the seq to start behind, 0 for the whole history; None starts now.
            reconnect_timeout_s: how long to try after a connection was lost; None for ever.
        """
        async with aclosing(watch(self._http, self.id, after, reconnect_timeout_s)) as events:
            async for event in events:
                yield event

    async def events(self, after: int = 0, limit: int | None = None) -> list[Event]:
        """Stored events behind seq `after`; None: all of them."""
        answer = await self._http.get("sessions/events", sessionId=self.id, after=after, limit=limit)
        return [event for each in answer["events"] if (event := read_event(orjson.dumps(each)))]

    async def abort(self) -> bool:
        """Ends what runs; returns when it has ended. False: nothing was running."""
        return (await self._http.post("sessions/abort", {"sessionId": self.id}))["success"]

    async def status(self) -> SessionStatus:
        """What the session does; does not bring a stored one back."""
        status = (await self._http.get("sessions/status", sessionId=self.id))["status"]
        return SessionStatus(status["isProcessing"], status["state"])

    async def update(self, *, name: str | None = None, tags: Sequence[str] | None = None) -> SessionView:
        """Changes what is given; None leaves it as it is."""
        body = {"sessionId": self.id, "name": name, "tags": tags}
        return self._noted((await self._http.post("sessions/update", body))["session"])

    async def set_model(self, model: ModelChoice | str) -> SessionView:
        """Another model from the next run on; a text is `id` or `provider/id`."""
        body = {"sessionId": self.id, "model": _model_json(model)}
        return self._noted((await self._http.post("sessions/model", body))["sessionInfo"])

    async def restore(self) -> SessionView:
        """Brings a stored session back into memory; whatever needs it does so by itself."""
        return self._noted((await self._http.post("sessions/restore", {"sessionId": self.id}))["session"])

    async def delete(self) -> None:
        """Deletes the session, its events and its own workspace; a run is ended first."""
        await self._http.post("sessions/delete", {"sessionId": self.id})

    async def summary(self, messages: Sequence[Mapping[str, Any]]) -> Summary:
        """A title of at most six words for these `{role, content}`."""
        body = {"sessionId": self.id, "messages": list(messages)}
        answer = await self._http.post_and_wait("sessions/generate-summary", body, self._client._query_timeout_s)
        return Summary(answer["summary"], answer["model"], answer["provider"])

    def _noted(self, session: Mapping[str, Any]) -> SessionView:
        self.view = _view_of(session)
        return self.view


def _credentials(api_key: str | None, ca_file: Path | str | None) -> Credentials:
    """What was given, and from the environment what was not: read here, as the client is made, and nowhere below."""
    known = credentials_of(os.environ)
    return Credentials(
        known.api_key if api_key is None else api_key, known.ca_file if ca_file is None else Path(ca_file)
    )


def _view_of(session: Mapping[str, Any]) -> SessionView:
    return SessionView.model_validate(session)


def _answer_of(answer: Mapping[str, Any]) -> Answer:
    event = answer["event"]
    message = None if event is None else AssistantMessage.model_validate(event)
    return Answer(answer["result"], message, answer["sessionId"])


def _model_json(model: ModelChoice | str | None) -> dict[str, Any] | None:
    if isinstance(model, str):
        provider, slash, name = model.partition("/")
        provider, name = (provider, name) if slash else ("", model)
        model = ModelChoice(provider=provider, id=name)
    return None if model is None else model.model_dump(by_alias=True)
