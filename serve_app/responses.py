"""Responses from bytes that are ready, the list shape, and which media type a client would rather have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import yaml
from starlette.requests import Request
from starlette.responses import Response


class Json(Response):
    """JSON that is serialised already (UTF-8 bytes)."""

    media_type = "application/json"


class Yaml(Response):
    media_type = "application/yaml"


class Xml(Response):
    media_type = "application/xml"


def json_of(value: Any) -> Json:
    return Json(orjson.dumps(value))


def page_of(plural: str, rows: Iterable[Any], total: int, limit: int, offset: int, **more: Any) -> Json:
    """A list answer: `{**more, "<plural>": rows, "count": of this page, "total", "limit", "offset"}`."""
    listed = list(rows)
    counts = {"count": len(listed), "total": total, "limit": limit, "offset": offset}
    return json_of({**more, plural: listed, **counts})


def yaml_or_json(request: Request, value: dict[str, Any]) -> Response:
    if prefers_json(request, "application/yaml"):
        return json_of(value)
    return Yaml(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def prefers_json(request: Request, otherwise: str) -> bool:
    """Whether the Accept header ranks application/json above `otherwise`, our default; on a tie the default wins."""
    accept = request.headers.get("accept", "*/*")
    return _quality(accept, "application/json") > _quality(accept, otherwise)


def _quality(accept: str, media_type: str) -> float:
    """The q of `media_type` in an Accept header, 0 where it is not named; the most specific range counts."""
    ranges = dict(_parse_range(part) for part in accept.split(","))
    main = media_type.split("/", maxsplit=1)[0]
    return next((ranges[each] for each in (media_type, f"{main}/*", "*/*") if each in ranges), 0.0)


def _parse_range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.lower().split(";"))
    quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return name, float(quality)
    except ValueError:
        return name, 0.0
