"""The identity providers trusted now, and whether an identity one of them vouched for still stands. Pure.

Belongs to the event loop. Whoever reads the configuration calls `replace`; whoever keeps something that
depends on the issuers registers in `on_change`. It must not fetch, and knows no keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rivven.security.authn.authenticator import Credential


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """What is demanded of an issuer's tokens and what its names become; the keys of `auth.oidc.issuers`."""

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str] = frozenset({"RS256", "ES256"})
    token_types: frozenset[str] = frozenset({"jwt", "at+jwt"})
    clock_skew_ms: int = 30_000
    principal_claim: str = "sub"
    groups_claim: str | None = None
    prefix: str = ""
    group_prefix: str = ""
    group_roles: tuple[tuple[str, str], ...] = ()

    def user_name(self, name: str) -> str:
        return self.prefix + name

    def group_name(self, name: str) -> str:
        return self.group_prefix + name


class Issuers:
    """All trusted issuers by their exact name, each with a revision that rises when its settings change."""

    def __init__(self) -> None:
        self.version = 0
        """Rises with any change."""
        self.on_change: list[Callable[[], None]] = []
        self._trusted: dict[str, tuple[TrustedIssuer, int]] = {}

    def replace(self, trusted: Sequence[TrustedIssuer]) -> None:
        """Trust these and no others from now on; tells `on_change` if that is a change."""
        before = self._trusted
        if [one for one, _ in before.values()] == list(trusted):
            return
        self.version += 1
        self._trusted = {}
        for one in trusted:
            known = before.get(one.issuer)
            revision = known[1] if known is not None and known[0] == one else self.version
            self._trusted[one.issuer] = (one, revision)
        for changed in self.on_change:
            changed()

    def find(self, issuer: str) -> tuple[TrustedIssuer, int] | None:
        """The issuer of exactly that name and its revision."""
        return self._trusted.get(issuer)

    def names(self) -> list[str]:
        """The issuers' names, in the order they are configured."""
        return list(self._trusted)

    def group_roles(self) -> list[tuple[str, str, str]]:
        """(group with its prefix, role, issuer) for every group that has a role."""
        return [
            (one.group_name(group), role, one.issuer)
            for one, _ in self._trusted.values()
            for group, role in one.group_roles
        ]

    def problem_of(self, credential: Credential) -> str | None:
        """Why an identity proved by this credential no longer stands; None when it does or is no JWT's."""
        if credential.kind != "jwt":
            return None
        found = self._trusted.get(credential.issuer)
        if found is not None and found[1] != credential.version:
            return f"the settings of the issuer {credential.issuer} have changed"
        return self.distrusted(credential.issuer)

    def distrusted(self, issuer: str) -> str | None:
        """Why what an issuer once vouched for no longer counts, its settings apart; None if it does."""
        return None if issuer in self._trusted else f"the issuer {issuer} is no longer trusted"
