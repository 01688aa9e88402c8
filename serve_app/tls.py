"""The certificate that the API shows: that of organism.yaml, or one made here for a trial."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from organism.access.certificates import belong_together
from organism.config import TlsSection
from organism.private_folder import make_private

TLS_FOLDER = Path(".organism") / "tls"
TRIAL_DAYS = 90
RENEW_BEFORE = timedelta(days=7)
CLOCKS_APART = timedelta(hours=1)
EVERYWHERE = ("", "0.0.0.0", "::")

ELSEWHERE = "192.0.2.1"
"""An address that is nobody's: https://datatracker.ietf.org/doc/html/rfc5737."""


class TlsFiles(NamedTuple):
    """PEM files, absolute: certificate with its chain, and private key."""

    cert: Path
    key: Path

    def client_context(self) -> ssl.SSLContext:
        """Trusts this very certificate, whatever its names: for the launcher, which asks its own API."""
        context = ssl.create_default_context(cafile=self.cert)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return context


def configured_files(section: TlsSection, folder: Path) -> TlsFiles:
    """The files that organism.yaml in `folder` names; `organism.access.named` checks them."""
    return TlsFiles(folder.absolute() / section.cert, folder.absolute() / section.key)


def trial_files(folder: Path, host: str) -> TlsFiles:
    """A self-signed certificate for this machine in the organism's `folder`, made where there is none that will do."""
    place = folder.absolute() / TLS_FOLDER
    files = TlsFiles(place / "cert.pem", place / "key.pem")
    names = _names(host)
    if not _will_do(files, names):
        make_private(place)
        _write_trial(files, names)
    return files


def _names(host: str) -> list[x509.GeneralName]:
    addresses = {"127.0.0.1", "::1"}
    names = {"localhost", _ascii(socket.gethostname())} - {""}
    if host in EVERYWHERE:
        addresses |= _own_addresses()
    else:
        (addresses if _is_ip(host) else names).add(host)
    return [
        *(x509.DNSName(name) for name in sorted(names)),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in sorted(addresses)),
    ]


def _own_addresses() -> set[str]:
    """By which others may call this machine: those of its name, and the one that packets to elsewhere carry."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        found |= {str(each[4][0]).partition("%")[0] for each in socket.getaddrinfo(socket.gethostname(), None)}
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((ELSEWHERE, 9))  # sends nothing: it only chooses a route
        found.add(probe.getsockname()[0])
    return found


def _ascii(name: str) -> str:
    return name if name.isascii() else ""


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _will_do(files: TlsFiles, names: list[x509.GeneralName]) -> bool:
    """Whether what lies there is whole, holds for some days more, and has all `names`."""
    if not (files.cert.exists() and files.key.exists() and belong_together(*files)):
        return False
    certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
    try:
        present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    now = datetime.now(UTC)
    holds = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
    return holds and set(names) <= set(present)


def _write_trial(files: TlsFiles, names: list[x509.GeneralName]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "organism, self-signed")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(now + timedelta(days=TRIAL_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files.key.unlink(missing_ok=True)  # an older one may have been readable by others
    files.key.touch(0o600, exist_ok=False)
    files.key.write_bytes(private)
    files.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
