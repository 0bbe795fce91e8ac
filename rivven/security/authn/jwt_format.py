"""The compact form of a signed JWT taken apart (RFC 7515 3.1, RFC 7519). Pure; nothing is verified here.

    base64url(header JSON) . base64url(claims JSON) . base64url(signature)

It must not judge: what comes out of here is what a stranger wrote.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

TOKEN_CHARACTERS_MAX = 16_384
"""Tokens of identity providers with hundreds of groups stay below; larger ones are not parsed."""

SHOWN_MAX = 64
"""Characters of a stranger's text that reach a reason, and with it a log line."""

_PART = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


class MalformedJwt(ValueError):
    """Text that is not a signed JWT; the message says why, in our own words."""


@dataclass(frozen=True, slots=True)
class UnverifiedJwt:
    """The parts; `signing_input` is what the signature covers."""

    header: dict[str, Any] = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse_jwt(text: str) -> UnverifiedJwt:
    """Take a token apart. Raises MalformedJwt for anything that is not exactly a signed compact JWT."""
    if len(text) > TOKEN_CHARACTERS_MAX:
        raise MalformedJwt(f"a token of more than {TOKEN_CHARACTERS_MAX} characters")
    parts = text.split(".")
    if len(parts) == 5:
        raise MalformedJwt("an encrypted token (JWE), which is not accepted")
    if len(parts) != 3:
        raise MalformedJwt(f"not a signed JWT: {len(parts)} parts instead of 3")
    header, claims, signature = (_decoded(part) for part in parts)
    signing_input = text[: len(parts[0]) + 1 + len(parts[1])].encode("ascii")
    return UnverifiedJwt(
        strict_object(header, "header"), strict_object(claims, "claims"), signing_input, signature
    )


def shown(value: object) -> str:
    """A stranger's value for a reason: quoted, escaped, cut."""
    text = ascii(value)
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "..."


def _decoded(part: str) -> bytes:
    if not _PART.fullmatch(part) or len(part) % 4 == 1:
        raise MalformedJwt("a part is not base64url without padding")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def strict_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object without repeated names (RFC 7515 4: readers that differ in which one counts could be
    played off against each other) and without numbers JSON does not have. Raises MalformedJwt."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except MalformedJwt as error:
        raise MalformedJwt(f"{what}: {error}") from None
    except (ValueError, RecursionError):  # not UTF-8, not JSON, numbers or nesting without end
        raise MalformedJwt(f"{what}: not JSON") from None
    if not isinstance(found, dict):
        raise MalformedJwt(f"{what}: not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise MalformedJwt("a name is given twice")
    return found


def _no_constant(name: str) -> float:
    raise MalformedJwt(f"{name} is not a number")
