"""The Admin API of one broker: its address taken early, its code imported and served after Kafka clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rivven import __version__
from rivven.api.tokens import TokenService
from rivven.app.audit_signing import AuditSigning
from rivven.app.auditing import Auditing
from rivven.app.authentication import Authentication
from rivven.app.failures import ExitCode, StartFailed, address_failure
from rivven.app.network import Network
from rivven.app.process import settle_late_imports
from rivven.app.tls_material import TlsMaterial
from rivven.audit.events import AUTHENTICATION, FAILURE, AuditEvent
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.http.admin.server import AdminServer
from rivven.http.admin.services import AdminServices, AuditServices, BrokerView, ListenerView
from rivven.metadata.service import MetadataService
from rivven.security.admission import Admission
from rivven.security.authn.authenticator import CERTIFICATE_MECHANISM
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.roles import RoleDirectory
from rivven.security.dev_profile import DEV_DIRECTORY, write_admin_file
from rivven.security.keys.secrets import SecretService
from rivven.security.networks import AllowedNetworks
from rivven.security.private_files import PrivateFileError
from rivven.security.sessions import Sessions
from rivven.security.tls_live import TlsSection
from rivven.telemetry import Metrics

if TYPE_CHECKING:
    from rivven.http.admin.hygiene import AsgiApplication
    from rivven.security.keys.operations import KeyService


class Administration:
    """Belongs to the event loop. Does nothing where the configuration wants no Admin API."""

    def __init__(self, config: Config, clock: Clock, metrics: Metrics) -> None:
        self._config = config
        self._clock = clock
        self._metrics = metrics
        self._started_ms = clock.now_ms()
        self._server: AdminServer | None = None
        self.address = ""
        """The real address once it is bound; empty without an Admin API."""

    def bind(self) -> None:
        """Take the address. Raises StartFailed."""
        settings = self._config.admin
        if settings is None or not settings.enabled:
            return
        server = AdminServer(settings.bind)
        try:
            self.address = str(server.bind())
        except OSError as error:
            raise address_failure("admin", settings.bind, error) from None
        self._server = server

    @property
    def url(self) -> str:
        """What clients on this machine use, for the development profile; empty without an Admin API."""
        scheme = "http" if self._config.admin_tls is None else "https"
        return f"{scheme}://localhost:{self.address.rpartition(':')[2]}" if self.address else ""

    def open(
        self,
        *,
        admission: Admission,
        authentication: Authentication,
        tokens: TokenService,
        chain: AuthorizerChain,
        roles: RoleDirectory,
        metadata: MetadataService,
        sessions: Sessions,
        auditing: Auditing,
        network: Network,
        tls: TlsMaterial,
        keys: KeyService | None,
        audit_signing: AuditSigning,
        secrets: SecretService,
        healthy: Callable[[], bool],
        ready: Callable[[], bool],
    ) -> None:
        """Say what the routes work with. Raises StartFailed for unusable certificates."""
        if self._config.dev:
            self._tell_clients()
        if self._server is None:
            return
        view = BrokerView(
            version=__version__,
            node_id=self._config.node.id,
            cluster_id=metadata.image.cluster_id,
            started_at_ms=self._started_ms,
            metrics=self._metrics,
            healthy=healthy,
            ready=ready,
            listeners=lambda: _listeners(self._config, network),
            certificates=tls.server_chains,
        )
        services = AdminServices(
            broker=view,
            metadata=metadata,
            chain=chain,
            roles=roles,
            sessions=sessions,
            authentication=authentication.services,
            tokens=tokens,
            scram_iterations=self._config.auth.scram.iterations,
            audit=AuditServices(auditing.trail, auditing.search),
            clock=self._clock,
            entropy=os.urandom,
            audit_signing=audit_signing,
            keys=keys,
            broker_secrets=secrets,
        )
        build = self._builder(services, admission)
        section = tls.of_admin()
        if section is not None and section.asks:
            self._judge_certificates(self._server, section, tls, auditing.trail)
        context = section.context if section is not None else None
        networks = _networks(self._config)
        self._server.open(admission, context, build, settle_late_imports, networks=networks)

    async def start(self) -> None:
        """Serve; done after the Kafka listeners accept, so that they do not wait for its imports."""
        if self._server is not None:
            await self._server.start()

    async def stop(self) -> None:
        """Stop accepting, finish, close."""
        if self._server is not None:
            await self._server.stop()

    def _tell_clients(self) -> None:
        """The development profile names the Admin API of this start."""
        try:
            write_admin_file(self._config.data_dir / DEV_DIRECTORY, self.url)
        except (OSError, PrivateFileError) as error:
            raise StartFailed(
                f"cannot write the development client files: {error}",
                "check that you may write to the data directory",
                ExitCode.DATA_DIRECTORY,
            ) from None

    def _judge_certificates(
        self, server: AdminServer, section: TlsSection, tls: TlsMaterial, trail: AuditTrail
    ) -> None:
        from rivven.security.tls_trust import PeerChain  # with the crypto library

        def judge(chain: Sequence[bytes]) -> Callable[[], str | None]:
            return PeerChain(chain, section.trust, self._clock.now_ms).problem

        def refused(host: str, reason: str) -> None:
            self._metrics.authentication_failed(CERTIFICATE_MECHANISM)
            trail.event(
                AuditEvent(
                    AUTHENTICATION,
                    "login",
                    result=FAILURE,
                    reason=reason,
                    client_ip=host,
                    listener="admin",
                    mechanism=CERTIFICATE_MECHANISM,
                )
            )

        server.judge_certificates(judge, refused)
        tls.trust_changed.append(lambda _why: server.recheck())

    def _builder(self, services: AdminServices, admission: Admission) -> Callable[[], AsgiApplication]:
        """What builds the application, to be called on a thread: it imports FastAPI."""
        config, metrics = self._config, self._metrics

        def build() -> AsgiApplication:
            from rivven.http.admin.application import build_application
            from rivven.http.admin.audit import RouteAudit
            from rivven.http.admin.authentication import RequestAuthentication
            from rivven.http.admin.catalogue import all_routes
            from rivven.http.admin.document import OpenApiDocument
            from rivven.http.admin.guard import Guard

            authentication = RequestAuthentication(
                admission,
                services.clock,
                metrics,
                passwords=services.authentication.passwords,
                bearer=services.authentication.bearer,
                certificates=services.authentication.certificates,
                anonymous=config.insecure,
                trail=services.audit.trail,
            )
            document = OpenApiDocument()
            trail = services.audit.trail
            guard = Guard(authentication, services.chain, services.clock, RouteAudit(trail))
            rows = all_routes(services, document)
            return build_application(rows, guard, document, config.admin_names, __version__)

        return build


def _networks(config: Config) -> AllowedNetworks:
    """Who may connect: the broker's list and the Admin API's own."""
    allowlist = config.security.ip_allowlist
    groups = [allowlist.cidrs] if allowlist.enabled else []
    if config.admin is not None and config.admin.allowed_cidrs:
        groups.append(config.admin.allowed_cidrs)
    return AllowedNetworks(groups)


def _listeners(config: Config, network: Network) -> list[ListenerView]:
    settings = {listener.name: listener for listener in config.listeners}
    addresses = network.addresses()
    return [
        ListenerView(
            name=one.info.name,
            address=addresses[one.info.name],
            protocol=settings[one.info.name].protocol,
            mechanisms=tuple(settings[one.info.name].sasl),
            connections=len(one.connections),
        )
        for one in network.listeners
    ]
