"""Whether PEM files of a certificate and its private key can be shown to clients."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from organism.config_rules import Breach, Location

CERT: Location = ("tls", "cert")
KEY: Location = ("tls", "key")

_CERT_REMEDY = "Give a PEM certificate, its chain after it, that holds today"
_KEY_REMEDY = "Give the certificate's own key, as PEM without a passphrase"


def unusable_certificate(cert: Path, key: Path) -> Iterator[Breach]:
    """What is wrong with the files of `tls`."""
    certificate, private = _certificate(cert), _private_key(key)
    if isinstance(certificate, Breach):
        yield certificate
    elif (problem := _problem_today(certificate)) is not None:
        yield Breach(CERT, f"{cert} {problem}, and clients refuse it", "Have it renewed")
    if isinstance(private, Breach):
        yield private
    elif isinstance(certificate, Breach):
        return
    elif private.public_key() != certificate.public_key():
        yield Breach(KEY, f"{key} is not the private key of {cert}", _KEY_REMEDY)
    elif not belong_together(cert, key):
        yield Breach(CERT, f"{cert} is not taken by OpenSSL with its key", _CERT_REMEDY)


def belong_together(cert: Path, key: Path) -> bool:
    """Whether a server can show the certificate, in the eyes of OpenSSL."""
    try:
        # Without a password to give, OpenSSL would ask the terminal for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError):
        return False
    return True


def _certificate(path: Path) -> x509.Certificate | Breach:
    """That of the server, which is the first."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        return _unreadable(CERT, path, error)
    except ValueError:
        return Breach(CERT, f"{path} is no PEM certificate", _CERT_REMEDY)


def _problem_today(certificate: x509.Certificate) -> str | None:
    now = datetime.now(UTC)
    if now < certificate.not_valid_before_utc:
        return f"holds only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if now > certificate.not_valid_after_utc:
        return f"has expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return None


def _private_key(path: Path) -> PrivateKeyTypes | Breach:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        return _unreadable(KEY, path, error)
    except TypeError:
        return Breach(KEY, f"{path} has a passphrase", _KEY_REMEDY)
    except (ValueError, UnsupportedAlgorithm):
        return Breach(KEY, f"{path} is no PEM private key", _KEY_REMEDY)


def _unreadable(location: Location, path: Path, error: OSError) -> Breach:
    remedy = "Check its permissions, and its path, which counts from the organism's folder"
    return Breach(location, f"{path} cannot be read: {error.strerror}", remedy)
