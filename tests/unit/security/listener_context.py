"""The context of a listener as a start makes it: files read, found sound, handed to OpenSSL."""

from __future__ import annotations

import ssl

from rivven.config.tls import TlsConfig
from rivven.security.tls import context_of
from rivven.security.tls_files import read_files


def server_context(tls: TlsConfig, where: str = "server.tls") -> ssl.SSLContext:
    """Raises TlsConfigError; `where` is the configuration key its text starts with."""
    return context_of(tls, read_files(tls, where))
