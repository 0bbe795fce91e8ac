"""The key that signs erasure certificates: a secret of the key store, with every public half kept beside it.

Driver; blocks. The private half is in memory only while something is signed.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """Signs with the present key, which is made at the first use. Raises KeyProviderError."""

    def __init__(self, kept: Secrets, entropy: Callable[[int], bytes]) -> None:
        self._secrets = kept
        self._entropy = entropy

    def certificate(self, erasure: Erasure) -> bytes:
        """The signed certificate of a finished erasure; its public key is kept before it is given away."""
        key = _private(self._secrets.load_or_create(ERASURE_SIGNING, self._seed))
        return certificate_of(erasure, self._publish(key).key_id, key.sign)

    def completion(self, pending: bytes, certificate_id: str, completed_ms: int) -> bytes:
        """The signed certificate that completes a pending one of ours. Raises CertificateRefused for one that
        no key of this key store has signed: what is not proved is not signed again."""
        signed_with = signing_key_of(pending)
        pem = next((one.pem for one in self.public_keys() if one.key_id == signed_with), None)
        if pem is None:
            raise CertificateRefused(f"it was signed with key {signed_with[:80]}, which is not kept here")
        fields = verify(pending, pem.encode("ascii")).fields
        if fields["state"] != PENDING:
            raise CertificateRefused("it is not pending")
        key = _private(self._secrets.load_or_create(ERASURE_SIGNING, self._seed))
        return completion_of(fields, certificate_id, completed_ms, self._publish(key).key_id, key.sign)

    def public_keys(self) -> list[PublicKey]:
        """The present key first, then those before it."""
        current = self._publish(_private(self._secrets.load_or_create(ERASURE_SIGNING, self._seed)))
        old = sorted(self._secrets.public.all(ERASURE_SIGNING).items())
        return [
            current,
            *(PublicKey(one, pem.decode("ascii"), False) for one, pem in old if one != current.key_id),
        ]

    def rotate(self) -> PublicKey:
        """Sign with another key from now on; the public half of the old one stays."""
        self.public_keys()
        return self._publish(_private(self._secrets.rotate(ERASURE_SIGNING, self._seed)))

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
