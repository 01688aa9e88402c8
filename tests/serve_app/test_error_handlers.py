from typing import Any

import pytest

from organism import errors
from organism.errors import OrganismError
from serve_app import errors as request_errors
from serve_app.app import build_app
from serve_app.error_handlers import HTTP_CODES, MAX_PATH_CHARS, STATUS, status_of


def all_errors(kind: type[OrganismError] = OrganismError) -> list[type[OrganismError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind):
    assert status_of(kind.__new__(kind)) in {400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504}


def test_the_nearest_class_decides():
    assert status_of(errors.ThreadKilled("t")) == STATUS[errors.Refused] == 409
    assert status_of(errors.Stopping()) == 503
    assert status_of(errors.StorageError("x")) == 500
    assert status_of(errors.StorageUnavailable("x")) == 503
    assert status_of(request_errors.BodyTooLarge("body", 1, "limits.max_body_bytes")) == 413


def test_the_routers_own_errors_have_codes():
    assert set(HTTP_CODES) == {404, 405}


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/"), ("PUT", "/api/v1/agents/"), ("GET", "/")])
async def test_a_key_that_was_put_into_a_path_is_not_repeated(client, method, path):
    key = "org_abcdefghij_" + 43 * "k"
    answer = await client.request(method, path + key)
    assert answer.status_code in (404, 405)
    assert key not in answer.text
    assert f"{path}***" in answer.json()["error"]["message"]


async def test_a_long_path_is_not_repeated_whole(client):
    answer = await client.get("/" + 10 * MAX_PATH_CHARS * "a")
    assert answer.json()["error"]["message"].count("a") < 1.1 * MAX_PATH_CHARS


async def test_a_client_that_leaves_before_its_body_is_read_is_no_failure(organism):
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/api/v1/inject", "query_string": b"", "headers": headers}
    app = build_app(organism)
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    assert sent[0]["status"] == 499
