"""Authorisation of one broker: the engines the configuration names, joined into a chain."""

from __future__ import annotations

import logging

from rivven.app.failures import ExitCode, StartFailed
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.metadata.service import MetadataService
from rivven.security.authz.cedar.store import PolicyStore
from rivven.security.authz.chain import AuthorizerChain, DecisionObserver
from rivven.security.authz.rbac import ScopeCeiling
from rivven.security.authz.roles import RoleDirectory
from rivven.security.authz.sources import AuthorizerSettings, load_authorizers
from rivven.security.extensions import UnknownExtension
from rivven.types import ANONYMOUS

_log = logging.getLogger("rivven.authorization")


def build_chain(
    config: Config,
    metadata: MetadataService,
    roles: RoleDirectory,
    policies: PolicyStore | None,
    clock: Clock,
    observer: DecisionObserver,
) -> AuthorizerChain:
    """The chain every request is decided by. Raises StartFailed."""
    settings = AuthorizerSettings(
        config.authorization.allow_everyone_if_no_acl_found,
        roles=roles,
        policies=None if policies is None else lambda: policies.rules,
        clock=clock,
    )
    super_users = list(config.authorization.super_users)
    if config.insecure:
        # Who reaches a listener without authentication may do everything; who logs in is judged as ever.
        super_users.append(str(ANONYMOUS))
    try:
        engines = load_authorizers(config.authorization.authorizers, settings, lambda: metadata.image.acls)
    except UnknownExtension as error:
        raise StartFailed(
            f"authorization.authorizers: {error}", "name an installed authorizer", ExitCode.CONFIG
        ) from None
    return AuthorizerChain(
        engines,
        super_users,
        ScopeCeiling(roles),
        observer=observer,
        stamp=lambda: (
            metadata.image,
            metadata.image.version,
            roles.version,
            policies and policies.version,
        ),
        engine_failed=lambda name, error: _log.error("authorizer %s failed", name, exc_info=error),
    )
