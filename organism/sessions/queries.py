"""What a query may look like."""

from __future__ import annotations

import orjson

from organism.errors import InvalidQuery
from organism.sessions.events import Content


def check_query(content: Content, max_bytes: int) -> None:
    """Raises InvalidQuery where it is empty, longer than `max_bytes` as JSON, or has parts of an unknown form."""
    if isinstance(content, str):
        if not content.strip():
            raise InvalidQuery("query", "is empty")
    else:
        _check_parts(content)
    try:
        size = len(orjson.dumps(content))
    except (TypeError, ValueError) as error:
        raise InvalidQuery("query", "is no text (it has half a character, or a value that is no JSON)") from error
    if size > max_bytes:
        raise InvalidQuery("query", f"is longer than {max_bytes} bytes (sessions.max_query_bytes)")


def _check_parts(parts: object) -> None:
    if not isinstance(parts, list) or not parts:
        raise InvalidQuery("query", "is neither a text nor a list of content parts")
    for index, part in enumerate(parts):
        field = f"query.{index}"
        if not isinstance(part, dict):
            raise InvalidQuery(field, "is no object")
        match part.get("type"):
            case "text":
                if not isinstance(part.get("text"), str):
                    raise InvalidQuery(f"{field}.text", "is no text")
            case "image_url":
                image = part.get("image_url")
                if not isinstance(image, dict) or not isinstance(image.get("url"), str):
                    raise InvalidQuery(f"{field}.image_url.url", "is no text")
                if not image["url"].startswith(("https://", "http://", "data:image/")):
                    raise InvalidQuery(f"{field}.image_url.url", "is neither an http(s) nor a data:image/ URL")
            case _:
                raise InvalidQuery(f"{field}.type", "is neither 'text' nor 'image_url'")
