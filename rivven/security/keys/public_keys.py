"""Public halves of signing keys: kept for ever, so that what an old key signed can still be verified.

A driver; blocks. Files `<name>-<key id>.pub`, whatever bytes the signer publishes (PEM).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from rivven.log.files import Files
from rivven.security.keys import key_file
from rivven.security.keys.key_file import disk_failures
from rivven.security.keys.provider import KeyRefused

_SAFE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_PEM_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that signatures are checked with."""

    key_id: str
    pem: str
    current: bool


class PublicKeys:
    """One directory of public keys, made with the first of them."""

    def __init__(self, files: Files, directory: str) -> None:
        self._files = files
        self._directory = directory

    def keep(self, name: str, key_id: str, pem: bytes) -> None:
        """Store a public key durably; the same one twice is fine. Raises KeyProviderError."""
        key_file.make_directory(self._files, self._directory)
        path = f"{self._directory}/{safe_name(name)}-{safe_name(key_id)}.pub"
        key_file.replace_plain(self._files, path, pem)

    def all(self, name: str) -> dict[str, bytes]:
        """Every public key kept under a name, by key id. Raises KeyProviderError."""
        prefix = f"{safe_name(name)}-"
        found: dict[str, bytes] = {}
        with disk_failures(self._directory):
            if not self._files.exists(self._directory):
                return found
            for entry in self._files.list(self._directory):
                if entry.startswith(prefix) and entry.endswith(".pub"):
                    content = self._files.open(f"{self._directory}/{entry}", "read").read(_PEM_BYTES_MAX, 0)
                    found[entry[len(prefix) : -len(".pub")]] = content
        return found


def safe_name(name: str) -> str:
    """A name that is the name of a file and nothing else. Raises KeyRefused."""
    if not _SAFE_NAME.fullmatch(name):
        raise KeyRefused("a name in the key store is at most 100 of a-z 0-9 . _ -")
    return name
