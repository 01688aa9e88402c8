"""Request lines and headers have an end: uvicorn with httptools keeps all that comes, before anybody asks for a key."""

from __future__ import annotations

from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's line and headers; what is read at once (some hundred KiB) may come on top before it is noticed."""

_PROBLEM = b"the request's line and headers are larger than %d bytes; shorten them\n" % MAX_HEAD_BYTES
_REFUSAL = (
    STATUS_LINE[431]
    + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(_PROBLEM)
    + _PROBLEM
)


class HeadTooLarge(Exception):
    """Ends the parser's work; never leaves this file."""


class LimitedHeads(HttpToolsProtocol):
    """Answers 431 and closes the connection where line and headers, or what may follow a chunked body, have no end.

    Counted is what has come since the parser had all headers, or a piece of a body. That costs an addition for each
    read; the headers of a request are measured only where they might be too large.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting_bytes = 0
        self._is_refused = False

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._waiting_bytes += len(data)
        super().data_received(data)
        if self._waiting_bytes > MAX_HEAD_BYTES and not self._is_refused:
            self._refuse()

    def on_headers_complete(self) -> None:
        if self._waiting_bytes > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            raise HeadTooLarge  # the parser turns it into an error, which is answered below
        self._waiting_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._waiting_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        if self._waiting_bytes > MAX_HEAD_BYTES:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse(self) -> None:
        self._is_refused = True
        if self.cycle is None or self.cycle.response_complete:  # else it would end up within another answer
            self.transport.write(_REFUSAL)
        self.transport.close()


def limit_heads() -> list[Any]:
    """Makes all servers that this process starts from now on do so.

    Ray Serve calls it in its proxies, by the name in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, and wants middleware.
    """
    uvicorn.Config = partial(uvicorn.Config, http=LimitedHeads)  # type: ignore[assignment,misc]
    return []
