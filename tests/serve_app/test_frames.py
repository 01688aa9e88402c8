"""Events as WebSocket clients get them."""

from __future__ import annotations

import orjson

from organism.ref import Event
from serve_app.frames import Filter, frame_of

STATE = {"id": "s1", "state": "executing", "cell": "sessions:1", "pid": 7, "timestamp": "2024-01-15T10:30:00.000Z"}


def test_a_change_of_a_session_is_told_with_all_of_it():
    frame = frame_of(Event("session_state", None, STATE))
    assert orjson.loads(frame.text) == {"event": "session_state", "session": STATE}
    assert Filter().passes(frame)
    assert Filter(kinds=frozenset({"session_state"})).passes(frame)
    assert not Filter(agents=frozenset({"greeter"})).passes(frame)
