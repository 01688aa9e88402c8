"""chat: a conversation with an agent session in a terminal, or one question through a pipe."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from organism.cli.failures import CliFailure, ExitCode
from organism.cli.options import Url
from organism.cli.output import Screen
from organism.cli.session_client import failures, open_client
from organism.cli.session_lines import Conversation
from organism.client import Client, Session
from organism.sessions.events import AgentRunEnd

HELP = """/new       a new session        /sessions  the last sessions
/model X   another model        /abort     end what runs in this session
/help      this                 Ctrl-C ends the answer, a second one leaves; Ctrl-D leaves"""

HOW_TO_ADD_A_MODEL = (
    "no model is configured, so nothing can be answered; add one below `llm: backends:` of organism.yaml, such as\n"
    "  - {provider: openai, api_key_env: OPENAI_API_KEY, models: [gpt-5-mini]}\n"
    "put its key into .env beside that file, and restart the organism"
)
_LISTED = 10


def register(app: typer.Typer) -> None:
    app.command()(chat)


def chat(
    agent: Annotated[str | None, typer.Option(help="The agent of a new session; the first one otherwise.")] = None,
    session: Annotated[str | None, typer.Option(help="Go on with this session.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to use, as NAME or PROVIDER/NAME.")] = None,
    url: Url = None,
) -> None:
    """Talks with an agent. In a pipe, what comes in is one question, and only the answer goes out.

    Ctrl-C aborts the answer, twice it leaves; Ctrl-D leaves. The session stays, and --session goes on with it.
    """
    with open_client(url) as client:
        if client.models().default is None and model is None:
            raise CliFailure(HOW_TO_ADD_A_MODEL, ExitCode.REFUSED, "no_model")
        if not sys.stdin.isatty():
            _answer_pipe(_begin(client, agent, session, model))
            return
        Chat(client, _begin(client, agent, session, model), agent).talk(shows_history=session is not None)


def _begin(client: Client, agent: str | None, session_id: str | None, model: str | None) -> Session:
    if session_id is None:
        return client.create(agent=agent, model=model)
    session = client.get(session_id)
    if model is not None:
        session.set_model(model)
    return session


def _answer_pipe(session: Session) -> None:
    question = sys.stdin.read().strip()
    if not question:
        raise CliFailure("there is no question on stdin", ExitCode.USAGE, "usage")
    sys.stdout.write(session.query(question).text + "\n")
    sys.stdout.flush()


class Chat:
    """A conversation: reads lines, shows what happens, until the user leaves."""

    def __init__(self, client: Client, session: Session, agent: str | None) -> None:
        self._client = client
        self._session = session
        self._agent = agent
        self._screen = Screen(as_json=False)

    def talk(self, *, shows_history: bool) -> None:
        if shows_history:
            conversation = Conversation()
            for event in self._session.events():
                conversation.show(event)
        self._screen.notice(f"session {self._session.id}; /help tells what else there is, Ctrl-D leaves")
        while True:
            try:
                line = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                self._screen.line("")
                self._screen.notice(f"`organism chat --session {self._session.id}` goes on from here")
                return
            try:
                with failures(self._client.url):
                    self._do(line)
            except CliFailure as failure:
                self._screen.failure(failure)  # of this question; the next one may be answered

    def _do(self, line: str) -> None:
        command, _, argument = line.partition(" ")
        match command:
            case "":
                return
            case "/help":
                self._screen.line(HELP)
            case "/new":
                self._session = self._client.create(agent=self._agent)
                self._screen.notice(f"session {self._session.id}")
            case "/sessions":
                rows = ((each.id, each.name or "", each.agent) for each in self._client.list(limit=_LISTED).sessions)
                self._screen.table(("session", "name", "agent"), rows)
            case "/model" if argument:
                self._session.set_model(argument.strip())
            case "/model":
                for offer in self._client.models().offers:
                    self._screen.line(f"{offer.provider}: {', '.join(offer.models)}")
            case "/abort":
                self._screen.notice("aborted" if self._session.abort() else "nothing was running")
            case _ if command.startswith("/") and command[1:].isalpha():
                self._screen.notice(f"there is no {command}; /help tells what there is")
            case _:
                self._ask(line)

    def _ask(self, question: str) -> None:
        """Shows the run to its end. Ctrl-C aborts it, and its end still shows; a second one leaves."""
        conversation = Conversation(shows_questions=False)
        events = self._session.stream(question)
        is_aborting = False
        while True:
            try:
                event = next(events, None)
                if event is None:
                    break
                conversation.show(event)
                if isinstance(event, AgentRunEnd):
                    break
            except KeyboardInterrupt:
                if is_aborting:
                    raise
                is_aborting = True
                self._session.abort()
        conversation.end_line()
