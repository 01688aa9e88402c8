from __future__ import annotations

import io
import logging
import sys
import threading

import pytest
from conftest import served
from fake_organism import FakeOrganism
from websockets.asyncio.client import connect

from serve_app.replica_log import log_to_launcher


@pytest.fixture(autouse=True)
def log_as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    records = logging.getLogRecordFactory()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # put back afterwards
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "filters", [])
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


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def test_what_strangers_send_fills_no_log(monkeypatch):
    log_to_launcher()
    kept, log = Kept(), logging.getLogger("uvicorn.error")
    async with served(FakeOrganism()) as address:
        monkeypatch.setattr(log, "handlers", [kept])
        async with connect(f"ws://{address}/ws") as connection:
            await connection.send(b"\xff", text=True)
            await connection.wait_closed()
        log.error("a failure of ours")
    assert [record.msg for record in kept.records if record.levelno >= logging.ERROR] == ["a failure of ours"]
