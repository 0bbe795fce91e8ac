"""The key that signs erasure certificates: a secret of the key store, with every public half kept beside it.

Driver; blocks. The private half is in memory only while something is signed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from rivven.security.keys.erasure import Erasure
from rivven.security.keys.erasure_certificate import (
    PENDING,
    CertificateRefused,
    certificate_of,
    completion_of,
    key_id_of,
    signing_key_of,
    verify,
)
from rivven.security.keys.public_keys import PublicKey
from rivven.security.keys.secrets import ERASURE_SIGNING, Secrets

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SEED_BYTES = 32


class ErasureSigning:
    """Signs with the present key, which is made at the first use. Safe to use from several threads. Raises
    KeyProviderError."""

    def __init__(self, kept: Secrets, entropy: Callable[[int], bytes]) -> None:
        self._secrets = kept
        self._entropy = entropy
        self._lock = threading.Lock()
        """Two first uses at once would make two keys, over one temporary file."""

    def certificate(self, erasure: Erasure) -> bytes:
        """The signed certificate of a finished erasure; its public key is kept before it is given away."""
        key, key_id = self._present()
        return certificate_of(erasure, key_id, key.sign)

    def completion(
        self, pending: bytes, certificate_id: str, completed_ms: int, destroyed: Collection[str]
    ) -> bytes:
        """The signed certificate that completes a pending one of ours, all of whose keys are among the
        `destroyed`. Raises CertificateRefused for one that no key of this key store has signed: what is not
        proved is not signed again."""
        signed_with = signing_key_of(pending)
        pem = self._secrets.public.all(ERASURE_SIGNING).get(signed_with)
        if pem is None:
            raise CertificateRefused(f"it was signed with key {signed_with[:80]}, which is not kept here")
        fields = verify(pending, pem).fields
        if fields["state"] != PENDING:
            raise CertificateRefused("it is not pending")
        waiting = {one["key_id"] for one in fields["key_encryption_keys"] if not one["destroyed"]}
        if not waiting <= set(destroyed):
            raise CertificateRefused("it names other keys than those that are destroyed")
        key, key_id = self._present()
        return completion_of(fields, certificate_id, completed_ms, key_id, key.sign)

    def public_keys(self) -> list[PublicKey]:
        """The present key first, then those before it."""
        with self._lock:
            current = self._publish(self._load())
            old = sorted(self._secrets.public.all(ERASURE_SIGNING).items())
        return [
            current,
            *(PublicKey(one, pem.decode("ascii"), False) for one, pem in old if one != current.key_id),
        ]

    def rotate(self) -> PublicKey:
        """Sign with another key from now on; the public half of the old one stays."""
        with self._lock:
            self._publish(self._load())
            return self._publish(_private(self._secrets.rotate(ERASURE_SIGNING, self._seed)))

    def _present(self) -> tuple[Ed25519PrivateKey, str]:
        """The key to sign with, and its id; its public half is kept before anything is signed."""
        with self._lock:
            key = self._load()
            return key, self._publish(key).key_id

    def _load(self) -> Ed25519PrivateKey:
        return _private(self._secrets.load_or_create(ERASURE_SIGNING, self._seed))

    def _publish(self, key: Ed25519PrivateKey) -> PublicKey:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        key_id = key_id_of(public.public_bytes_raw())
        if key_id not in self._secrets.public.all(ERASURE_SIGNING):
            self._secrets.public.keep(ERASURE_SIGNING, key_id, pem)
        return PublicKey(key_id, pem.decode("ascii"), True)

    def _seed(self) -> bytes:
        return self._entropy(_SEED_BYTES)


def _private(seed: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)
