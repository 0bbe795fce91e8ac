"""Decoys: what an unknown user is asked to prove, so that it looks like a known one.

An unknown, disabled or wrong-mechanism user gets a challenge with a salt derived from its name by a secret
key (the same at every try and after every restart) and a salt length and iteration count out of a fixed table
of those that tools produce. Nothing that can be observed from outside may depend on whether a user exists.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import NamedTuple

from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.password_verifiers import (
    Argon2Password,
    Argon2Shape,
    PasswordVerifier,
    ScramPassword,
)
from rivven.security.authn.passwords import GENERATED_ITERATIONS, SALT_BYTES, TYPED_ITERATIONS


class Shape(NamedTuple):
    """What a challenge reveals about how a verifier was made."""

    iterations: int
    salt_bytes: int


DEFAULT_SHAPES = (
    Shape(GENERATED_ITERATIONS, SALT_BYTES),
    Shape(TYPED_ITERATIONS, SALT_BYTES),
    Shape(4096, 26),  # Kafka's kafka-configs.sh: a random number in base 36
    Shape(8192, 26),  # the same as its documentation shows it, with iterations=8192
    Shape(4096, 64),  # librdkafka's administration client, when it makes the salt
)
"""Verifiers as our tools and Kafka's make them."""

SHAPES_MAX = 16
"""Shapes a decoy chooses from; each costs one hash per login attempt."""


class Decoys:
    """Verifiers nobody has the password of. `key` is the secret `scram-decoy`."""

    def __init__(self, key: bytes, shapes: Sequence[Shape] = DEFAULT_SHAPES) -> None:
        if not 0 < len(shapes) <= SHAPES_MAX:
            raise ValueError(f"1 to {SHAPES_MAX} shapes of decoys")
        self._key = key
        self._shapes = tuple(shapes)

    def rekey(self, key: bytes) -> None:
        """Answer from another key from now on: every unknown user gets another challenge."""
        self._key = key

    def verifier(self, user: str, mechanism: ScramMechanism, like: Shape | None = None) -> ScramVerifier:
        """A verifier no password satisfies. Its keys are a hash of the name, not of any password.

        The shape is `like`, for a user that has a verifier of the other mechanism only: unknown users show
        one shape in both. Else the one whose keyed hash with the name is greatest: a shape that comes or goes
        changes the decoys that use it and no others.
        """
        name = user.encode("utf-8", errors="surrogatepass")
        shape = max(self._shapes, key=lambda one: self._derive(b"shape %d %d" % one, name, 8))
        shape = like or shape
        what = mechanism.value.encode()
        return ScramVerifier(
            mechanism,
            self._derive(b"salt " + what, name, shape.salt_bytes),
            shape.iterations,
            self._derive(b"stored key " + what, name, mechanism.key_bytes),
            self._derive(b"server key " + what, name, mechanism.key_bytes),
        )

    def password(self, user: str, argon2: Sequence[Argon2Shape]) -> PasswordVerifier:
        """A check that no password passes and that costs what one of a known user would.

        `argon2` are the costs of the Argon2id hashes that users here have: some decoys then cost the same.
        """
        name = user.encode("utf-8", errors="surrogatepass")
        scram = self.verifier(user, ScramMechanism.SCRAM_SHA_256)
        kinds: list[Argon2Shape | None] = [None, *argon2[:SHAPES_MAX]]
        kind = max(kinds, key=lambda one: self._derive(b"kind %s" % repr(one).encode(), name, 8))
        if kind is None:
            return ScramPassword(scram)
        salt, tag = self._derive(b"argon2 salt", name, 16), self._derive(b"argon2 tag", name, 32)
        return Argon2Password(kind.phc(salt, tag))

    def _derive(self, purpose: bytes, name: bytes, length: int) -> bytes:
        """`length` bytes of a keyed hash of purpose and name, in counter mode."""
        blocks = -(-length // 32)
        return b"".join(
            hmac.digest(self._key, b"%d\0%s\0%s" % (block, purpose, name), "sha256")
            for block in range(blocks)
        )[:length]
