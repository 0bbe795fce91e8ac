"""What the header and the claims of a token must say before its signature is worth a look. Pure.

RFC 7519 4.1 (registered claims), RFC 7515 4.1 (header), RFC 8725 (best practices), RFC 9068 (access tokens).
Every refusal names the header or claim; it is for the operator, never for the peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rivven.security.authn.issuers import TrustedIssuer
from rivven.security.authn.jwk_set import KID_CHARACTERS_MAX
from rivven.security.authn.jwt_format import shown

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, in seconds since 1970."""

CLAIM_PATH_MAX = 8
"""Steps of a path into nested claims; providers nest two deep."""


class ClaimRefused(ValueError):
    """A header or claim that is missing, malformed or not acceptable; the message begins with its name."""


@dataclass(frozen=True, slots=True)
class SignatureHeader:
    """What a token says about its signature. `jku`, `jwk`, `x5u` and `x5c` are not read: keys come from the
    issuer alone."""

    algorithm: str
    kid: str | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token is about, names without prefixes; times in wall clock ms."""

    name: str
    groups: tuple[str, ...]
    expires_at_ms: int
    subject: str
    token_id: str
    issued_at_ms: int | None


def read_header(header: dict[str, Any], issuer: TrustedIssuer) -> SignatureHeader:
    """The algorithm and key id. Raises ClaimRefused."""
    if "crit" in header:  # we understand no extension, and b64=false would change what is signed
        raise ClaimRefused(f"crit: extensions are not understood: {shown(header['crit'])}")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise ClaimRefused(f"alg: {shown(algorithm)} is not accepted from this issuer")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in issuer.token_types:
        raise ClaimRefused(f"typ: {shown(kind)} is not accepted from this issuer")
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARACTERS_MAX):
        raise ClaimRefused("kid: not a short text")
    return SignatureHeader(algorithm, kid)


def read_claims(claims: dict[str, Any], issuer: TrustedIssuer, now_ms: int) -> Identity:
    """Who the token is about, if it is for us and for now. Raises ClaimRefused."""
    _check_audience(claims.get("aud"), issuer)
    expires_at_ms, issued_at_ms = _check_times(claims, issuer.clock_skew_ms, now_ms)
    if "cnf" in claims:  # RFC 7800: a token for the holder of a key, worthless without proof of it
        raise ClaimRefused("cnf: the token is bound to a key, which is not checked here")
    return Identity(
        name=_text(claims, issuer.principal_claim),
        groups=_groups(claims, issuer.groups_claim),
        expires_at_ms=expires_at_ms,
        subject=_optional_text(claims, "sub"),
        token_id=_optional_text(claims, "jti"),
        issued_at_ms=issued_at_ms,
    )


def _check_audience(audience: object, issuer: TrustedIssuer) -> None:
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise ClaimRefused("aud: missing, or neither a text nor a list of texts")
    if issuer.audiences.isdisjoint(named):
        raise ClaimRefused(f"aud: {shown(audience)} names no accepted audience")


def _check_times(claims: dict[str, Any], skew_ms: int, now_ms: int) -> tuple[int, int | None]:
    """When the session must end, and when the token was issued."""
    expires_at_ms = _time(claims, "exp")
    if expires_at_ms is None:
        raise ClaimRefused("exp: missing")
    if now_ms >= expires_at_ms + skew_ms:
        raise ClaimRefused(f"exp: expired {(now_ms - expires_at_ms) // 1000} s ago")
    for name in ("nbf", "iat"):
        start_ms = _time(claims, name)
        if start_ms is not None and start_ms > now_ms + skew_ms:
            raise ClaimRefused(f"{name}: {(start_ms - now_ms) // 1000} s in the future")
    # The skew forgives a login that comes late by our clock; a session that began in time ends in time.
    ends_at_ms = expires_at_ms if expires_at_ms > now_ms else expires_at_ms + skew_ms
    return ends_at_ms, _time(claims, "iat")


def _time(claims: dict[str, Any], name: str) -> int | None:
    """A NumericDate in ms. Bounds keep it a time: year 0 to 9999."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClaimRefused(f"{name}: not a number")
    if not 0 <= value <= LAST_SECOND:  # false for NaN, and no conversion that a whole number could overflow
        raise ClaimRefused(f"{name}: not a time")
    return int(value * 1000)


def _text(claims: dict[str, Any], path: str) -> str:
    value = _at(claims, path)
    if not isinstance(value, str) or not value:
        raise ClaimRefused(f"{path}: missing, or not a text")
    return value


def _optional_text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise ClaimRefused(f"{name}: not a text")
    return value


def _groups(claims: dict[str, Any], path: str | None) -> tuple[str, ...]:
    found = None if path is None else _at(claims, path)
    if found is None:
        return ()
    names = [found] if isinstance(found, str) else found
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ClaimRefused(f"{path}: neither a text nor a list of texts")
    return tuple(dict.fromkeys(names))


def _at(claims: dict[str, Any], path: str) -> object:
    """A claim by its name; by a path of names if it starts with a slash (``/realm_access/roles``)."""
    if not path.startswith("/"):
        return claims.get(path)
    found: object = claims
    for name in path.split("/", CLAIM_PATH_MAX)[1:]:
        found = found.get(name) if isinstance(found, dict) else None
    return found
