"""Passwords: generating them, judging typed ones, and turning them into SCRAM verifiers.

A password never leaves this module in any form but the one returned; nothing is logged or stored here.
PBKDF2 is slow on purpose: callers on the event loop must hand `verifiers_of` to a worker when the
iterations are many.
"""

from __future__ import annotations

from rivven.protocol.scram import ScramMechanism, ScramVerifier, derive_verifier, format_verifier
from rivven.security.authn.authenticator import Entropy

GENERATED_ITERATIONS = 8_192
"""For generated passwords: they have more entropy than any guesser has rounds, and clients pay the rounds."""

TYPED_ITERATIONS = 600_000
"""For passwords people choose (OWASP's figure for PBKDF2-HMAC-SHA256); clients accept up to 1,000,000."""

SALT_BYTES = 32

ARGON2_COST = (3, 65_536, 1)
"""Passes, KiB and lanes: RFC 9106's second choice, in one lane, since each lane is a thread of the broker."""

ARGON2_SALT_BYTES = 16
ARGON2_TAG_BYTES = 32

PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 1_024
"""Characters; PBKDF2 has no limit of its own, the wire does."""

_GROUPS = 4
_GROUP_LENGTH = 11
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
"""57 characters, none easily mistaken for another, none special to a shell, a URL or a properties file."""

_DRAWS_MAX = 256
"""Tries for a password with an upper and lower case letter and a digit; each fails with p < 0.03."""


def generate_password(entropy: Entropy) -> str:
    """A random password: 44 letters and digits in four groups joined by ``-`` (256 bits)."""
    for _ in range(_DRAWS_MAX):
        text = _draw(entropy, _GROUPS * _GROUP_LENGTH)
        password = "-".join(text[i : i + _GROUP_LENGTH] for i in range(0, len(text), _GROUP_LENGTH))
        if not complexity_problems(password):
            return password
    raise ValueError("the source of entropy is not random")


def hash_argon2id(password: str, entropy: Entropy) -> str:
    """The PHC form of a typed password's Argon2id hash, 64 MiB and some 150 ms.

    For passwords that are sent in the clear over TLS: it costs the broker, not the client. Raises ValueError
    when the password is too simple.
    """
    require_complexity(password)
    from argon2.low_level import Type, hash_secret  # a library only this needs

    encoded = hash_secret(
        password.encode(), entropy(ARGON2_SALT_BYTES), *ARGON2_COST, ARGON2_TAG_BYTES, Type.ID
    )
    return encoded.decode()


def _draw(entropy: Entropy, length: int) -> str:
    """Characters drawn without bias: bytes beyond the last whole multiple of the alphabet are dropped."""
    limit = 256 - 256 % len(_ALPHABET)
    drawn: list[str] = []
    for _ in range(_DRAWS_MAX):
        drawn.extend(_ALPHABET[byte % len(_ALPHABET)] for byte in entropy(length * 2) if byte < limit)
        if len(drawn) >= length:
            return "".join(drawn[:length])
    raise ValueError("the source of entropy is not random")


def complexity_problems(password: str) -> list[str]:
    """What a typed password lacks, as phrases; empty when it is acceptable."""
    problems = []
    if len(password) < PASSWORD_LENGTH_MIN:
        problems.append(f"at least {PASSWORD_LENGTH_MIN} characters")
    if len(password) > PASSWORD_LENGTH_MAX:
        problems.append(f"at most {PASSWORD_LENGTH_MAX} characters")
    if not any(c.isupper() for c in password):
        problems.append("an upper case letter")
    if not any(c.islower() for c in password):
        problems.append("a lower case letter")
    if not any(c.isdigit() for c in password):
        problems.append("a digit")
    if not any(not c.isalnum() and not c.isspace() for c in password):
        problems.append("a special character")
    return problems


def require_complexity(password: str) -> None:
    """Raises ValueError that names what a typed password lacks, without repeating it."""
    problems = complexity_problems(password)
    if problems:
        raise ValueError(f"the password needs {', '.join(problems)}")


def make_verifier(
    password: str, mechanism: ScramMechanism, iterations: int, entropy: Entropy
) -> ScramVerifier:
    """A verifier with a fresh salt."""
    return derive_verifier(mechanism, password, entropy(SALT_BYTES), iterations)


def verifiers_of(
    password: str, entropy: Entropy, iterations: int = GENERATED_ITERATIONS
) -> tuple[ScramVerifier, ...]:
    """Verifiers of one password for every mechanism."""
    return tuple(make_verifier(password, mechanism, iterations, entropy) for mechanism in ScramMechanism)


def hash_password(
    password: str,
    mechanism: ScramMechanism,
    entropy: Entropy,
    iterations: int = TYPED_ITERATIONS,
) -> str:
    """The text form ``$scram-sha-256$<iterations>$<salt>$<stored key>$<server key>`` of a typed password.

    Raises ValueError when the password is too simple.
    """
    require_complexity(password)
    return format_verifier(make_verifier(password, mechanism, iterations, entropy))
