"""The smallest server to compare with: FastAPI on uvicorn, and the bytes that the API answers, made beforehand.

uvicorn --factory benchmarks.bare_api:build_app, with the bytes in the file that BARE_ANSWER names.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI, Response


def build_app() -> FastAPI:
    answer = Path(os.environ["BARE_ANSWER"]).read_bytes()
    app = FastAPI()

    @app.get("/agents")
    async def agents() -> Response:
        return Response(answer, media_type="application/json")

    return app
