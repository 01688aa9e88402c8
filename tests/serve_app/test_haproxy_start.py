from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

from serve_app.haproxy_start import closed_up


def template() -> str:
    """Ray's own, without importing Ray Serve."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "serve" / "_private" / "haproxy_templates.py"
    return runpy.run_path(str(file))["HAPROXY_CONFIG_TEMPLATE"]


def test_what_ray_serve_writes_is_closed_up():
    written = (
        template()
        .replace("{{ config.metrics_port }}", "9101")
        .replace("{{ config.stats_port }}", "8404")
        .replace("{{ config.frontend_host }}:{{ config.frontend_port }}", "*:8000")
    )
    text = closed_up(written)
    assert "bind 127.0.0.1:9101\n" in text
    assert "bind 127.0.0.1:8404\n" in text
    assert "bind *:8000\n" in text
    assert "defaults\n    mode http\n    option forwardfor except 127.0.0.0/8\n" in text


def test_other_text_stays_as_it_is():
    assert closed_up("frontend mine\n  bind :80\n") == "frontend mine\n  bind :80\n"
