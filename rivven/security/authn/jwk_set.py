"""The keys an issuer publishes (RFC 7517), as what a token may be verified with. Pure: bytes in, keys out.

A key decides which algorithms it may verify (its `alg`, else its type and curve); the token only picks among
keys by `kid`. Secret keys (`oct`) are never taken, so no signature can be made with what is public.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rivven.security.authn.jwt_format import MalformedJwt, shown, strict_object

DOCUMENT_BYTES_MAX = 262_144
"""Bytes of a discovery document or key set. Large providers publish some 10 KiB."""

KEYS_MAX = 100
"""Keys of one set; each costs the making of a key object at every refresh."""

KID_CHARACTERS_MAX = 256

RSA_BITS = range(2048, 8193)
"""Sizes of RSA keys: smaller ones are weak, larger ones make verifying a lever against us."""

_ALGORITHMS = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""What a key of a type and curve can verify at all."""


class UnusableKeySet(ValueError):
    """A document that is not a key set, or holds no key we could use."""


class KeyRefused(Exception):
    """The set has no single right key for a token; the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key and the algorithms it is for."""

    kid: str | None
    verifiers: dict[str, Callable[[bytes, bytes], bool]] = field(repr=False)

    def verifies(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's, made with this algorithm."""
        verifier = self.verifiers.get(algorithm)
        if verifier is None:
            return False
        try:
            return bool(verifier(signing_input, signature))
        except ValueError:  # a signature that is not even of the algorithm's form
            return False


@dataclass(frozen=True, slots=True)
class JwkSet:
    """The usable keys of a set, and why others were left out."""

    keys: tuple[VerificationKey, ...]
    left_out: tuple[str, ...] = ()

    def choose(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key a token names; None when the set does not know it. Raises KeyRefused."""
        if kid is None:
            if len(self.keys) != 1:
                raise KeyRefused(f"kid: missing, and the issuer has {len(self.keys)} keys")
            named = list(self.keys)
        else:
            named = [key for key in self.keys if key.kid == kid]
        if not named:
            return None
        fitting = [key for key in named if algorithm in key.verifiers]
        if not fitting:
            allowed = sorted({name for key in named for name in key.verifiers})
            raise KeyRefused(f"alg: {algorithm} is not what the key is for ({', '.join(allowed)})")
        if len(fitting) > 1:
            raise KeyRefused(f"kid: {shown(kid)} names {len(fitting)} keys")
        return fitting[0]


def parse_jwk_set(document: bytes) -> JwkSet:
    """The keys of a JWKS document. Keys for other purposes, of unknown types or wrong sizes are left out.

    Raises UnusableKeySet when nothing is left, or for what is no key set. Imports PyJWT (extra `oidc`).
    """
    try:
        found = strict_object(document, "key set").get("keys")
    except MalformedJwt as error:
        raise UnusableKeySet(str(error)) from None
    if not isinstance(found, list):
        raise UnusableKeySet("key set: no list of keys")
    if len(found) > KEYS_MAX:
        raise UnusableKeySet(f"key set: more than {KEYS_MAX} keys")
    keys: list[VerificationKey] = []
    left_out: list[str] = []
    for index, jwk in enumerate(found):
        try:
            keys.append(_key(jwk))
        except UnusableKeySet as error:
            left_out.append(f"key {index}: {error}")
    if not keys:
        raise UnusableKeySet("; ".join(["key set: no usable key", *left_out[:5]]))
    return JwkSet(tuple(keys), tuple(left_out))


def _key(jwk: Any) -> VerificationKey:
    if not isinstance(jwk, dict):
        raise UnusableKeySet("not a JSON object")
    kid = jwk.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARACTERS_MAX):
        raise UnusableKeySet("kid is not a short text")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKeySet("not for signatures")
    kind = str(jwk.get("kty"))
    curve = "" if kind == "RSA" else str(jwk.get("crv", ""))
    possible = _ALGORITHMS.get((kind, curve))
    if possible is None:
        raise UnusableKeySet(f"type {shown(kind)} {shown(curve)} is not used here")
    pinned = jwk.get("alg")
    algorithms = possible if pinned is None else tuple(name for name in possible if name == pinned)
    if not algorithms:
        raise UnusableKeySet(f"alg {shown(pinned)} does not go with type {kind} {curve}".rstrip())
    # Only the public members: what an issuer published by mistake must not be held here.
    public = {name: jwk[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in jwk}
    return VerificationKey(kid, {name: _verifier(public, name) for name in algorithms})


def _verifier(jwk: dict[str, Any], algorithm: str) -> Callable[[bytes, bytes], bool]:
    from jwt import PyJWK, PyJWTError  # an extra, and slow to import: only where keys are

    try:
        key = PyJWK(jwk, algorithm)
    except (PyJWTError, ValueError, TypeError):
        raise UnusableKeySet("the key is damaged") from None
    bits = getattr(key.key, "key_size", None)
    if jwk["kty"] == "RSA" and bits not in RSA_BITS:
        raise UnusableKeySet(f"an RSA key of {bits} bits")
    return partial(_verify, key)


def _verify(key: Any, signing_input: bytes, signature: bytes) -> bool:
    return bool(key.Algorithm.verify(signing_input, key.key, signature))
