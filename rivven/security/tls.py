"""The one place that makes TLS contexts: for every listener, and for every client of the broker's own.

A context is made from material that was read and found sound (`tls_files`) and is never changed afterwards:
other material means another context. It must not decide when files are read again, nor who may come in: that
is `tls_live` and `tls_trust`.

Choices: TLS 1.2 at least, 1.3 preferred; forward-secret AEAD suites only; no compression, no renegotiation;
no session tickets - Kafka connections live long, so resumption saves little, a ticket key kept in memory
would open recorded traffic, and a ticket would outlive the certificate it was given for.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rivven.security.tls_files import KeyPair, TlsConfigError, TlsFiles

if TYPE_CHECKING:  # the models cost a tenth of a second; offline tools do not need them
    from rivven.config.tls import TlsConfig

CIPHERS_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Every forward-secret AEAD suite. TLS 1.3 suites are all acceptable and not affected by this list."""

SECURITY_LEVEL = "@SECLEVEL=2"
"""112 bits of security whatever the library's own default is: RSA keys below 2048 bits and SHA-1 signatures
are refused."""

_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def context_of(tls: TlsConfig, files: TlsFiles) -> ssl.SSLContext:
    """A new context of this material. Raises TlsConfigError."""
    context = _server_context(tls, files, files.pairs)
    if files.sni:
        by_name = {name: _server_context(tls, files, (pair,)) for name, pair in files.sni.items()}
        _choose_by_name(context, by_name)
    return context


def check_pair(pair: KeyPair) -> None:
    """Whether OpenSSL takes the pair: both readable, one the other's key, strong enough.

    Raises TlsConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(f"{CIPHERS_TLS_1_2}:{SECURITY_LEVEL}")
    _load(context, pair)


def client_context(ca_path: Path | str | None = None) -> ssl.SSLContext:
    """The context of a connection that the broker itself makes: peers are verified, names included, against
    `ca_path`, which is read now, or the system's authorities. Raises OSError or ssl.SSLError."""
    context = ssl.create_default_context(cafile=ca_path)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{CIPHERS_TLS_1_2}:{SECURITY_LEVEL}")
    return context


def peer_chain(connection: ssl.SSLSocket | ssl.SSLObject) -> tuple[bytes, ...]:
    """The certificates a peer sent (DER), its own first, as the handshake - or, of a resumed session, the one
    before - has verified it; empty when it showed none."""
    own = connection.getpeercert(binary_form=True)
    if own is None:
        return ()
    if sys.version_info >= (3, 13):
        sent = connection.get_unverified_chain()
    else:  # the same call, before it had a public name
        found = connection._sslobj.get_unverified_chain()  # type: ignore[union-attr]
        sent = [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in found or ()]
    return (own, *(one for one in sent if one != own))


def _server_context(tls: TlsConfig, files: TlsFiles, pairs: tuple[KeyPair, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[tls.min_version]
    context.set_ciphers(f"{':'.join(tls.ciphers) or CIPHERS_TLS_1_2}:{SECURITY_LEVEL}")
    context.options |= (
        ssl.OP_NO_COMPRESSION
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_CIPHER_SERVER_PREFERENCE
        | ssl.OP_SINGLE_ECDH_USE
        | ssl.OP_NO_TICKET
    )
    context.num_tickets = 0
    context.verify_mode = _CLIENT_AUTH[tls.client_auth]
    if files.authorities:
        # Verified against these alone: chain, dates, and the purpose of a client (RFC 5280 4.2.1.12). An
        # intermediate authority may be named without its root.
        context.load_verify_locations(cadata=b"".join(files.authorities))
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    for pair in pairs:
        _load(context, pair)
    return context


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    try:
        with _as_file(pair.certificate) as certificate, _as_file(pair.key) as key:
            # A password is always passed: without one OpenSSL would ask on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: pair.password)
    except ssl.SSLError as error:
        raise TlsConfigError(_explain(error, pair)) from None


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path from which OpenSSL, which loads keys from files only, reads exactly what was checked: the files
    themselves may be others by now. In memory where the system has such files (Linux)."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("tls")
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    import tempfile  # with a dozen modules that a start on Linux does not need

    with tempfile.NamedTemporaryFile() as named:  # 0600, gone at the end
        named.write(content)
        named.flush()
        yield named.name


def _choose_by_name(context: ssl.SSLContext, by_name: Mapping[str, ssl.SSLContext]) -> None:
    """Let the host name a client asks for choose the certificate; others get the listener's own."""

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        if name is None:
            return
        wanted = name.lower()
        found = by_name.get(wanted) or by_name.get("*." + wanted.partition(".")[2])
        if found is not None:
            connection.context = found

    context.sni_callback = choose


def _explain(error: ssl.SSLError, pair: KeyPair) -> str:
    """The certificate was found sound before, so what is left concerns the key or what the library allows."""
    where = pair.where
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{where}.key_path: {pair.key_path}: is not the key of the certificate {pair.cert_path}"
    if error.reason is not None:  # for example a key too small for the library's security level
        reason = error.reason.lower().replace("_", " ")
        return f"{where}: {pair.cert_path} with {pair.key_path}: {reason}"
    if pair.password:
        return f"{where}.key_path: {pair.key_path}: {where}.key_password does not open it"
    return f"{where}.key_path: {pair.key_path}: holds a damaged private key"
