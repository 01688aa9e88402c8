"""What a client shows of itself, and whose certificates it trusts."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

API_KEY = "ORGANISM_API_KEY"
CA_FILE = "ORGANISM_CA_FILE"


@dataclass(frozen=True, slots=True)
class Credentials:
    """api_key: a key (`org_…`) or a JWT, sent as a bearer token; never shown, also not by `repr`.
    ca_file: PEM of the certificate authority of an https:// address, instead of those that everybody trusts.

    Raises:
        ValueError: the key cannot be one.
    """

    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("the API key has characters that no key has, such as the end of a line")
        if self.api_key is not None and (not self.api_key or " " in self.api_key):
            raise ValueError("the API key is empty or has blanks; it is one word, org_… or a token")

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}

    def verifies(self, url: str) -> ssl.SSLContext | bool:
        """What httpx takes as `verify`. Raises: ValueError, where the CA file cannot be used."""
        return self.tls(url) or True

    def tls(self, url: str) -> ssl.SSLContext | None:
        """The CA file loaded; None where the usual authorities do, or nothing is encrypted. Raises: ValueError."""
        if self.ca_file is None or not url.startswith("https:"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # an SSLError, too
            raise ValueError(f"the CA file {self.ca_file} cannot be used: {error.strerror or error}") from error


def credentials_of(environ: Mapping[str, str]) -> Credentials:
    """Those that the environment holds; an empty variable is none. Raises: ValueError."""
    ca_file = environ.get(CA_FILE)
    return Credentials((environ.get(API_KEY) or "").strip() or None, Path(ca_file) if ca_file else None)


def is_untrusted(error: BaseException) -> bool:
    """Whether a connection failed because of the certificate that the server has shown."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
