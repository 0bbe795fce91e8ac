"""What mechanisms may ask about users, answered from the committed metadata; and decoys for unknown users.

An unknown user gets a challenge that looks like a known one's: a salt derived from its name by a secret key
(the same at every try and after every restart), and a salt length and iteration count that real users here
have. Nothing that can be observed from outside may depend on whether a user exists.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Protocol

from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.passwords import GENERATED_ITERATIONS, SALT_BYTES

Shape = tuple[int, int]
"""(salt bytes, iterations): what a challenge reveals about how a verifier was made."""

SCANNED_USERS_MAX = 1_000
"""Users whose shapes are looked at: the scan runs on the loop, at the first login after a change (1 ms)."""

SHAPES_MAX = 16
"""Distinct shapes a decoy chooses from; each costs one hash per login attempt."""


class ScramDirectory(Protocol):
    """The stored credentials; the metadata image is one."""

    @property
    def version(self) -> int:
        """Changes whenever a credential does."""
        ...

    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier | None: ...

    def scram_users(self) -> Sequence[str]: ...


class StoredCredentials:
    """Implements `Credentials` over a directory that is replaced or changes behind `directory()`.

    `decoy_key` is the secret of `bootstrap.load_decoy_key`; `iterations` is what a decoy shows while nobody
    has a credential of its mechanism.
    """

    def __init__(
        self,
        directory: Callable[[], ScramDirectory],
        decoy_key: bytes,
        iterations: int = GENERATED_ITERATIONS,
    ) -> None:
        self._directory = directory
        self._decoy_key = decoy_key
        self._default: Shape = (SALT_BYTES, iterations)
        self._scanned: tuple[ScramDirectory, int] | None = None
        self._shapes: dict[ScramMechanism, list[Shape]] = {}

    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier | None:
        """The user's verifier, None when there is no such credential."""
        return self._directory().scram_verifier(user, mechanism)

    def decoy_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier:
        """A verifier no password satisfies. Its keys are a hash of the name, not of any password.

        The shape is the one whose keyed hash with the name is greatest: a shape that comes or goes changes
        the decoys that use it and no others.
        """
        name = user.encode("utf-8", errors="surrogatepass")
        salt_bytes, iterations = max(
            self._shapes_of(mechanism), key=lambda shape: self._derive(b"shape %d %d" % shape, name, 8)
        )
        what = mechanism.value.encode()
        return ScramVerifier(
            mechanism,
            self._derive(b"salt " + what, name, salt_bytes),
            iterations,
            self._derive(b"stored key " + what, name, mechanism.key_bytes),
            self._derive(b"server key " + what, name, mechanism.key_bytes),
        )

    def _shapes_of(self, mechanism: ScramMechanism) -> list[Shape]:
        directory = self._directory()
        scanned = self._scanned
        if scanned is None or scanned[0] is not directory or scanned[1] != directory.version:
            self._shapes = _scan(directory)
            self._scanned = (directory, directory.version)
        return self._shapes.get(mechanism) or [self._default]

    def _derive(self, purpose: bytes, name: bytes, length: int) -> bytes:
        """`length` bytes of a keyed hash of purpose and name, in counter mode."""
        blocks = -(-length // 32)
        return b"".join(
            hmac.digest(self._decoy_key, b"%d\0%s\0%s" % (block, purpose, name), "sha256")
            for block in range(blocks)
        )[:length]


def _scan(directory: ScramDirectory) -> dict[ScramMechanism, list[Shape]]:
    """The distinct shapes in use, per mechanism."""
    users = directory.scram_users()[:SCANNED_USERS_MAX]
    shapes: dict[ScramMechanism, list[Shape]] = {}
    for mechanism in ScramMechanism:
        verifiers = (directory.scram_verifier(user, mechanism) for user in users)
        found = {(len(one.salt), one.iterations) for one in verifiers if one is not None}
        shapes[mechanism] = sorted(found)[:SHAPES_MAX]
    return shapes
