"""The one place that makes TLS contexts, for every listener.

Every error is one line that starts with the configuration key and names the file. It must not read the
configuration itself, nor decide when certificates are loaded again.

Choices: TLS 1.2 at least, 1.3 preferred; forward-secret AEAD suites only; no compression, no renegotiation;
no session tickets - Kafka connections live long, so resumption saves little, and a ticket key kept in
memory would open recorded traffic.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from rivven.security.certificate import MalformedCertificate, certificates_in

if TYPE_CHECKING:  # the models cost a tenth of a second; offline tools do not need them
    from rivven.config.listeners import TlsConfig

CIPHERS_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""TLS 1.3 suites are all acceptable and not affected by this list. Level 2 asks for 112 bits of security
whatever the library's own default is: RSA keys below 2048 bits and SHA-1 signatures are refused."""

_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_PEM_BYTES_MAX = 1 << 20
"""No chain or key is larger; anything above is the wrong file."""


class TlsConfigError(Exception):
    """Certificate or key that cannot be used: one line with configuration key, file and reason."""


def server_context(tls: TlsConfig, where: str = "server.tls") -> ssl.SSLContext:
    """The context of a listener. `where` is the configuration key errors start with.

    Raises TlsConfigError for a missing, unreadable, malformed or mismatched pair.
    """
    _check_certificate(tls.cert_path, f"{where}.cert_path")
    encrypted = _check_key(tls.key_path, f"{where}.key_path")
    password = _key_password(tls, encrypted, where)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[tls.min_version]
    context.set_ciphers(CIPHERS_TLS_1_2)
    context.options |= (
        ssl.OP_NO_COMPRESSION
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_CIPHER_SERVER_PREFERENCE
        | ssl.OP_SINGLE_ECDH_USE
        | ssl.OP_NO_TICKET
    )
    context.num_tickets = 0
    _ask_for_certificates(context, tls, where)
    try:
        # A password is always passed: without one OpenSSL would ask on the terminal.
        context.load_cert_chain(tls.cert_path, tls.key_path, password=lambda: password)
    except ssl.SSLError as error:
        raise TlsConfigError(_explain(error, tls, encrypted, where)) from None
    return context


def _ask_for_certificates(context: ssl.SSLContext, tls: TlsConfig, where: str) -> None:
    """Clients' certificates are verified against `ca_path` alone: chain, dates, and the purpose of a client
    (RFC 5280 4.2.1.12). An intermediate authority may be named without its root."""
    context.verify_mode = _CLIENT_AUTH[tls.client_auth]
    if tls.ca_path is None:
        return
    _check_certificate(tls.ca_path, f"{where}.ca_path")
    context.load_verify_locations(tls.ca_path)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def _check_certificate(path: Path, key: str) -> None:
    text = _read(path, key)
    try:
        found = certificates_in(text)
    except MalformedCertificate as error:
        raise TlsConfigError(f"{key}: {path}: {error}") from None
    if not found:
        raise TlsConfigError(f"{key}: {path}: holds no PEM certificate")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=b"".join(found))
    except (ssl.SSLError, ValueError):
        raise TlsConfigError(f"{key}: {path}: holds a damaged certificate") from None


def _check_key(path: Path, key: str) -> bool:
    """Whether the key is encrypted."""
    text = _read(path, key)
    if "PRIVATE KEY-----" not in text:
        raise TlsConfigError(f"{key}: {path}: holds no PEM private key")
    return "BEGIN ENCRYPTED PRIVATE KEY" in text or "Proc-Type: 4,ENCRYPTED" in text


def _key_password(tls: TlsConfig, encrypted: bool, where: str) -> str:
    if tls.key_password is None:
        if encrypted:
            raise TlsConfigError(
                f"{where}.key_path: {tls.key_path}: the key is encrypted; set {where}.key_password"
            )
        return ""
    if not encrypted:
        raise TlsConfigError(f"{where}.key_password: {tls.key_path} is not encrypted; remove the password")
    try:
        return tls.key_password.reveal()
    except ValueError as error:
        raise TlsConfigError(f"{where}.key_password: {error}") from None


def _read(path: Path, key: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_PEM_BYTES_MAX + 1)
    except OSError as error:
        raise TlsConfigError(f"{key}: {path}: {error.strerror}") from None
    if len(content) > _PEM_BYTES_MAX:
        raise TlsConfigError(f"{key}: {path}: larger than {_PEM_BYTES_MAX} bytes")
    return content.decode("ascii", errors="replace")


def _explain(error: ssl.SSLError, tls: TlsConfig, encrypted: bool, where: str) -> str:
    """The certificate was found sound before, so what is left concerns the key or what the library allows."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{where}.key_path: {tls.key_path}: is not the key of the certificate {tls.cert_path}"
    if error.reason is not None:  # for example a key too small for the library's security level
        return f"{where}: {tls.cert_path} with {tls.key_path}: {error.reason.lower().replace('_', ' ')}"
    if encrypted:
        return f"{where}.key_password: does not open {tls.key_path}"
    return f"{where}.key_path: {tls.key_path}: holds a damaged private key"
