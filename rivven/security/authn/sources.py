"""The SASL mechanisms a listener can name, and the one loader for built-in and installed ones.

An entry is an `AuthenticatorFactory`; packages add theirs as entry points of the group
``rivven.authenticators``, named as the mechanism is named on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable

from rivven.security.authn.authenticator import AuthenticatorFactory
from rivven.security.extensions import Extensions

AUTHENTICATORS = Extensions(
    "rivven.authenticators",
    {
        "OAUTHBEARER": "rivven.security.authn.oauthbearer:oauthbearer",
        "PLAIN": "rivven.security.authn.plain:plain",
        "SCRAM-SHA-256": "rivven.security.authn.scram:scram_sha_256",
        "SCRAM-SHA-512": "rivven.security.authn.scram:scram_sha_512",
    },
)


def load_authenticators(mechanisms: Iterable[str]) -> dict[str, AuthenticatorFactory]:
    """The factories of the mechanisms all listeners together offer; raises UnknownExtension."""
    return {name: AUTHENTICATORS.load(name) for name in mechanisms}
