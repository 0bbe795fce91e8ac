"""Everything mechanisms may ask for, in one object: what every `AuthenticatorFactory` gets.

It holds and forwards; it decides nothing. Mechanisms of other packages need no more than the members of
`authenticator.Credentials`; the built-in ones also use the attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authn.bearer import BearerAuthentication
from rivven.security.authn.credentials import Decoys
from rivven.security.authn.tokens import TokenAuthentication
from rivven.security.authn.users import Users
from rivven.security.authn.verification import PasswordVerifications

if TYPE_CHECKING:  # it imports the crypto library, which only listeners that ask for certificates need
    from rivven.security.authn.certificates import CertificateAuthentication


class AuthenticationServices:
    """Implements `authenticator.Credentials`."""

    def __init__(self, users: Users, decoys: Decoys, passwords: PasswordVerifications) -> None:
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
        return self._decoys.verifier(user, mechanism)

    def identity(self, user: str) -> Authenticated | None:
        """See `Credentials.identity`."""
        return self.users.identity(user)
