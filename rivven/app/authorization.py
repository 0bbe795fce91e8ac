"""Authorisation of one broker: the engines the configuration names, joined into a chain."""

from __future__ import annotations

import logging
from collections.abc import Collection

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.policies import open_policies
from rivven.app.shadow import LiveParts, start_shadow
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.metadata.service import MetadataService
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.rbac import ScopeCeiling
from rivven.security.authz.roles import RoleDirectory
from rivven.security.authz.sources import AuthorizerSettings, load_authorizers
from rivven.security.extensions import UnknownExtension
from rivven.tasks import Tasks
from rivven.telemetry import Metrics
from rivven.types import ANONYMOUS, AclBinding

_log = logging.getLogger("rivven.authorization")


def build_chain(
    config: Config,
    metadata: MetadataService,
    roles: RoleDirectory,
    trail: AuditTrail,
    *,
    metrics: Metrics,
    clock: Clock,
    tasks: Tasks,
) -> AuthorizerChain:
    """The chain every request is decided by. Raises StartFailed."""
    policies = open_policies(config.authorization.cedar, "authorization.cedar", roles, metrics, clock)
    if policies is not None:
        tasks.spawn(policies.watch(), "policies")
    settings = AuthorizerSettings(
        config.authorization.allow_everyone_if_no_acl_found,
        roles=roles,
        policies=None if policies is None else lambda: policies.rules,
        now_ms=clock.now_ms,
    )
    super_users = list(config.authorization.super_users)
    if config.insecure:
        # Who reaches a listener without authentication may do everything; who logs in is judged as ever.
        super_users.append(str(ANONYMOUS))

    def rules() -> tuple[int, Collection[AclBinding]]:
        return metadata.image.acls

    try:
        engines = load_authorizers(config.authorization.authorizers, settings, rules)
    except UnknownExtension as error:
        raise StartFailed(
            f"authorization.authorizers: {error}", "name an installed authorizer", ExitCode.CONFIG
        ) from None
    chain = AuthorizerChain(
        engines,
        super_users,
        ScopeCeiling(roles),
        observer=trail,
        stamp=lambda: (
            metadata.image,
            metadata.image.version,
            roles.version,
            policies and policies.stamp,
        ),
        engine_failed=lambda name, error: _log.error("authorizer %s failed", name, exc_info=error),
    )
    parts = LiveParts(settings, rules, super_users)
    start_shadow(config.authorization, chain, parts, trail.event, metrics=metrics, clock=clock, tasks=tasks)
    return chain
