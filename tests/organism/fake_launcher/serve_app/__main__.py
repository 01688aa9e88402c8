"""Stands in for the real launcher in tests of `organism up`: answers /ready, writes the run file, obeys a stop."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()
        if self.path == "/api/v1/organism/stop":
            threading.Thread(target=self.server.shutdown).start()

    def _answer(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder: Path = options.file.parent
    if (folder / "slow").exists():
        (folder / "begun").touch()
        while (folder / "slow").exists():
            time.sleep(0.01)
    if (folder / "fail").exists():
        sys.exit("the storage is in use by another organism")

    server = ThreadingHTTPServer((options.host, options.port), Api)
    signal.signal(signal.SIGINT, lambda *_: threading.Thread(target=server.shutdown).start())
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # `organism up` lets them wait
    facts = {"url": f"http://{options.host}:{server.server_port}", "pid": os.getpid(), "dashboard": None}
    (folder / ".organism").mkdir(exist_ok=True)
    if not (folder / "never-ready").exists():
        (folder / ".organism" / "run.json").write_text(json.dumps({**facts, "namespace": options.namespace}))
    sys.stdout.write(f"arguments {sys.argv[1:]}\n")
    sys.stdout.flush()
    server.serve_forever()
    sys.stdout.write("stopped gracefully\n")


main()
