"""What every answer tells browsers: take it for what it is, in no frame, and keep nothing of it."""

from __future__ import annotations

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
CONTENT_POLICY = b"content-security-policy"
NOTHING = (CONTENT_POLICY, b"default-src 'none'; frame-ancestors 'none'")
CACHING = b"cache-control"
NO_STORE = (CACHING, b"no-store")
