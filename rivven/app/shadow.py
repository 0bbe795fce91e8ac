"""The candidate of `authorization.shadow`: built from its own parts and, where it has none, from those in
force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.policies import open_policies
from rivven.app.roles import RolesFile
from rivven.audit.events import (
    AUTHORIZATION,
    AuditEvent,
    action_word,
    principal_text,
    resource_text,
    subject_details,
)
from rivven.clock import Clock
from rivven.config.authorization import AuthorizationConfig
from rivven.errors import InvalidRequest
from rivven.metadata.acl_changes import check_binding
from rivven.security.authz.acl import AclSource
from rivven.security.authz.acl_file import FILE_BYTES_MAX, AclFileProblem, parse_rules
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.rbac import ScopeCeiling
from rivven.security.authz.shadow import Difference, Shadow
from rivven.security.authz.sources import AuthorizerSettings, load_authorizers
from rivven.security.extensions import UnknownExtension
from rivven.tasks import Tasks
from rivven.telemetry import Metrics
from rivven.types import ANONYMOUS, AclBinding
from rivven.watched_files import WatchedFiles

_log = logging.getLogger("rivven.shadow")


class _AclFile:
    """The access rules of a candidate; a file that cannot be used leaves those from before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = 0
        self._bindings: tuple[AclBinding, ...] = ()
        self.watched = WatchedFiles("the candidate's access rules", lambda: [path], self.reload)

    def open(self) -> None:
        """The first load. Raises StartFailed."""
        self.watched.mark()
        try:
            self._bindings = self._load()
        except (OSError, ValueError, InvalidRequest) as error:
            raise StartFailed(
                f"authorization.shadow.acl.file: {error}",
                "`rivven acl list -o json` prints such a file",
                ExitCode.CONFIG,
            ) from None

    def rules(self) -> tuple[int, tuple[AclBinding, ...]]:
        """The rules as they are now (an `AclSource`)."""
        return self._version, self._bindings

    @property
    def version(self) -> int:
        return self._version

    async def reload(self) -> None:
        """Take over a changed file, if it can be used."""
        try:
            self._bindings = await asyncio.to_thread(self._load)
        except (OSError, ValueError, InvalidRequest) as error:
            _log.error("the candidate's access rules are not used, those from before stay: %s", error)
            return
        self._version += 1
        _log.info("access rules of the candidate loaded: %d", len(self._bindings))

    def _load(self) -> tuple[AclBinding, ...]:
        with self._path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        found = parse_rules(text, self._path.name)
        for number, binding in enumerate(found, 1):
            try:
                check_binding(binding)
            except InvalidRequest as error:
                raise AclFileProblem(f"{self._path.name}: rule {number}: {error}") from None
        return found


class _UncountedReloads:
    """The candidate's policies are not those the policy metrics are about."""

    def policies_loaded(self, count: int, now_ms: int) -> None:
        return

    def policy_reload_failed(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class LiveParts:
    """What is in force, to fill what the candidate does not bring."""

    settings: AuthorizerSettings
    rules: AclSource
    super_users: Iterable[str]


def start_shadow(
    config: AuthorizationConfig,
    live: AuthorizerChain,
    parts: LiveParts,
    record: Callable[[AuditEvent], None],
    *,
    metrics: Metrics,
    clock: Clock,
    tasks: Tasks,
) -> None:
    """Evaluate the configured candidate beside `live` from now on. Raises StartFailed."""
    wanted = config.shadow
    if not wanted.given:
        return
    settings = parts.settings
    if wanted.allow_everyone_if_no_acl_found is not None:
        settings = replace(settings, allow_everyone_if_no_acl_found=wanted.allow_everyone_if_no_acl_found)
    if wanted.rbac.file is not None:
        roles = settings.roles.without_file()
        file = RolesFile(wanted.rbac.file, roles, "authorization.shadow.rbac.file")
        file.open()
        tasks.spawn(file.watched.run(), "watch the roles file of the candidate")
        settings = replace(settings, roles=roles)
    policies = open_policies(
        wanted.cedar, "authorization.shadow.cedar", settings.roles, _UncountedReloads(), clock
    )
    if policies is not None:
        settings = replace(settings, policies=lambda: policies.rules)
        tasks.spawn(policies.watch(), "policies of the candidate")
    rules, acl = parts.rules, None
    if wanted.acl.file is not None:
        acl = _AclFile(wanted.acl.file)
        acl.open()
        rules = acl.rules
        tasks.spawn(acl.watched.run(), "watch the access rules of the candidate")
    super_users = list(parts.super_users)
    if wanted.super_users is not None:
        super_users = [*wanted.super_users, *(name for name in super_users if name == str(ANONYMOUS))]
    try:
        engines = load_authorizers(wanted.authorizers or config.authorizers, settings, rules)
    except UnknownExtension as error:
        raise StartFailed(
            f"authorization.shadow.authorizers: {error}", "name an installed authorizer", ExitCode.CONFIG
        ) from None
    candidate = AuthorizerChain(
        engines,
        super_users,
        ScopeCeiling(settings.roles),
        stamp=lambda: (
            live.version,
            settings.roles.version,
            policies and policies.stamp,
            acl and acl.version,
        ),
        engine_failed=lambda name, error: _log.error("the candidate's %s failed", name, exc_info=error),
    )
    shadow = Shadow(live, candidate, lambda difference: record(_event(difference)), metrics, clock)
    tasks.spawn(shadow.run(), "shadow")


def _event(difference: Difference) -> AuditEvent:
    subject, action = difference.subject, difference.action
    return AuditEvent(
        AUTHORIZATION,
        action_word(action.operation, action.resource_type),
        resource_text(action.resource_type, action.resource_name),
        difference.outcome,
        principal_text(subject.principal),
        reason=difference.candidate.reason,
        client_ip=subject.host,
        listener=subject.listener,
        mechanism=subject.mechanism,
        details={
            **subject_details(subject),
            "engine": difference.candidate.engine,
            "rule": difference.candidate.rule,
            "in_force": difference.live.reason,
        },
    )
