"""The development certificates: a CA of this data directory and a server certificate for this machine.

    <data_dir>/dev/  ca.crt  ca.key  server.crt  server.key       all readable by the owner only

The CA may sign for localhost and loopback addresses only (critical name constraints), so a copied `ca.key`
cannot impersonate anything else. The server certificate is made again when it nears its end or is missing;
clients keep trusting the same CA. The crypto library is imported only when something must be
made: a later start reads one file. It must not be used outside development.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rivven.security.certificate import MalformedCertificate, certificates_in, validity
from rivven.security.private_files import PrivateFileError, read_bounded, read_private, write_private

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)
"""The longest that strict verifiers (browsers, Apple) accept for a server certificate."""

RENEW_BEFORE = timedelta(days=30)
DNS_NAMES = ("localhost",)
ADDRESSES = ("127.0.0.1", "::1")
_PERMITTED_NETWORKS = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class DevPki:
    """Where the development certificates are; `made` says what this start had to make, for the log."""

    ca_path: Path
    cert_path: Path
    key_path: Path
    made: tuple[str, ...] = ()


def ensure_dev_pki(directory: Path, now_ms: int) -> DevPki:
    """Make what is missing or about to end in `directory` (which must exist, owner-only).

    Raises OSError or PrivateFileError. A certificate goes before its key is replaced and comes last, so a
    crash in between leaves something missing, never a pair that does not match.
    """
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    ca_path, ca_key_path = directory / "ca.crt", directory / "ca.key"
    cert_path, key_path = directory / "server.crt", directory / "server.key"
    made: list[str] = []
    if not _usable(ca_path, ca_key_path, now, SERVER_LIFETIME):
        cert_path.unlink(missing_ok=True)
        ca_path.unlink(missing_ok=True)
        certificate, key = _make_ca(now)
        write_private(ca_key_path, key)
        write_private(ca_path, certificate)
        made.append("ca")
    if not _usable(cert_path, key_path, now, RENEW_BEFORE):
        cert_path.unlink(missing_ok=True)
        certificate, key = _make_server(ca_path, ca_key_path, now)
        write_private(key_path, key)
        write_private(cert_path, certificate)
        made.append("server")
    return DevPki(ca_path, cert_path, key_path, tuple(made))


def _usable(cert_path: Path, key_path: Path, now: datetime, at_least: timedelta) -> bool:
    """Whether both files are there and the certificate is valid for `at_least` longer."""
    cert, key = read_bounded(cert_path), read_private(key_path)
    if cert is None or key is None:
        return False
    try:
        found = certificates_in(cert.decode("ascii", errors="replace"))
        if not found:
            return False
        start, end = validity(found[0])
    except MalformedCertificate:
        return False
    return start <= now and end - now > at_least


def _make_ca(now: datetime) -> tuple[bytes, bytes]:
    """(certificate, key), PEM."""
    from rivven.security import pki

    key = pki.make_key()
    # The key's own hash in the name keeps two CAs apart in one trust store.
    subject = pki.subject_name(f"Rivven development CA {pki.key_id(key)[:8]}", "Rivven development")
    permitted = [pki.permitted_name(f"dns:{name}") for name in DNS_NAMES]
    permitted += [pki.permitted_name(f"ip:{network}") for network in _PERMITTED_NETWORKS]
    certificate = pki.make_authority(subject, key, now, CA_LIFETIME, permitted)
    return pki.certificate_pem(certificate), pki.key_pem(key)


def _make_server(ca_path: Path, ca_key_path: Path, now: datetime) -> tuple[bytes, bytes]:
    """(certificate, key), PEM."""
    from rivven.security import pki

    try:
        authority = pki.load_authority(read_bounded(ca_path) or b"", read_private(ca_key_path) or b"", None)
    except pki.PkiError as error:
        raise PrivateFileError(
            f"{ca_path} with {ca_key_path}: {error}; remove both to have them made"
        ) from None
    key = pki.make_key()
    names = tuple(pki.alternative_name(name) for name in (*DNS_NAMES, *ADDRESSES))
    request = pki.Request(pki.subject_name(DNS_NAMES[0]), names, "server", SERVER_LIFETIME)
    return pki.certificate_pem(pki.issue(request, key, authority, now)), pki.key_pem(key)
