"""The Cedar policies of one broker: read before it starts, followed while it runs."""

from __future__ import annotations

from rivven.app.failures import ExitCode, StartFailed
from rivven.clock import Clock
from rivven.config.policies import CedarConfig
from rivven.security.authz.cedar.binding import CedarMissing
from rivven.security.authz.cedar.book import PoliciesRefused
from rivven.security.authz.cedar.store import PolicyStore, ReloadObserver
from rivven.security.authz.cedar.vocabulary import ROLE
from rivven.security.authz.roles import RoleDirectory


def open_policies(
    settings: CedarConfig,
    key: str,
    roles: RoleDirectory,
    observer: ReloadObserver,
    clock: Clock,
) -> PolicyStore | None:
    """The policies the section `key` names, None when it names none; policies that name a role which is not
    among `roles` are warned about. Raises StartFailed."""

    def known() -> dict[str, frozenset[str]]:
        return {ROLE: frozenset(role.name for role in roles.roles())}

    if settings.policy_dir is None:
        return None
    try:
        return PolicyStore(settings.policy_dir, settings.schema_path, observer, clock, known)
    except CedarMissing as error:
        raise StartFailed(str(error), "pip install 'rivven[cedar]'", ExitCode.CONFIG) from None
    except PoliciesRefused as refused:
        raise StartFailed(
            f"{key}.policy_dir: {refused}", "`rivven policy check DIR` lists every problem", ExitCode.CONFIG
        ) from None
