"""Everything mechanisms may ask for, in one object: what every `AuthenticatorFactory` gets.

It holds and forwards; it decides nothing. Mechanisms of other packages need no more than the members of
`authenticator.Credentials`; the built-in ones also use the attributes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.authenticator import Authenticated, Rejected
from rivven.security.authn.bearer import BearerAuthentication
from rivven.security.authn.credentials import Decoys, Shape
from rivven.security.authn.tokens import TokenAuthentication
from rivven.security.authn.users import Users

if TYPE_CHECKING:  # it imports the crypto library, which only listeners that ask for certificates need
    from rivven.security.authn.certificates import CertificateAuthentication


Result = TypeVar("Result")


class TokenVerifier(Protocol):
    """What `Passwords` asks of API tokens."""

    def verify(self, text: str, *, host: str, now_ms: int) -> Authenticated | Rejected: ...


class Passwords(Protocol):
    """Checks passwords that arrive in the clear; `verification` has it."""

    tokens: TokenVerifier | None
    """Who checks passwords that are API tokens; None where there are none."""

    def verify(self, user: str, password: str, host: str) -> Awaitable[Authenticated | Rejected]:
        """Whether this is the user's password, for a login from address `host`."""
        ...

    def work(self, derivation: Callable[[], Result]) -> Awaitable[Result]:
        """Run a key derivation where it does not hold up the event loop."""
        ...


class AuthenticationServices:
    """Implements `authenticator.Credentials`."""

    def __init__(self, users: Users, decoys: Decoys, passwords: Passwords) -> None:
        self.users = users
        self.passwords = passwords
        self.tokens: TokenAuthentication | None = None
        """None where no tokens are kept: then none is accepted."""
        self.bearer = BearerAuthentication()
        self.certificates: CertificateAuthentication | None = None
        """None where no listener asks for client certificates."""
        self._decoys = decoys

    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier | None:
        """See `Credentials.scram_verifier`."""
        return self.users.scram_verifier(user, mechanism)

    def decoy_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier:
        """See `Credentials.decoy_verifier`."""
        like = self.users.scram_shape(user)
        return self._decoys.verifier(user, mechanism, Shape(*like) if like is not None else None)

    def identity(self, user: str) -> Authenticated | None:
        """See `Credentials.identity`."""
        return self.users.identity(user)
