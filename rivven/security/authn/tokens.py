"""API tokens as proof of identity: a PLAIN password, a bearer text, or SCRAM with ``tokenauth=true``.

A token acts as its owner. A lookup and a keyed hash, never a key derivation. Whatever is wrong - unknown,
mistyped, revoked, expired, another address, owner disabled - the peer hears one answer; the reason is the
operator's. It must not store or change tokens.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.authenticator import Authenticated, Credential, Rejected
from rivven.security.authn.credentials import Decoys, Shape
from rivven.security.authn.token_text import (
    SALT_BYTES,
    SCRAM_ITERATIONS,
    MalformedToken,
    TokenHashKeys,
    is_token_id,
    parse_token,
)
from rivven.security.authz.authorizer import canonical_host
from rivven.types import Principal

DECOY_SHAPES = (Shape(SCRAM_ITERATIONS, SALT_BYTES),)
"""Every token's verifiers are made alike, so an unknown id has one way to look."""


class StoredSecret(Protocol):
    """What is stored instead of a secret."""

    @property
    def digest(self) -> bytes: ...
    @property
    def key_id(self) -> str: ...
    def verifier(self, mechanism: ScramMechanism) -> ScramVerifier | None: ...


class Origin(Protocol):
    """The identity from outside a token was made under; the members of `Credential`."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def serial(self) -> str: ...
    @property
    def issued_at_ms(self) -> int | None: ...


class StoredToken(Protocol):
    """A token as the metadata has it."""

    @property
    def token_id(self) -> str: ...
    @property
    def owner(self) -> Principal: ...
    @property
    def creator(self) -> Principal: ...
    @property
    def version(self) -> int: ...
    @property
    def expires_at_ms(self) -> int: ...
    @property
    def previous_until_ms(self) -> int: ...
    @property
    def scope(self) -> tuple[str, ...] | None: ...
    @property
    def allowed_cidrs(self) -> tuple[str, ...]: ...
    @property
    def local_owner(self) -> bool: ...
    @property
    def origin(self) -> Origin | None: ...
    def state(self, now_ms: int) -> str: ...
    def secrets(self, now_ms: int) -> Sequence[tuple[int, StoredSecret]]: ...


class TokenDirectory(Protocol):
    """Where tokens are found."""

    def find(self, token_id: str) -> StoredToken | None: ...


class Owner(Protocol):
    """A local user, as far as its tokens depend on it."""

    @property
    def enabled(self) -> bool: ...
    @property
    def groups(self) -> tuple[str, ...]: ...


class Owners(Protocol):
    """The local users."""

    def find(self, name: str) -> Owner | None: ...


class TokenAuthentication:
    """Belongs to the event loop. `used(token_id, now_ms, host)` hears of every success."""

    def __init__(
        self,
        directory: Callable[[], TokenDirectory],
        owners: Owners,
        keys: TokenHashKeys,
        used: Callable[[str, int, str], None],
    ) -> None:
        self._directory = directory
        self._owners = owners
        self._keys = keys
        self._used = used
        self.origins: dict[str, Callable[[Credential], str | None]] = {}
        """By kind of credential from outside: why one no longer counts, None while it does. What was made
        with a kind that is not here is refused."""

    # -- a text that says everything: PLAIN, bearer ----------------------------------------------------------

    def verify(self, text: str, *, host: str, now_ms: int) -> Authenticated | Rejected:
        """The identity a token's text proves to a peer at `host`."""
        try:
            token_id, secret = parse_token(text)
        except MalformedToken as error:
            return Rejected(f"malformed API token: {error}")
        digests = self._keys.digests(secret)
        token = self.lookup(token_id)
        # An unknown id is compared as well: the time must not tell which ids exist.
        stored = token.secrets(now_ms) if token is not None else ()
        matching = None
        for version, one in stored or ((0, None),):
            digest = digests.get(one.key_id if one is not None else self._keys.key_id, b"")
            same = hmac.compare_digest(digest, one.digest if one is not None else bytes(len(digest)))
            if same and one is not None:
                matching = version
        if token is None:
            return Rejected(f"unknown API token {token_id}")
        if matching is None:
            return Rejected(self._mismatch(token, stored))
        return self._identity(token, matching, host, now_ms)

    def _mismatch(self, token: StoredToken, stored: Sequence[tuple[int, StoredSecret]]) -> str:
        if all(one.key_id not in self._keys.key_ids for _, one in stored):
            return f"API token {token.token_id} was hashed with another token-hash.key than this one"
        return f"wrong secret of API token {token.token_id}"

    # -- a proof without the secret: SCRAM -------------------------------------------------------------------

    def scram_verifiers(self, token_id: str, mechanism: ScramMechanism, now_ms: int) -> list[ScramVerifier]:
        """The verifiers that a login with this id may satisfy, the current secret's first; all have one salt.

        Empty when there is no such token, or it has ended.
        """
        token = self.lookup(token_id)
        if token is None or token.state(now_ms) != "active":
            return []
        found = (secret.verifier(mechanism) for _, secret in token.secrets(now_ms))
        return [one for one in found if one is not None]

    def decoy_verifier(self, token_id: str, mechanism: ScramMechanism) -> ScramVerifier:
        """What a login with an unknown id is asked to satisfy, always the same for the same id."""
        return Decoys(self._keys.decoy_key(), DECOY_SHAPES).verifier(token_id, mechanism)

    def proved(
        self, token_id: str, verifier: ScramVerifier, *, host: str, now_ms: int
    ) -> Authenticated | Rejected:
        """The identity of a peer that has satisfied one of `scram_verifiers`."""
        token = self.lookup(token_id)
        if token is None:
            return Rejected(f"unknown API token {token_id}")
        for version, secret in token.secrets(now_ms):
            if secret.verifier(verifier.mechanism) == verifier:
                return self._identity(token, version, host, now_ms)
        return Rejected(f"API token {token_id} was rotated during the login")

    # -- what both share -------------------------------------------------------------------------------------

    def lookup(self, token_id: str) -> StoredToken | None:
        """The token with this id, ended or not."""
        return self._directory().find(token_id) if is_token_id(token_id) else None

    def _identity(self, token: StoredToken, version: int, host: str, now_ms: int) -> Authenticated | Rejected:
        what = f"API token {token.token_id} of {token.owner}"
        state = token.state(now_ms)
        if state != "active":
            return Rejected(f"{what} is {state}")
        if not in_ranges(host, token.allowed_cidrs):
            return Rejected(f"{what} is not allowed from {host}")
        problem = self._owner_problem(token) or self._origin_problem(token)
        if problem is not None:
            return Rejected(f"{what}: {problem}")
        ends = token.expires_at_ms
        if version != token.version:
            ends = min(ends, token.previous_until_ms)
        self._used(token.token_id, now_ms, host)
        return Authenticated(
            token.owner,
            expires_at_ms=ends,
            groups=self._groups(token),
            credential=Credential("token", token.token_id, version),
            scope=token.scope,
        )

    def _owner_problem(self, token: StoredToken) -> str | None:
        """Why the owner may not act, None if it may. Owners of other sources are not known here."""
        owner = self._owners.find(token.owner.name) if token.owner.kind == "User" else None
        if owner is None:
            return "its owner was deleted" if token.local_owner else None
        if token.origin is not None and token.creator == token.owner and not token.local_owner:
            return "its owner's name became a local user's"
        return None if owner.enabled else "its owner was disabled"

    def _origin_problem(self, token: StoredToken) -> str | None:
        """Why the identity it was made under no longer counts, None if it does or the token has no such."""
        origin = token.origin
        if origin is None:
            return None
        judge = self.origins.get(origin.kind)
        if judge is None:
            return f"made with a {origin.kind}, and none is accepted here"
        credential = Credential(
            kind=origin.kind,
            id=origin.id,
            issuer=origin.issuer,
            subject=origin.subject,
            issued_at_ms=origin.issued_at_ms,
            serial=origin.serial,
        )
        problem = judge(credential)
        return None if problem is None else f"made with a {origin.kind}: {problem}"

    def _groups(self, token: StoredToken) -> tuple[str, ...]:
        owner = self._owners.find(token.owner.name) if token.local_owner else None
        return owner.groups if owner is not None else ()

    # -- live sessions ---------------------------------------------------------------------------------------

    def no_longer_valid(self, credential: Credential, groups: Sequence[str], now_ms: int) -> str | None:
        """Why a session opened with this token and these groups must end, None if it may go on.

        Other kinds of credentials are not judged here.
        """
        if credential.kind != "token":
            return None
        token = self.lookup(credential.id)
        if token is None:
            return "the API token is no more"
        state = token.state(now_ms)
        if state != "active":
            return f"the API token is {state}"
        if all(version != credential.version for version, _ in token.secrets(now_ms)):
            return "the API token was rotated"
        problem = self._owner_problem(token) or self._origin_problem(token)
        if problem is not None:
            return f"the API token: {problem}"
        if not set(groups) <= set(self._groups(token)):
            return "the API token's owner was taken out of a group"
        return None


def in_ranges(host: str, cidrs: Iterable[str]) -> bool:
    """Whether an address lies in one of the ranges; true when there are none, false for no address."""
    ranges = tuple(cidrs)
    if not ranges:
        return True
    try:
        address = ipaddress.ip_address(canonical_host(host))
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(one) for one in ranges)


def canonical_range(text: str) -> str:
    """An address or a range of addresses in one spelling; raises ValueError.

    Bits beyond the prefix are refused: ``10.0.0.1/8`` is more likely a mistake than ``10.0.0.0/8``.
    """
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError:
        raise ValueError(f"{text[:64]!r} is not an address range such as 10.0.0.0/8") from None
