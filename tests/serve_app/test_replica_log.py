from __future__ import annotations

import io
import logging
import sys
import threading

import pytest

from serve_app.replica_log import log_to_launcher


@pytest.fixture(autouse=True)
def log_as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    records = logging.getLogRecordFactory()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # put back afterwards
    for name in ("uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)  # a uvicorn of another test may have changed it
    yield
    logging.setLogRecordFactory(records)


def test_failures_are_shown_although_serve_has_taken_stderr(capfd, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    log_to_launcher()
    try:
        raise ValueError("boom, with token=abc")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    logging.getLogger("serve_app.feed").warning("the pump restarts")
    shown = capfd.readouterr().err
    assert shown.startswith("ERROR uvicorn.error: Exception in ASGI application\n")
    assert shown.endswith("ValueError: boom, with token=***\n")
