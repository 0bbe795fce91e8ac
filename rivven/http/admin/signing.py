"""Routes about the keys that sign: of audit checkpoints on every broker, of certificates where it encrypts.

Public halves only ever pass through them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from rivven.http.admin.problems import Problem
from rivven.http.admin.routes import Call, Permission, Route
from rivven.security.keys.operations import KeyService, Signing
from rivven.security.keys.public_keys import PublicKey
from rivven.types import Operation


class PublicKeyInfo(BaseModel):
    """A public key that signatures are checked with."""

    key_id: str
    pem: str
    current: bool


class PublicKeysInfo(BaseModel):
    """The public keys of one signer, the newest first; old ones stay for what they signed."""

    items: list[PublicKeyInfo]


class _Signers:
    """Both signers behind one name each. With encryption on, rotations wait for other work on keys."""

    def __init__(self, keys: KeyService | None, audit: Signing) -> None:
        self._keys = keys
        self._audit = audit

    async def public_keys(self, name: str) -> Sequence[PublicKey]:
        if self._keys is not None:
            return await self._keys.public_keys(name)
        return await self._only_audit(name).public_keys()

    async def rotate(self, name: str) -> PublicKey:
        if self._keys is not None:
            return await self._keys.rotate_signing(name)
        return await self._only_audit(name).rotate()

    def _only_audit(self, name: str) -> Signing:
        if name != "audit":
            raise not_encrypting()
        return self._audit


def not_encrypting() -> Problem:
    """What a broker answers that has no keys of stored data."""
    return Problem(501, "this broker does not encrypt: see storage.encryption")


def routes(keys: KeyService | None, audit: Signing) -> list[Route]:
    """The rows of this module; `keys` is None without encryption."""
    signers = _Signers(keys, audit)

    async def public_keys(call: Call) -> PublicKeysInfo:
        found = await signers.public_keys(call.path["name"])
        return PublicKeysInfo(items=[_public(one) for one in found])

    async def rotate_signing(call: Call) -> PublicKeyInfo:
        return _public(await signers.rotate(call.path["name"]))

    return [
        Route(
            "GET",
            "/v1/keys/signing/{name}",
            Permission(Operation.DESCRIBE),
            public_keys,
            "Public keys that check audit checkpoints (audit) or, with encryption, certificates (erasure)",
            PublicKeysInfo,
        ),
        Route(
            "POST",
            "/v1/keys/signing/{name}/rotate",
            Permission(Operation.ALTER),
            rotate_signing,
            "Sign with a new key from now on; the old public key is kept",
            PublicKeyInfo,
            status=201,
            audited="key_change",
            target="signing-key:{name}",
            facts=lambda _call: {"operation": "rotate"},
        ),
    ]


def _public(key: PublicKey) -> PublicKeyInfo:
    return PublicKeyInfo(key_id=key.key_id, pem=key.pem, current=key.current)
