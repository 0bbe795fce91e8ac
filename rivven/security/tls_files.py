"""What the files of a TLS section hold, read once and found well formed. A driver of files.

Every error is one line that starts with the configuration key and names the file. What was read is kept, so
that what OpenSSL loads later is what was checked here, and so that one broken file does not hold up the
others. It must not import the crypto library, which a start does not need, nor judge dates and trust.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rivven.security.certificate import (
    BUNDLE_MAX,
    CHAIN_MAX,
    MalformedCertificate,
    certificates_in,
    key_algorithm,
)

if TYPE_CHECKING:
    from rivven.config.tls import CertificatePair, TlsConfig

PEM_BYTES_MAX = 1 << 20
"""No chain or key is larger; anything above is the wrong file."""

CRL_BYTES_MAX = 16 << 20
"""Some 400,000 revoked certificates; an authority with more needs shorter lifetimes."""


class TlsConfigError(Exception):
    """Certificate or key that cannot be used: one line with configuration key, file and reason."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain, and its key. `where` is the configuration key of the pair; `chain` are
    the certificates (DER), the server's own first."""

    where: str
    cert_path: Path
    key_path: Path
    chain: tuple[bytes, ...] = field(repr=False)
    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Everything a section's files hold. `authorities` are DER; `crls` is the file as it is."""

    pairs: tuple[KeyPair, ...]
    sni: Mapping[str, KeyPair]
    authorities: tuple[bytes, ...] = field(default=(), repr=False)
    crls: bytes | None = field(default=None, repr=False)


def read_files(tls: TlsConfig, where: str) -> TlsFiles:
    """All of a section's files. Raises TlsConfigError for the first that cannot be used."""
    pairs = tuple(read_pair(settings, key) for key, settings in pairs_of(tls, where))
    check_kinds(pairs)
    return TlsFiles(
        pairs,
        {name: read_pair(tls.sni[name], key) for name, key in names_of(tls, where)},
        read_authorities(tls.ca_path, f"{where}.ca_path") if tls.ca_path is not None else (),
        read_crls(tls.crl_path, f"{where}.crl_path") if tls.crl_path is not None else None,
    )


def pairs_of(tls: TlsConfig, where: str) -> list[tuple[str, CertificatePair]]:
    """The listener's own pairs with their configuration keys."""
    more = [(f"{where}.certificates[{number}]", pair) for number, pair in enumerate(tls.certificates)]
    return [(where, tls), *more]


def names_of(tls: TlsConfig, where: str) -> list[tuple[str, str]]:
    """The host names with certificates of their own, and the configuration keys of these."""
    return [(name, f"{where}.sni.{name}") for name in tls.sni]


def paths_of(tls: TlsConfig) -> list[Path]:
    """Every file a section names, to be watched."""
    found = [path for path in (tls.ca_path, tls.crl_path) if path is not None]
    for pair in (tls, *tls.certificates, *tls.sni.values()):
        found += [pair.cert_path, pair.key_path]
        if pair.key_password is not None and pair.key_password.path is not None:
            found.append(pair.key_password.path)
    return list(dict.fromkeys(found))


def read_pair(settings: CertificatePair, where: str) -> KeyPair:
    """A certificate and its key, each well formed. Raises TlsConfigError."""
    certificate, chain = _read_certificates(settings.cert_path, f"{where}.cert_path", CHAIN_MAX)
    key = _read(settings.key_path, f"{where}.key_path")
    if b"PRIVATE KEY-----" not in key:
        raise TlsConfigError(f"{where}.key_path: {settings.key_path}: holds no PEM private key")
    password = _password(settings, key, where)
    return KeyPair(where, settings.cert_path, settings.key_path, chain, certificate, key, password)


def check_kinds(pairs: tuple[KeyPair, ...]) -> None:
    """A context holds one certificate for each kind of key: of two, the first would silently never be used.

    Raises TlsConfigError.
    """
    seen: dict[bytes, str] = {}
    for pair in pairs:
        kind = key_algorithm(pair.chain[0])
        if kind in seen:
            raise TlsConfigError(
                f"{pair.where}.cert_path: {pair.cert_path}: is for the same kind of key as {seen[kind]}"
            )
        seen[kind] = pair.where


def read_authorities(path: Path, key: str) -> tuple[bytes, ...]:
    """The certificates of a bundle, DER. Raises TlsConfigError."""
    return _read_certificates(path, key, BUNDLE_MAX)[1]


def read_crls(path: Path, key: str) -> bytes:
    """A file of revocation lists, unread. Raises TlsConfigError."""
    content = _read(path, key, CRL_BYTES_MAX)
    if b"-----BEGIN X509 CRL-----" not in content:
        raise TlsConfigError(f"{key}: {path}: holds no PEM revocation list")
    return content


def _read_certificates(path: Path, key: str, most: int) -> tuple[bytes, tuple[bytes, ...]]:
    content = _read(path, key)
    try:
        found = tuple(certificates_in(content.decode("ascii", errors="replace"), most + 1))
    except MalformedCertificate as error:
        raise TlsConfigError(f"{key}: {path}: {error}") from None
    if not found:
        raise TlsConfigError(f"{key}: {path}: holds no PEM certificate")
    if len(found) > most:
        raise TlsConfigError(f"{key}: {path}: holds more than {most} certificates")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=b"".join(found))
        key_algorithm(found[0])
    except (ssl.SSLError, ValueError):
        raise TlsConfigError(f"{key}: {path}: holds a damaged certificate") from None
    return content, found


def _password(settings: CertificatePair, key: bytes, where: str) -> str:
    encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in key or b"Proc-Type: 4,ENCRYPTED" in key
    if settings.key_password is None:
        if encrypted:
            raise TlsConfigError(
                f"{where}.key_path: {settings.key_path}: the key is encrypted; set {where}.key_password"
            )
        return ""
    if not encrypted:
        raise TlsConfigError(
            f"{where}.key_password: {settings.key_path} is not encrypted; remove the password"
        )
    try:
        return settings.key_password.reveal()
    except ValueError as error:
        raise TlsConfigError(f"{where}.key_password: {error}") from None


def _read(path: Path, key: str, bytes_max: int = PEM_BYTES_MAX) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise TlsConfigError(f"{key}: {path}: {error.strerror}") from None
    if len(content) > bytes_max:
        raise TlsConfigError(f"{key}: {path}: larger than {bytes_max} bytes")
    return content
