"""Swagger UI at /docs and ReDoc at /redoc, with scripts of this machine: what runs in pages of the API's own origin may
do what their reader may do, and has to work without a network, too."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from serve_app.security_headers import CONTENT_POLICY

ASSETS = "/docs/assets"

FILES = Path(fastapi_offline.__file__).parent / "static"

POLICY = {
    CONTENT_POLICY.decode(): "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; worker-src blob:"
}


def install(app: FastAPI) -> None:
    """Adds both pages and their files; `app` has been made without FastAPI's own."""
    app.mount(ASSETS, StaticFiles(directory=FILES))
    app.add_route("/docs", _swagger, include_in_schema=False)
    app.add_route("/redoc", _redoc, include_in_schema=False)


async def _swagger(request: Request) -> Response:
    root, app = _root(request), request.app
    page = get_swagger_ui_html(
        openapi_url=root + app.openapi_url,
        title=app.title,
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
    )
    page.headers.update(POLICY)
    return page


async def _redoc(request: Request) -> Response:
    root, app = _root(request), request.app
    page = get_redoc_html(
        openapi_url=root + app.openapi_url,
        title=app.title,
        redoc_js_url=f"{root}{ASSETS}/redoc.standalone.js",
        redoc_favicon_url=f"{root}{ASSETS}/favicon.png",
        with_google_fonts=False,
    )
    page.headers.update(POLICY)
    return page


def _root(request: Request) -> str:
    """What a proxy has taken off the path."""
    return str(request.scope.get("root_path", "")).rstrip("/")
