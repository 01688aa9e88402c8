"""An organism with sessions whose model is a fake one on this machine."""

from __future__ import annotations

import json
from typing import Any

from tests.fake_llm import FakeLlm


def organism_yaml(llm: FakeLlm, settings: dict[str, Any], **others: Any) -> str:
    """`settings` are those of `sessions`, `others` further sections. JSON, which is YAML, too."""
    backend = {"provider": "openai", "base_url": llm.base_url, "models": ["fake"]}
    sections = {"organism": {"name": "talk"}, "llm": {"backends": [backend], "retries": 0}, "sessions": settings}
    return json.dumps(sections | others)
