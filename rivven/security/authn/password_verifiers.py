"""Checking a password that arrives in the clear against what is stored of it. Slow on purpose.

`check` costs between 5 ms and a second of a processor and 64 MiB of memory for Argon2id: call it on a thread
of `verification`, never on the event loop. Nothing here looks up users or remembers passwords.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from rivven.protocol.scram import ScramVerifier, derive_verifier

ARGON2_MEMORY_KIB_MAX = 1 << 20
"""A hash that asks for more than a GiB would let a users file take the broker down."""

ARGON2_TIME_MAX = 64
"""Passes over the memory; the library's default is 3."""

ARGON2_LANES_MAX = 16

_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,8}),t=([0-9]{1,4}),p=([0-9]{1,3})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,172}",
    re.ASCII,
)
"""The PHC string format of RFC 9106's Argon2id, version 1.3."""


class PasswordVerifier(Protocol):
    """Says whether a password is the right one."""

    def check(self, password: str) -> bool:
        """Blocks the calling thread; must not raise for any text."""
        ...


@dataclass(frozen=True, slots=True)
class ScramPassword:
    """A password against the verifier that SCRAM uses: one PBKDF2 with the verifier's iterations."""

    verifier: ScramVerifier

    def check(self, password: str) -> bool:
        """See `PasswordVerifier`."""
        known = self.verifier
        derived = derive_verifier(known.mechanism, password, known.salt, known.iterations)
        return hmac.compare_digest(derived.stored_key, known.stored_key)


class Argon2Shape(NamedTuple):
    """What an Argon2id hash costs: KiB of memory, passes and lanes."""

    memory_kib: int
    passes: int
    lanes: int

    def phc(self, salt: bytes, tag: bytes) -> str:
        """The PHC form of a hash of this cost."""
        encoded = "$".join(b64encode(part).decode().rstrip("=") for part in (salt, tag))
        return f"$argon2id$v=19$m={self.memory_kib},t={self.passes},p={self.lanes}${encoded}"


@dataclass(frozen=True, slots=True)
class Argon2Password:
    """A password against an Argon2id hash in PHC form. Raises ValueError for a text that is not one."""

    phc: str = field(repr=False)

    @property
    def shape(self) -> Argon2Shape:
        """What a check costs. Raises ValueError."""
        found = _ARGON2ID.fullmatch(self.phc)
        if found is None:
            raise ValueError("not an Argon2id hash: $argon2id$v=19$m=...,t=...,p=...$salt$hash expected")
        return Argon2Shape(*map(int, found.groups()))

    def __post_init__(self) -> None:
        memory, passes, lanes = self.shape
        if not 8 * lanes <= memory <= ARGON2_MEMORY_KIB_MAX:
            raise ValueError(f"Argon2id memory must be 8 to {ARGON2_MEMORY_KIB_MAX} KiB per lane and in all")
        if not 1 <= passes <= ARGON2_TIME_MAX or not 1 <= lanes <= ARGON2_LANES_MAX:
            raise ValueError(
                f"Argon2id takes 1 to {ARGON2_TIME_MAX} passes and 1 to {ARGON2_LANES_MAX} lanes"
            )

    def check(self, password: str) -> bool:
        """See `PasswordVerifier`."""
        from argon2.exceptions import VerificationError  # loaded when the first such password is checked
        from argon2.low_level import Type, verify_secret

        try:
            return verify_secret(self.phc.encode(), password.encode(), Type.ID)
        except VerificationError:
            return False
