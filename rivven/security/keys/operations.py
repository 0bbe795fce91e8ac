"""What an operator does with keys, as the Admin API asks for it and the composition root answers it.

Values and a protocol only. Every operation is refused with a RivvenError whose text may be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from rivven.errors import ErrorCode, RivvenError
from rivven.security.keys.erasure import Erasure
from rivven.security.keys.inventory import KeyInventory
from rivven.security.keys.public_keys import PublicKey


class KeyOperationRefused(RivvenError):
    """The operation cannot be done now; the message says why."""

    code = ErrorCode.POLICY_VIOLATION


class UnknownKeyThing(RivvenError):
    """There is no such topic, certificate or key."""

    code = ErrorCode.RESOURCE_NOT_FOUND


class KeysBusy(RivvenError):
    """Another operation on keys runs."""

    code = ErrorCode.CONCURRENT_TRANSACTIONS


class PlaintextHistory(KeyOperationRefused):
    """Records of the topic were stored unencrypted, and nobody accepted that shredding does not reach
    them."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new KEK. It wraps what is wrapped from now on; `older_keys` topic keys wait for a rewrap. No
    `previous_id`: it is the first one of its name."""

    name: str
    key_id: str
    previous_id: str
    older_keys: int


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How many keys were wrapped anew, and which KEKs nothing here needs any more."""

    rewrapped: int
    unchanged: int
    retirable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RewriteProgress:
    """How far re-encryption of a topic is. Bytes as stored."""

    topic: str
    topic_id: UUID
    done_bytes: int
    left_bytes: int
    finished: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """A stored erasure certificate. `completes` is the pending one that it completes, `completed_by` the one
    that does that to it, `problem` why waiting does not help."""

    id: str
    topic: str
    state: str
    finished_at: str
    completes: str = ""
    completed_by: str = ""
    problem: str = ""


class Signing(Protocol):
    """One key that signs, with its public halves. Both calls may wait; they raise RivvenError."""

    async def public_keys(self) -> Sequence[PublicKey]:
        """The present key first, then those before it."""
        ...

    async def rotate(self) -> PublicKey: ...


class KeyService(Protocol):
    """Everything of `rivven keys` that needs the running broker. Raises RivvenError."""

    @property
    def running(self) -> Erasure | None:
        """The erasure under way."""
        ...

    @property
    def problem(self) -> str:
        """Why the erasure under way came no further; empty while it moves."""
        ...

    async def inventory(self) -> KeyInventory: ...

    async def rotate(self, name: str) -> Rotated: ...

    async def rewrap(self) -> Rewrapped: ...

    async def reencrypt(self, topic: str) -> RewriteProgress: ...

    async def start_over(self, topic: str) -> str:
        """New keys for a topic whose keys are lost; the id of the one that counts."""
        ...

    def progress(self) -> Sequence[RewriteProgress]: ...

    async def shred(self, topic: str, principal: str, *, accept_plaintext: bool) -> bytes:
        """The signed certificate."""
        ...

    async def certificates(self) -> Sequence[CertificateEntry]: ...

    async def certificate(self, certificate_id: str) -> bytes: ...

    async def public_keys(self, name: str) -> Sequence[PublicKey]: ...

    async def rotate_signing(self, name: str) -> PublicKey: ...
