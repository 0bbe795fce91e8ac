"""Looks for secrets where none may be: logs, outputs, reprs, metrics, files on disk.

A test plants known secrets, gathers what the product said, and asserts that `leaks` finds nothing; a control
asserts that it does find a planted one. Besides the text itself the usual disguises are searched.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

SHORTEST = 6
"""Shorter secrets would be found by accident."""


def disguises(secret: bytes) -> dict[str, bytes]:
    """The forms in which a secret could leak, by name."""
    padded = base64.b64encode(secret)
    return {
        "plain": secret,
        "hex": secret.hex().encode(),
        "base64": padded.rstrip(b"="),
        "base64url": base64.urlsafe_b64encode(secret).rstrip(b"="),
        "escaped": repr(secret)[2:-1].encode(),
    }


def leaks(secrets: Iterable[str | bytes], outputs: Mapping[str, str | bytes]) -> list[str]:
    """Where secrets appear, as ``"<form> of secret <number> in <output>"``; never the secret itself.

    Raises ValueError for a secret too short to be told from chance.
    """
    found: list[str] = []
    searched = {name: text.encode() if isinstance(text, str) else text for name, text in outputs.items()}
    lowered = {name: text.lower() for name, text in searched.items()}
    for number, secret in enumerate(secrets):
        raw = secret.encode() if isinstance(secret, str) else secret
        if len(raw) < SHORTEST:
            raise ValueError(f"secret {number} is shorter than {SHORTEST} bytes")
        for form, pattern in disguises(raw).items():
            where = lowered if form == "hex" else searched
            found += [f"{form} of secret {number} in {name}" for name in where if pattern in where[name]]
    return found
