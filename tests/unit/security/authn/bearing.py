"""What the tests of bearer tokens share: an issuer's key, a verifier with keys at hand, our own names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from rivven.security.authn.authenticator import Authenticated, Credential, Deferred, Rejected, Step
from rivven.security.authn.external_names import ExternalNames
from rivven.security.authn.issuers import Issuers, TrustedIssuer
from rivven.security.authn.jwk_set import JwkSet, VerificationKey, parse_jwk_set
from rivven.security.authn.jwt_verifier import JwtVerifier, Verdict
from tests.shipped.issuer import AUDIENCE, SigningKey, claims
from tests.unit.security.authn.test_external_names import NAMES

NAME = "https://issuer.example"
NOW_S = 1_700_000_000
NOW = NOW_S * 1000
HOST = "10.0.0.1"
KEY = SigningKey("ES256", "one")
ISSUER = TrustedIssuer(NAME, frozenset({AUDIENCE}), groups_claim="groups", prefix="kc-", group_prefix="kc-")


def token(
    subject: str = "alice", key: SigningKey = KEY, header: dict[str, Any] | None = None, **members: Any
) -> str:
    return key.token(claims(NAME, subject, NOW_S, **members), **header or {})


def key_set(*keys: SigningKey) -> JwkSet:
    return parse_jwk_set(json.dumps({"keys": [key.jwk() for key in keys]}).encode())


class KeysAtHand:
    """Signing keys without a network: after a wait the `later` ones are there too."""

    def __init__(self, now: JwkSet, later: JwkSet | None = None) -> None:
        self.sets = {NAME: now}
        self.later = later
        self.waits: list[tuple[str, str | None, str]] = []
        self.refusal: str | None = None

    def find(self, issuer: str, kid: str | None, algorithm: str) -> VerificationKey | None:
        return self.sets[issuer].choose(kid, algorithm)

    def wait(
        self, issuer: str, kid: str | None, host: str, resume: Callable[[int], Step]
    ) -> Deferred | Rejected:
        self.waits.append((issuer, kid, host))
        if self.refusal is not None:
            return Rejected(self.refusal)

        async def outcome() -> Step:
            await asyncio.sleep(0)
            self.sets[issuer] = self.later or self.sets[issuer]
            return resume(NOW + 1_000)

        return Deferred(outcome)


class World:
    """A verifier and everything it asks."""

    def __init__(
        self, *trusted: TrustedIssuer, keys: KeysAtHand | None = None, names: ExternalNames = NAMES
    ) -> None:
        self.issuers = Issuers()
        self.issuers.replace(trusted or [ISSUER])
        self.keys = keys or KeysAtHand(key_set(KEY))
        self.revoked: dict[str, str] = {}
        self.verifier = JwtVerifier(self.issuers, self.keys, names, self._reason)

    def _reason(self, credential: Credential) -> str | None:
        return self.revoked.get(credential.id)

    def verify(self, text: str, now_ms: int = NOW) -> Step | Deferred:
        return self.verifier.verify(text, HOST, now_ms, as_it_is)

    def accepted(self, text: str) -> Authenticated:
        found = self.verify(text)
        assert isinstance(found, Authenticated), found
        return found

    def refused(self, text: str) -> str:
        found = self.verify(text)
        assert isinstance(found, Rejected), found
        return found.reason


def as_it_is(verdict: Verdict) -> Step:
    return verdict
