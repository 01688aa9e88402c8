"""Socket.IO packets: how those of clients are read whatever is in them, and how events of sessions look."""

from __future__ import annotations

import json
from typing import Any

import orjson
from engineio.packet import MESSAGE, Packet
from socketio import packet as protocol

from organism.sessions.events import Content, Frame
from organism.sessions.wire import SessionStatus

MALFORMED = "(malformed)"
"""The name of an event that could not be read; nobody handles it, so it is answered as an unknown one."""

RESERVED = frozenset({"connect", "connect_error", "disconnect", "*"})
"""Names that the library takes for its own events; no client sends them."""


class TolerantJson:
    """What python-socketio asks of a JSON module. It never raises on what a client sent, however it is nested."""

    dumps = staticmethod(json.dumps)

    @staticmethod
    def loads(text: str) -> Any:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return [MALFORMED]


class ClientPacket(protocol.Packet):
    """A packet whose data is always `[name, *arguments]` where it is an event.

    Attachments are counted and not kept: no command takes binary data, and the protocol sets no limit to it. In the
    arguments their placeholders stay, which are no valid values.
    """

    json = TolerantJson
    _attachments_seen = 0

    def decode(self, encoded_packet: Any) -> int:
        """Raises: ValueError."""
        if not isinstance(encoded_packet, str):
            raise ValueError("an attachment without its packet")
        attachment_count = super().decode(encoded_packet)
        if self.packet_type in (protocol.EVENT, protocol.BINARY_EVENT) and not _is_event(self.data):
            self.data = [MALFORMED]
        return attachment_count

    def add_attachment(self, attachment: object) -> bool:
        """Whether it was the last one."""
        self._attachments_seen += 1
        return self._attachments_seen >= self.attachment_count


def _is_event(data: Any) -> bool:
    return isinstance(data, list) and bool(data) and isinstance(data[0], str) and data[0] not in RESERVED


def emitted(event: str, data: object) -> Packet:
    """`emit(event, data)`, ready to be sent to any number of clients."""
    return _packet(orjson.dumps([event, data]))


def packets_of(frame: Frame) -> list[Packet]:
    """An event of a session: in its classic form where it has one, and as it is."""
    return [*_classic(frame), _packet(b'["agent-event",{"type":"event","data":%b}]' % frame.body)]


def closed(session_id: str) -> Packet:
    return _agent_event("closed", {"sessionId": session_id})


def status_data(status: SessionStatus) -> dict[str, Any]:
    return {"isProcessing": status.is_processing, "state": status.state}


def _classic(frame: Frame) -> list[Packet]:
    match frame.type:
        case "user_message":
            return [_agent_event("query", {"text": _text(orjson.loads(frame.body)["content"])})]
        case "assistant_message":
            return [_agent_event("answer", {"text": orjson.loads(frame.body)["content"]})]
        case "agent_run_start":
            return [_agent_event("agent-status", status_data(SessionStatus(True, "executing")))]
        case "agent_run_end":
            return _run_end(frame)
    return []


def _run_end(frame: Frame) -> list[Packet]:
    state = orjson.loads(frame.body)["status"]
    aborted = [_agent_event("aborted", {"sessionId": frame.session_id})] if state == "aborted" else []
    return [*aborted, _agent_event("agent-status", status_data(SessionStatus(False, state)))]


def _text(content: Content) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))


def _agent_event(kind: str, data: object) -> Packet:
    return emitted("agent-event", {"type": kind, "data": data})


def _packet(arguments: bytes) -> Packet:
    return Packet(MESSAGE, f"{protocol.EVENT}{arguments.decode()}")
