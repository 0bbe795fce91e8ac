"""The key that signs checkpoints: made once, private to its owner, its public half beside it.

Driver over the file seam. Files: ``signing.key`` (PKCS 8, PEM) and ``signing.pub`` (SubjectPublicKeyInfo,
PEM). It is loaded after start-up because the library takes some 30 ms to import. It never replaces a key: a
key file that cannot be read is a failure, or forged history could be signed anew.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rivven.audit.chain import Sign
from rivven.audit.sinks import SinkFailed
from rivven.log.files import Files

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_NAME: Final = "signing.key"
PUBLIC_NAME: Final = "signing.pub"
_KEY_BYTES_MAX: Final = 4096
"""An Ed25519 key in PEM takes 120 bytes."""


@dataclass(frozen=True, slots=True)
class Signer:
    """`sign` gives Ed25519 signatures; `key_id` names the key in checkpoints."""

    key_id: str
    sign: Sign = field(repr=False)


def load_signer(files: Files, directory: str) -> Signer:
    """The key of a directory, made if there is none. Raises SinkFailed and OSError; blocks."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
    )

    if not files.exists(directory):
        files.make_directory(directory)
    path = f"{directory}/{KEY_NAME}"
    if files.exists(path):
        try:
            key = load_pem_private_key(_content(files, path), None)
        except (ValueError, TypeError):
            raise SinkFailed(f"{path} is not a private key; restore it from a backup") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SinkFailed(f"{path} is not an Ed25519 key")
    else:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(files, directory, KEY_NAME, pem)
    public = key.public_key()
    if not files.exists(f"{directory}/{PUBLIC_NAME}"):
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write(files, directory, PUBLIC_NAME, pem)
    return Signer(key_id(public), _signing(key))


def key_id(public: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def _signing(key: Ed25519PrivateKey) -> Sign:
    return lambda data: key.sign(data)


def _content(files: Files, path: str) -> bytes:
    content = files.open(path, "read").read(_KEY_BYTES_MAX + 1, 0)
    if len(content) > _KEY_BYTES_MAX:
        raise SinkFailed(f"{path} is too large to be a key")
    return content


def _write(files: Files, directory: str, name: str, content: bytes) -> None:
    """Whole or not at all, durable before anything is signed with it."""
    temporary = f"{directory}/{name}.tmp"
    if files.exists(temporary):
        files.remove(temporary)
    file = files.open(temporary, "new")
    position = 0
    while position < len(content):
        position += file.write([content[position:]], position)
    file.sync()
    files.rename(temporary, f"{directory}/{name}")
    files.sync_directory(directory)
