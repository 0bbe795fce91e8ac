"""JWTs of identity providers as credentials: one answer for a token, precise inside and silent outside. Pure.

    parts -> issuer by exact `iss` -> header -> claims -> key by `kid` -> signature -> revoked? -> names

The order puts what is cheap first; nothing is believed before the signature has been verified. A key that is
not there yet is waited for by `SigningKeys`, bounded in number and time. RFC 7519, RFC 8725, KIP-768.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rivven.security.authn.authenticator import Authenticated, Credential, Deferred, Rejected, Step
from rivven.security.authn.external_names import ExternalNames
from rivven.security.authn.issuers import Issuers, TrustedIssuer
from rivven.security.authn.jwk_set import KeyRefused, VerificationKey
from rivven.security.authn.jwt_claims import (
    ClaimRefused,
    Identity,
    SignatureHeader,
    read_claims,
    read_header,
)
from rivven.security.authn.jwt_format import MalformedJwt, UnverifiedJwt, parse_jwt, shown
from rivven.types import Principal

Verdict = Authenticated | Rejected
Finish = Callable[[Verdict], Step]
"""What a caller makes of the verdict; given along, because it may come later."""


class SigningKeys(Protocol):
    """The issuers' keys."""

    def find(self, issuer: str, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key a token names; None when it is not known (yet). Raises KeyRefused."""
        ...

    def wait(
        self, issuer: str, kid: str | None, host: str, resume: Callable[[int], Step]
    ) -> Deferred | Rejected:
        """Join the issuer's next fetch of keys, then go on with `resume(now_ms)`; or why not."""
        ...


class JwtVerifier:
    """Belongs to the event loop. `revoked` says why a credential is revoked, None when it is not."""

    def __init__(
        self,
        issuers: Issuers,
        keys: SigningKeys,
        names: ExternalNames,
        revoked: Callable[[Credential], str | None],
    ) -> None:
        self._issuers = issuers
        self._keys = keys
        self._names = names
        self._revoked = revoked

    def verify(self, text: str, host: str, now_ms: int, finish: Finish) -> Step | Deferred:
        """Judge a token sent from `host`; the verdict goes through `finish`. Never raises for any text."""
        try:
            jwt = parse_jwt(text)
            return self._judge(jwt, host, now_ms, finish, waited=False)
        except (MalformedJwt, ClaimRefused, KeyRefused) as error:
            return finish(Rejected(str(error)))

    def _judge(
        self, jwt: UnverifiedJwt, host: str, now_ms: int, finish: Finish, *, waited: bool
    ) -> Step | Deferred:
        name = jwt.claims.get("iss")
        found = self._issuers.find(name) if isinstance(name, str) else None
        if found is None:
            raise ClaimRefused(f"iss: {shown(name)} is not a trusted issuer")
        issuer, revision = found
        header = read_header(jwt.header, issuer)
        identity = read_claims(jwt.claims, issuer, now_ms)
        key = self._keys.find(issuer.issuer, header.kid, header.algorithm)
        if key is not None:
            return finish(self._verdict(jwt, header, identity, issuer, revision, key))
        if waited:
            raise KeyRefused(f"kid: {shown(header.kid)} is not a key of {issuer.issuer}")
        return self._wait(jwt, issuer, header, host, finish)

    def _wait(
        self, jwt: UnverifiedJwt, issuer: TrustedIssuer, header: SignatureHeader, host: str, finish: Finish
    ) -> Step | Deferred:
        def resume(now_ms: int) -> Step:
            try:
                step = self._judge(jwt, host, now_ms, finish, waited=True)
            except (ClaimRefused, KeyRefused) as error:
                return finish(Rejected(str(error)))
            assert not isinstance(step, Deferred), "one wait only"
            return step

        waiting = self._keys.wait(issuer.issuer, header.kid, host, resume)
        return waiting if isinstance(waiting, Deferred) else finish(waiting)

    def _verdict(
        self,
        jwt: UnverifiedJwt,
        header: SignatureHeader,
        identity: Identity,
        issuer: TrustedIssuer,
        revision: int,
        key: VerificationKey,
    ) -> Verdict:
        if not key.verifies(header.algorithm, jwt.signing_input, jwt.signature):
            return Rejected(f"signature: not made by the key {shown(header.kid)} of {issuer.issuer}")
        credential = Credential(
            kind="jwt",
            id=identity.token_id,
            version=revision,
            issuer=issuer.issuer,
            subject=identity.subject,
            issued_at_ms=identity.issued_at_ms,
        )
        user = issuer.user_name(identity.name)
        groups = tuple(issuer.group_name(group) for group in identity.groups)
        problem = self._revoked(credential) or self._names.problem(user, groups)
        if problem is not None:
            return Rejected(f"{problem} (issuer {issuer.issuer})")
        return Authenticated(
            Principal("User", user),
            expires_at_ms=identity.expires_at_ms,
            groups=groups,
            credential=credential,
        )
