"""The key that signs checkpoints, and the public halves beside the log: the present one and those before it.

Whoever keeps secrets gives the key (PKCS 8, PEM); here it becomes a `Signer`, and its public half is added to
``signing.pub`` (SubjectPublicKeyInfo, PEM, oldest first) so that lines signed before a rotation can still be
verified. It is loaded after start-up because the library takes some 30 ms to import.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rivven.audit.chain import Sign
from rivven.audit.sinks import SinkFailed
from rivven.log import framed_file
from rivven.log.files import Files

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PUBLIC_NAME: Final = "signing.pub"
KEYS_MAX: Final = 1_000
"""Public keys in one file: a rotation a week for twenty years, 113 bytes each."""
_PUBLIC_BYTES_MAX: Final = KEYS_MAX * 256
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----[^-]{1,400}-----END PUBLIC KEY-----\n?")


@dataclass(frozen=True, slots=True)
class Signer:
    """`sign` gives Ed25519 signatures; `key_id` names the key in checkpoints."""

    key_id: str
    sign: Sign = field(repr=False)
    public_pem: bytes


def new_secret() -> bytes:
    """A new signing key, as it is kept."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = Ed25519PrivateKey.generate()
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signer_of(secret: bytes) -> Signer:
    """The signer of a key that was kept. Raises SinkFailed: a key that cannot be read is never replaced, or
    history could be forged."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        key = load_pem_private_key(secret, None)
    except (ValueError, TypeError):
        raise SinkFailed("the signing key is not a private key; restore it from a backup") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SinkFailed("the signing key is not an Ed25519 key")
    public = key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Signer(key_id(public), lambda data: key.sign(data), pem)


def key_id(public: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def public_keys(content: bytes) -> list[bytes]:
    """Each public key (PEM) of a file that holds one or several, in order. Raises ValueError."""
    found = _PEM.findall(content)
    if not found or b"".join(found).split() != content.split():
        raise ValueError("these are not public keys in PEM")
    if len(found) > KEYS_MAX:
        raise ValueError(f"more than {KEYS_MAX} public keys")
    return list(found)


def publish(files: Files, directory: str, signer: Signer) -> None:
    """Make the signer's public key the last one beside the log. Raises SinkFailed and OSError; blocks."""
    if not files.exists(directory):
        files.make_directory(directory)
    path = f"{directory}/{PUBLIC_NAME}"
    content = b""
    if files.exists(path):
        content = files.open(path, "read").read(_PUBLIC_BYTES_MAX, 0)
        try:
            if public_keys(content)[-1].split() == signer.public_pem.split():
                return
        except ValueError as error:
            raise SinkFailed(f"{path}: {error}") from None
    framed_file.replace(files, path, content + signer.public_pem)
