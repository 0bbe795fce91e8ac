"""Building trust in identity providers: issuers of the configuration and of a file that is followed, their
keys, and the end of sessions whose issuer is gone. A driver; it judges no token.
"""

from __future__ import annotations

import importlib.util
import logging
import stat
from collections.abc import Callable
from pathlib import Path

from rivven.app.authentication import Authentication
from rivven.app.failures import ExitCode, StartFailed
from rivven.clock import Clock
from rivven.config.issuers_file import read_issuers
from rivven.config.models import Config
from rivven.config.oidc import OidcIssuerConfig, issuers_problem
from rivven.config.problems import ConfigError
from rivven.metadata.revocations import Revocations
from rivven.metadata.service import MetadataService
from rivven.security.authn.authenticator import Credential
from rivven.security.authn.external_names import ExternalNames
from rivven.security.authn.issuers import Issuers, TrustedIssuer
from rivven.security.authn.jwks import FetchObserver, Jwks
from rivven.security.authn.jwt_verifier import JwtVerifier
from rivven.security.authn.oidc_fetch import KeySource, fetch_keys
from rivven.security.authz.authorizer import Subject
from rivven.security.authz.roles import RoleBinding, RoleDirectory
from rivven.security.sessions import Sessions
from rivven.tasks import Tasks
from rivven.watched_files import WatchedFiles

EXTRA_MODULES = ("jwt", "httpx")
"""What `rivven[oidc]` installs."""

_log = logging.getLogger("rivven.oidc")


class Oidc:
    """The identity providers of one broker. Belongs to the event loop.

    `revoked` says why a single token is revoked; `roles` hears which groups have which roles.
    """

    def __init__(
        self,
        config: Config,
        *,
        names: ExternalNames,
        revoked: Callable[[Credential], str | None],
        clock: Clock,
        tasks: Tasks,
        observer: FetchObserver,
        roles: RoleDirectory,
    ) -> None:
        self.issuers = Issuers()
        self.issuers.on_change.append(self._bind_roles)
        self._roles = roles
        self._config = config
        self._names = names
        self._revoked = revoked
        self._tasks = tasks
        self._jwks = Jwks(fetch_keys, clock, tasks, observer)
        self.verifier = JwtVerifier(self.issuers, self._jwks, names, revoked)

    def start(self, sessions: Sessions) -> None:
        """Trust what is configured and follow its file; from now on a change ends the sessions it must end.

        Raises StartFailed.
        """
        settings = self._config.auth.oidc
        path = settings.issuers_file
        watched = None
        if settings.issuers or path is not None:
            _require_extra()
        if path is not None:
            watched = WatchedFiles("auth.oidc.issuers_file", lambda: [path], self._reload)
            watched.mark()
        try:
            self._take_over()
        except ConfigError as error:
            raise StartFailed(
                f"auth.oidc: {error}",
                "correct the issuers; `rivven config check` knows the keys",
                ExitCode.CONFIG,
            ) from None
        sessions.validators.append(self.session_problem)
        self.issuers.on_change.append(lambda: self._changed(sessions))
        if watched is not None:
            self._tasks.spawn(watched.run(), "follow the file of issuers")

    def session_problem(self, subject: Subject, credential: Credential) -> str | None:
        """Why a session that a JWT began must end: its issuer is gone or set up differently, the token is
        revoked, or its names have become ours meanwhile."""
        if credential.kind != "jwt":
            return None
        problem = self.issuers.problem_of(credential) or self._revoked(credential)
        return problem or self._names.problem(subject.principal.name, subject.groups)

    def origin_problem(self, credential: Credential) -> str | None:
        """Why an API token made with this JWT must not count: its issuer is gone, or the JWT is revoked."""
        return self.issuers.distrusted(credential.issuer) or self._revoked(credential)

    def _bind_roles(self) -> None:
        """Let groups have their roles; a role that there is not (yet) gives nothing, which is said."""
        self._roles.replace_issuer_bindings(
            tuple(
                RoleBinding(role, f"Group:{group}", "issuer", issuer)
                for group, role, issuer in self.issuers.group_roles()
            )
        )
        for group, role, issuer in self.issuers.group_roles():
            if self._roles.find(role) is None:
                _log.warning(
                    "issuer %s: the group %s has the role %s, which does not exist", issuer, group, role
                )

    def _changed(self, sessions: Sessions) -> None:
        sessions.recheck_soon("other issuers are trusted now")

    def _reload(self) -> None:
        try:
            self._take_over()
        except ConfigError as error:
            _log.error("auth.oidc.issuers_file: not taken over, the issuers stay as they were: %s", error)
        else:
            _log.info("auth.oidc.issuers_file: taken over, %d issuers are trusted", len(self.issuers.names()))

    def _take_over(self) -> None:
        """Make the configured issuers the trusted ones. Raises ConfigError and changes nothing."""
        settings = self._config.auth.oidc
        configured = list(settings.issuers)
        if settings.issuers_file is not None:
            _check_writers(settings.issuers_file)
            configured += read_issuers(settings.issuers_file)
        problem = issuers_problem(configured, self._config.insecure, self._config.other_name_sources)
        if problem is not None:
            raise ConfigError.of("auth.oidc", problem)
        self._jwks.follow([key_source(one, self._config.insecure) for one in configured])
        self.issuers.replace([trusted_issuer(one) for one in configured])


