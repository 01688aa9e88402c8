"""No log of a process shows a secret, however it is written."""

from __future__ import annotations

import io
import logging
import logging.handlers
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from organism.masked_log import MaskedRecord, mask_logs

SECRET = "q7Zr2LmN8vKx4TbY6wPd1HsF"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def process_as_it_was():
    before = logging.getLogRecordFactory(), sys.excepthook, threading.excepthook
    logging.setLogRecordFactory(logging.LogRecord)
    yield
    logging.setLogRecordFactory(before[0])
    sys.excepthook, threading.excepthook = before[1:]


@pytest.fixture
def log():
    """A logger of its own, with a handler that was there before its records are masked."""
    logger = logging.Logger("a")
    logger.shown = io.StringIO()  # type: ignore[attr-defined]
    logger.addHandler(logging.StreamHandler(logger.shown))  # type: ignore[attr-defined]
    mask_logs()
    return logger


def _fail():
    raise ValueError(f"refused: password={SECRET}")


@pytest.mark.parametrize(
    "write",
    [
        lambda log: log.error(f"Authorization: Bearer {SECRET}"),
        lambda log: log.error("token=%s", SECRET),
        lambda log: log.error("%(headers)s", {"headers": {"x-api-key": SECRET}}),
        lambda log: log.error("headers: %s", [(b"x-api-key", SECRET.encode())]),
        lambda log: log.error(ValueError(f"api_key={SECRET}")),
    ],
)
def test_messages_are_masked_with_what_is_put_into_them(log, write):
    write(log)
    assert SECRET not in log.shown.getvalue()
    assert "***" in log.shown.getvalue()


def test_tracebacks_are_masked(log):
    try:
        _fail()
    except ValueError:
        log.exception("failed")
    shown = log.shown.getvalue()
    assert SECRET not in shown
    assert "ValueError: refused: password=***" in shown


def test_a_traceback_that_another_handler_has_kept_is_masked(log):
    class Own(logging.Formatter):
        def formatException(self, ei):  # noqa: N802 (logging's name)
            return str(ei[1])

    log.handlers[0].setFormatter(Own())
    later = io.StringIO()
    log.addHandler(logging.StreamHandler(later))
    try:
        _fail()
    except ValueError:
        log.exception("failed")
    assert log.shown.getvalue() == later.getvalue() == "failed\nrefused: password=***\n"


def test_records_that_wait_in_a_queue_are_masked(log):
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    log.addHandler(logging.handlers.QueueHandler(waiting))
    log.error("token=%s", SECRET)
    assert SECRET not in str(vars(waiting.get()))


def test_uvicorns_line_of_a_request_is_masked(log):
    from uvicorn.logging import AccessFormatter

    log.handlers[0].setFormatter(AccessFormatter("%(request_line)s", use_colors=False))
    log.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", f"/ws?access_token={SECRET}", "1.1", 200)
    assert log.shown.getvalue() == "GET /ws?access_token=*** HTTP/1.1\n"


def test_what_ray_puts_around_records_does_not_unmask_them(log):
    earlier = logging.getLogRecordFactory()

    def wrapped(*arguments, **named):
        record = earlier(*arguments, **named)
        record.created = 0.0
        return record

    logging.setLogRecordFactory(wrapped)
    mask_logs()
    assert logging.getLogRecordFactory() is wrapped
    log.error("token=%s", SECRET)
    assert log.shown.getvalue() == "token=***\n"


def test_other_records_stay_as_they_are(log):
    log.error("%d of %s in %.1f s", 3, ["a"], 2)
    assert log.shown.getvalue() == "3 of ['a'] in 2.0 s\n"
    assert isinstance(logging.makeLogRecord({"msg": "a"}), MaskedRecord)


def test_what_nobody_wants_logged_costs_nothing(log, monkeypatch):
    log.setLevel(logging.ERROR)
    monkeypatch.setattr("organism.masked_log.mask_text", None)
    log.warning("token=%s", SECRET)


@pytest.mark.parametrize(
    "code",
    [
        f"raise ValueError('password={SECRET}')",
        f"import threading; t = threading.Thread(target=lambda: int('password={SECRET}')); t.start(); t.join()",
        f"import asyncio\nasync def f(): asyncio.get_running_loop().call_soon(int, 'token={SECRET}')\nasyncio.run(f())",
        f"import logging; logging.warning('token=%s', '{SECRET}')",
    ],
    ids=["main", "thread", "loop", "log"],
)
def test_errors_that_nobody_catches_are_masked(code):
    code = f"from organism.masked_log import mask_logs\nmask_logs()\n{code}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "***" in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout


ENTRIES = {
    "the pump": "organism/ray_actors/pump_actor.py",
    "a cell": "organism/ray_actors/cell_actor.py",
    "a cell of sessions": "organism/ray_actors/session_cell_actor.py",
    "the launcher": "serve_app/__main__.py",
    "the process that ingests": "serve_app/librarian_actor.py",
    "an API replica, and one that searches": "serve_app/replica_log.py",
}


@pytest.mark.parametrize("path", ENTRIES.values(), ids=ENTRIES.keys())
def test_each_process_masks_its_logs(path):
    assert "    mask_logs()\n" in (ROOT / path).read_text()


@pytest.mark.parametrize("path", ["serve_app/ingress.py", "serve_app/librarian_ingress.py"])
def test_each_replica_opens_its_log_in_the_way_that_masks(path):
    assert "    log_to_launcher()\n" in (ROOT / path).read_text()
