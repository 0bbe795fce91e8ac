"""The authorizers a configuration can name in ``authorization.authorizers``.

An entry is an `AuthorizerFactory`; packages add theirs as entry points of the group ``rivven.authorizers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from rivven.security.authz.acl import AclAuthorizer, AclSource
from rivven.security.authz.authorizer import Authorizer
from rivven.security.authz.cedar.engine import CedarAuthorizer, Rules
from rivven.security.authz.rbac import RbacAuthorizer
from rivven.security.authz.roles import RoleDirectory
from rivven.security.extensions import Extensions, UnknownExtension


@dataclass(frozen=True, slots=True)
class AuthorizerSettings:
    """What the configuration says about authorisation, whichever engines run."""

    allow_everyone_if_no_acl_found: bool = False
    roles: RoleDirectory = field(default_factory=RoleDirectory)
    """Every role, and who has which."""
    policies: Callable[[], Rules] | None = None
    """The Cedar policies in force."""
    now_ms: Callable[[], int] | None = None
    """The wall clock, for policies that ask for the hour."""


AuthorizerFactory = Callable[[AuthorizerSettings, AclSource], Authorizer]


def acl(settings: AuthorizerSettings, rules: AclSource) -> Authorizer:
    """Kafka's ACLs."""
    return AclAuthorizer(
        rules, settings.roles, allow_everyone_if_no_acl_found=settings.allow_everyone_if_no_acl_found
    )


def rbac(settings: AuthorizerSettings, _rules: AclSource) -> Authorizer:
    """Roles."""
    return RbacAuthorizer(settings.roles)


def cedar(settings: AuthorizerSettings, _rules: AclSource) -> Authorizer:
    """Cedar policies."""
    if settings.policies is None or settings.now_ms is None:
        raise UnknownExtension("the authorizer cedar needs policies and a clock")
    return CedarAuthorizer(settings.policies, settings.roles, settings.now_ms)


AUTHORIZERS = Extensions(
    "rivven.authorizers",
    {
        "acl": "rivven.security.authz.sources:acl",
        "rbac": "rivven.security.authz.sources:rbac",
        "cedar": "rivven.security.authz.sources:cedar",
    },
)


def load_authorizers(
    names: Iterable[str], settings: AuthorizerSettings, rules: AclSource
) -> dict[str, Authorizer]:
    """Build the engines a configuration names, by name and in its order; raises UnknownExtension."""
    return {name: cast(AuthorizerFactory, AUTHORIZERS.load(name))(settings, rules) for name in names}
