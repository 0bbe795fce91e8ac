"""One broker: every object built from the configuration, started and stopped in order.

    bind addresses -> lock and open the data directory -> keys -> metadata -> credentials -> partitions
      -> group coordinator -> API table -> accept -> background work

Stopping goes the other way: no new connections, finish and answer, groups, metadata, logs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rivven.api.authentication import CertificateIdentities
from rivven.api.catalogue import build_table
from rivven.api.credentials import CredentialHandlers
from rivven.api.dispatch import Dispatch
from rivven.api.memory import MemoryBudget
from rivven.app.administration import Administration
from rivven.app.audit_signing import AuditSigning
from rivven.app.auditing import Auditing
from rivven.app.authentication import Authentication, load_mechanisms
from rivven.app.authorization import build_chain
from rivven.app.failures import address_failure
from rivven.app.first_start import ensure_credentials, ensure_dev_certificates
from rivven.app.groups import open_groups
from rivven.app.handlers import build_handlers
from rivven.app.limiting import Limiting, connections_max, record_limits
from rivven.app.metadata import follow_metadata, make_metadata, open_metadata
from rivven.app.network import Network, asks_for_certificates, whole
from rivven.app.oidc import start_oidc
from rivven.app.process import descriptor_limit
from rivven.app.roles import open_roles
from rivven.app.secret_rotation import SecretRotation
from rivven.app.secrets import decoy_key, token_key
from rivven.app.sessions import SessionsFollowMetadata
from rivven.app.storage import Storage
from rivven.app.tls_material import TlsMaterial
from rivven.app.tokens import ApiTokens, open_tokens
from rivven.app.upkeep import start_compaction, watch_stored
from rivven.clock import SystemClock
from rivven.config.models import Config
from rivven.coordinator.service import GroupCoordinator
from rivven.http.metrics_server import MetricsServer
from rivven.log.checkpoint import PartitionKey
from rivven.log.compactor import JOB_SECONDS_MAX as CLEANING_SECONDS_MAX
from rivven.log.compactor import NICENESS
from rivven.log.workers import WorkerPool
from rivven.metadata.service import MetadataService
from rivven.protocol.api import ApiKey
from rivven.replication.replicas import Replicas
from rivven.security.admission import Admission
from rivven.security.authn.token_text import TokenHashKeys
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.roles import RoleDirectory
from rivven.security.sessions import Sessions
from rivven.tasks import Tasks
from rivven.telemetry import Metrics

if TYPE_CHECKING:  # with the crypto library
    from rivven.security.keys.operations import KeyService
    from rivven.security.tls_trust import ClientTrust


class Broker:
    """Belongs to one event loop; started once, stopped once."""

    def __init__(self, config: Config, *, config_path: Path | None = None) -> None:
        self._config = config
        self._config_path = config_path
        self._clock = SystemClock()
        self._tasks = Tasks()
        self._requests = Tasks()
        self._metrics = Metrics({int(key): key.name for key in ApiKey})
        self._network = Network(config)
        self._sessions = Sessions()
        self._client_workers = WorkerPool()
        self._storage = Storage(config, self._clock, self._metrics, self._client_workers)
        self._cleaner_workers = WorkerPool(job_seconds_max=CLEANING_SECONDS_MAX, niceness=NICENESS)
        self._rewritten_now: set[PartitionKey] = set()
        """Partitions whose segments compaction or re-encryption is exchanging."""
        self._metadata: MetadataService | None = None
        self._authentication: Authentication | None = None
        self._groups: GroupCoordinator | None = None
        self._api_tokens: ApiTokens | None = None
        self._replicas: Replicas | None = None
        self._key_operations: KeyService | None = None
        self._metrics_server: MetricsServer | None = None
        self._metrics_address = ""
        self._administration = Administration(config, self._clock, self._metrics)
        self._auditing = Auditing(config, self._storage.files, self._clock, self._metrics)
        self._tls = TlsMaterial(config, self._clock, self._metrics, self._auditing.trail)
        self._ready = False
        self.start_lines: list[str] = []
        """What must be shown once: the development profile's first password."""

    # -- starting --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Become ready. Raises StartFailed; then call `abort`."""
        config = self._config
        self._network.bind()
        self._bind_metrics()
        self._administration.bind()
        directory = self._storage.open()
        await self._storage.open_keys(self._tasks)
        await self._auditing.start()
        self._auditing.follow(self._sessions)
        if config.dev:
            ensure_dev_certificates(config, self._clock)
        metadata = self._metadata = make_metadata(config, self._storage, self._clock, self._tasks)
        await open_metadata(metadata, self._storage)
        self._auditing.compare_head(metadata)
        replicas = Replicas(directory, metadata.topic_defaults, self._storage.topic_keys)
        self._replicas = replicas
        authentication = Authentication(
            config, metadata, self._clock, self._metrics, decoy_key(self._storage.secrets)
        )
        self._authentication = authentication
        self.start_lines = await ensure_credentials(
            config, self._config_path, metadata, authentication.users, self._network.bound_port
        )
        await replicas.sync_with(metadata.image)
        await self._storage.forget_unknown(metadata.image.topics_by_id)
        follow_metadata(metadata, replicas, self._tasks)
        audit_signing = AuditSigning(self._auditing, self._storage.secrets)
        if self._storage.encryption is not None:
            from rivven.app.key_service import start_key_operations  # with the crypto library

            self._key_operations = await start_key_operations(
                config,
                self._storage.encryption,
                metadata,
                replicas,
                self._auditing.trail,
                audit_signing,
                claims=self._rewritten_now,
                workers=self._cleaner_workers,
                clock=self._clock,
                tasks=self._tasks,
                metrics=self._metrics,
            )
        self._groups = await open_groups(metadata, replicas, self._clock, self._tasks)
        await self._auditing.connect_topics(metadata, replicas)
        authentication.start(self._sessions, self._tasks)
        self._accept_connections(metadata, replicas, self._groups, authentication, audit_signing)
        self._start_background(metadata, replicas)
        self._ready = True
        self._auditing.ready(self._network.addresses())

    def _authorization(self, metadata: MetadataService, roles: RoleDirectory) -> AuthorizerChain:
        return build_chain(
            self._config,
            metadata,
            roles,
            self._auditing.trail,
            metrics=self._metrics,
            clock=self._clock,
            tasks=self._tasks,
        )

    def _accept_connections(
        self,
        metadata: MetadataService,
        replicas: Replicas,
        groups: GroupCoordinator,
        authentication: Authentication,
        audit_signing: AuditSigning,
    ) -> None:
        config, limits = self._config, self._config.limits
        admission = Admission(
            max_connections=connections_max(config, descriptor_limit()),
            max_connections_per_ip=limits.max_connections_per_ip,
            handshake_timeout_s=limits.handshake_timeout_secs,
            authentication_timeout_s=limits.connection_timeout_secs,
            failure_delay_s=whole(config, "connection.failed.authentication.delay.ms") / 1000,
        )
        requests = MemoryBudget(limits.request_memory_bytes)
        responses = MemoryBudget(limits.response_memory_bytes)
        self._metrics.watch_memory(lambda: requests.used_bytes, lambda: responses.used_bytes)
        hash_keys = TokenHashKeys(token_key(self._storage.secrets))
        tokens = self._api_tokens = open_tokens(
            hash_keys, authentication, metadata, self._sessions, self._clock, self._tasks
        )
        handlers = build_handlers(
            metadata=metadata,
            replicas=replicas,
            groups=groups,
            admission=admission,
            responses=responses,
            workers=self._client_workers,
            tasks=self._requests,
            clock=self._clock,
            metrics=self._metrics,
            disk=self._storage,
            trail=self._auditing.trail,
            key_names=self._storage.key_names,
            explicit=config.broker_explicit,
            acls_enforced="acl" in config.authorization.authorizers,
            tokens=tokens.service,
            credentials=CredentialHandlers(metadata, authentication.users, config.auth.scram.min_iterations),
            record_limits=record_limits(config),
        )
        limiting = Limiting(config, metadata, self._clock, self._metrics)
        roles = open_roles(config, metadata, authentication.users, self._tasks)
        chain = self._authorization(metadata, roles)
        dispatch = Dispatch(
            build_table(handlers),
            chain,
            self._clock,
            self._metrics,
            handlers.authentication.raw_token,
            self._auditing.trail,
            limiting.throttling,
        )
        start_oidc(
            config,
            authentication,
            metadata,
            self._sessions,
            clock=self._clock,
            tasks=self._tasks,
            observer=self._metrics,
            roles=roles,
        )
        SessionsFollowMetadata(self._sessions, metadata, self._clock)
        self._network.open(
            tls=self._tls,
            sessions=self._sessions,
            certificates=self._certificates(metadata, authentication),
            dispatch=dispatch,
            arrivals=limiting.arrivals,
            admission=admission,
            source=load_mechanisms(config),
            credentials=authentication.services,
            request_budget=requests,
            clock=self._clock,
            metrics=self._metrics,
        )
        self._administration.open(
            admission=admission,
            authentication=authentication,
            tokens=tokens.service,
            chain=chain,
            roles=roles,
            metadata=metadata,
            sessions=self._sessions,
            auditing=self._auditing,
            network=self._network,
            tls=self._tls,
            keys=self._key_operations,
            audit_signing=audit_signing,
            secrets=SecretRotation(
                self._storage.secrets,
                authentication.decoys,
                hash_keys,
                tokens.service.all,
                self._clock,
                os.urandom,
            ),
            healthy=lambda: bool(self.health()["healthy"]),
            ready=lambda: self._ready,
        )

    def _certificates(
        self, metadata: MetadataService, authentication: Authentication
    ) -> Callable[[Callable[[], ClientTrust]], CertificateIdentities] | None:
        """How the client certificates of a listener are judged by what it trusts; None when none asks for
        any."""
        config = self._config
        asking = any(asks_for_certificates(config, listener) for listener in config.listeners)
        if not asking and not config.admin_asks_for_certificates:
            return None
        from rivven.app.certificates import ClientCertificates

        names = authentication.external_names
        made = ClientCertificates(self._config, metadata, self._sessions, names, self._clock, self._metrics)
        made.watch(self._tasks)
        services = authentication.services
        services.certificates = made.authentication
        if services.tokens is not None:
            services.tokens.origins["certificate"] = made.revoked
        return made.identities

    def _start_background(self, metadata: MetadataService, replicas: Replicas) -> None:
        start_compaction(
            metadata,
            replicas,
            self._storage,
            claims=self._rewritten_now,
            workers=self._cleaner_workers,
            clock=self._clock,
            tasks=self._tasks,
            metrics=self._metrics,
        )
        watch_stored(replicas, self._storage, self._metrics)
        self._tls.trust_changed.append(self._sessions.recheck_soon)
        self._tls.follow(self._tasks)
        self._tasks.spawn(self._auditing.keep_heads(metadata), "audit heads")
        self._tasks.spawn(self._storage.keep_tidy(replicas, metadata), "retention")
        self._metrics.stalls.start()

    def _bind_metrics(self) -> None:
        settings = self._config.metrics
        if not settings.enabled:
            return
        server = MetricsServer(settings.bind, self._metrics, self.health, lambda: self._ready)
        try:
            self._metrics_address = str(server.bind())
        except OSError as error:
            raise address_failure("metrics", settings.bind, error) from None
        self._metrics_server = server

    async def start_metrics(self) -> None:
        """Serve HTTP; done after the Kafka listeners accept, so that they do not wait for its imports."""
        await self._auditing.sign(self._storage.secrets)
        if self._metrics_server is not None:
            await self._metrics_server.start()
        await self._administration.start()

    def ready_facts(self) -> dict[str, object]:
        """What the ready line says: identity and real addresses."""
        assert self._metadata is not None
        return {
            "event": "ready",
            "pid": os.getpid(),
            "node_id": self._config.node.id,
            "cluster_id": self._metadata.image.cluster_id,
            "listeners": self._network.addresses(),
            "metrics": self._metrics_address,
            "admin": self._administration.address,
        }

    def health(self) -> dict[str, object]:
        """What /healthz says; `healthy` is false while the data directory or a partition is offline."""
        offline = sum(not partition.online for partition in self._replicas or ())
        return {
            "healthy": self._storage.online and not offline,
            "directory_online": self._storage.online,
            "offline_partitions": offline,
        }

    # -- stopping --------------------------------------------------------------------------------------------

    async def drain(self, deadline_s: float) -> bool:
        """Accept nothing new and finish requests; returns False when the deadline cut them short."""
        self._ready = False
        listeners = self._network.listeners
        for listener in listeners:
            listener.stop_accepting()
        for listener in listeners:
            listener.drain()
        try:
            async with asyncio.timeout(deadline_s):
                for listener in listeners:
                    await listener.wait_empty()
        except TimeoutError:
            return False
        return True

    async def abort(self) -> None:
        """Give back what a failed start had already taken."""
        self._network.close()
        await self.close()

    async def close(self) -> None:
        """Flush and give everything back."""
        for listener in self._network.listeners:
            await listener.stop()
        await self._administration.stop()
        await self._requests.cancel_all()
        if self._authentication is not None:
            self._authentication.close()
        if self._metrics_server is not None:
            await self._metrics_server.stop()
        self._metrics.stalls.stop()
        if self._groups is not None:
            await self._groups.close()
        await self._tasks.cancel_all()
        if self._api_tokens is not None:
            await self._api_tokens.close()
        if self._metadata is not None:
            await self._auditing.keep_head(self._metadata)
            await self._metadata.close()
        await self._auditing.close()
        await self._client_workers.close()
        await self._cleaner_workers.close()
        await self._storage.close()