def _check_writers(path: Path) -> None:
    """Whoever can write the file says who may log in. Raises ConfigError when everybody can."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError.of(str(path), error.strerror or str(error)) from None
    if mode & stat.S_IWOTH:
        raise ConfigError.of(str(path), f"every user of this machine may change it: chmod o-w {path}")


def _require_extra() -> None:
    missing = [name for name in EXTRA_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise StartFailed(
            f"auth.oidc: needs the Python modules {', '.join(missing)}",
            "install rivven[oidc]",
            ExitCode.CONFIG,
        )


def trusted_issuer(settings: OidcIssuerConfig) -> TrustedIssuer:
    """The settings as the verifier wants them."""
    return TrustedIssuer(
        issuer=settings.issuer,
        audiences=frozenset(settings.audiences),
        algorithms=frozenset(settings.algorithms),
        token_types=frozenset(kind.lower() for kind in settings.token_types),
        clock_skew_ms=settings.clock_skew_secs * 1000,
        principal_claim=settings.principal_claim,
        groups_claim=settings.groups_claim,
        prefix=settings.prefix,
        group_prefix=settings.own_group_prefix,
        group_roles=tuple(settings.group_roles.items()),
    )


def key_source(settings: OidcIssuerConfig, insecure: bool) -> KeySource:
    """Where the issuer's keys are."""
    return KeySource(
        issuer=settings.issuer,
        url=settings.document_url,
        discovery=settings.jwks_url is None,
        ca_path=settings.ca_path,
        insecure=insecure,
        refresh_s=float(settings.jwks_refresh_secs),
    )


def start_oidc(
    config: Config,
    authentication: Authentication,
    metadata: MetadataService,
    sessions: Sessions,
    *,
    clock: Clock,
    tasks: Tasks,
    observer: FetchObserver,
    roles: RoleDirectory,
) -> None:
    """Trust the configured identity providers; bearer tokens of theirs are logins from now on.

    Raises StartFailed.
    """
    oidc = Oidc(
        config,
        names=authentication.external_names,
        revoked=lambda credential: metadata.image.of(Revocations).reason(credential),
        clock=clock,
        tasks=tasks,
        observer=observer,
        roles=roles,
    )
    oidc.start(sessions)
    services = authentication.services
    services.bearer.jwts = oidc.verifier
    if services.tokens is not None:
        services.tokens.origins["jwt"] = oidc.origin_problem
