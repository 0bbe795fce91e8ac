"""All handlers of one broker, each built with exactly what it needs."""

from __future__ import annotations

from collections.abc import Collection

from rivven.api.acls import AclHandlers
from rivven.api.audited import first_mention
from rivven.api.authentication import AuthenticationHandlers, VersionsHandler
from rivven.api.catalogue import HandlerSet
from rivven.api.cluster_admin import ClusterHandlers, DiskView
from rivven.api.configs import ConfigHandlers
from rivven.api.credentials import CredentialHandlers
from rivven.api.delegation_tokens import DelegationTokenHandlers
from rivven.api.encryption_rule import EncryptionRule, KeyNames
from rivven.api.fetch import FetchHandler
from rivven.api.group_offsets import GroupOffsetHandlers
from rivven.api.groups import FindCoordinatorHandler, GroupAdminHandlers, GroupHandlers
from rivven.api.memory import MemoryBudget
from rivven.api.metadata import AutoCreate, MetadataHandler
from rivven.api.offsets import OffsetHandlers
from rivven.api.produce import ProduceHandler
from rivven.api.producers import ProducerHandlers
from rivven.api.quotas import QuotaHandlers
from rivven.api.tokens import TokenService
from rivven.api.topic_partitions import TopicPartitionsHandler
from rivven.api.topics import TopicHandlers
from rivven.audit.events import FAILURE, INTENT, SUCCESS
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.coordinator.service import GroupCoordinator
from rivven.errors import ErrorCode, RivvenError
from rivven.log.workers import WorkerPool
from rivven.metadata.service import MetadataService
from rivven.protocol.api import API_RANGES
from rivven.protocol.versions import ApiVersionsAnswers
from rivven.records.limits import RecordLimits
from rivven.replication.replicas import Replicas, TopicView
from rivven.security.admission import Admission
from rivven.tasks import Tasks
from rivven.telemetry import Metrics


def build_handlers(
    *,
    metadata: MetadataService,
    replicas: Replicas,
    groups: GroupCoordinator,
    admission: Admission,
    responses: MemoryBudget,
    workers: WorkerPool,
    tasks: Tasks,
    clock: Clock,
    metrics: Metrics,
    disk: DiskView,
    explicit: Collection[str],
    acls_enforced: bool,
    record_limits: RecordLimits,
    tokens: TokenService,
    credentials: CredentialHandlers,
    trail: AuditTrail,
    key_names: KeyNames | None,
) -> HandlerSet:
    """The handlers of the API table."""
    broker = metadata.static_broker_values
    fetch_bytes_max = broker["fetch.max.bytes"]
    assert isinstance(fetch_bytes_max, int)
    auto_create = _auto_create(metadata, replicas, trail) if broker["auto.create.topics.enable"] else None
    encryption = EncryptionRule(key_names)
    configs = ConfigHandlers(metadata, replicas, explicit, encryption)
    return HandlerSet(
        versions=VersionsHandler(ApiVersionsAnswers({int(key): span for key, span in API_RANGES.items()})),
        authentication=AuthenticationHandlers(admission, clock, metrics),
        produce=ProduceHandler(replicas, workers, tasks, metrics.produced, record_limits),
        fetch=FetchHandler(replicas, responses, fetch_bytes_max, metrics.fetched),
        offsets=OffsetHandlers(replicas),
        metadata=MetadataHandler(
            metadata.node_id,
            metadata.image.cluster_id,
            lambda: metadata.image,
            replicas,
            auto_create,
        ),
        find_coordinator=FindCoordinatorHandler(metadata.node_id),
        groups=GroupHandlers(groups),
        group_admin=GroupAdminHandlers(groups),
        group_offsets=GroupOffsetHandlers(groups, lambda topic: len(replicas.partitions_of(topic))),
        topics=TopicHandlers(metadata, replicas, configs.entries_of, encryption),
        configs=configs,
        acls=AclHandlers(metadata, enabled=acls_enforced),
        credentials=credentials,
        tokens=_token_handlers(metadata, tokens),
        cluster=ClusterHandlers(metadata.node_id, metadata.image.cluster_id, replicas, disk),
        producers=ProducerHandlers(metadata, replicas),
        quotas=QuotaHandlers(metadata),
        topic_partitions=TopicPartitionsHandler(metadata.node_id, lambda: metadata.image, replicas),
    )


def _token_handlers(metadata: MetadataService, tokens: TokenService) -> DelegationTokenHandlers:
    broker = metadata.static_broker_values
    lifetime_ms, expiry_ms = (
        broker["delegation.token.max.lifetime.ms"],
        broker["delegation.token.expiry.time.ms"],
    )
    assert isinstance(lifetime_ms, int)
    assert isinstance(expiry_ms, int)
    return DelegationTokenHandlers(tokens, lifetime_ms, expiry_ms)


def _auto_create(metadata: MetadataService, replicas: Replicas, trail: AuditTrail) -> AutoCreate:
    """Topics made on first mention, with the broker's defaults; audited before and after."""

    async def create(name: str) -> TopicView:
        await trail.intent(first_mention(name, INTENT))
        try:
            topic: TopicView = await metadata.create_default_topic(name)
        except RivvenError as error:
            existing = metadata.image.topics.get(name)
            if error.code is not ErrorCode.TOPIC_ALREADY_EXISTS or existing is None:
                trail.event(first_mention(name, FAILURE, error.code.name))
                raise
            topic = existing  # somebody else was faster: the client wanted it to exist
        await replicas.ensure(topic)
        trail.event(first_mention(name, SUCCESS))
        return topic

    return create
