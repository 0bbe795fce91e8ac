"""A broker's administration without sockets or disk: real metadata, authorizer, dispatch and codec; hosted
partitions that only count."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID

from rivven.api import acls, cluster_admin, configs, credentials, producers, topic_partitions, topics
from rivven.api.dispatch import Call, Dispatch
from rivven.api.encryption_rule import EncryptionRule, KeyNames
from rivven.api.session import ListenerInfo, Session
from rivven.api.table import Row, Table
from rivven.clock import SystemClock
from rivven.config.broker_settings import broker_defaults
from rivven.config.topic_settings import TopicConfig
from rivven.errors import OffsetOutOfRange, RivvenError, StorageFailed
from rivven.log.producers import ProducerEntry, SentBatch
from rivven.metadata.commands import CreateAcls, CreateTopic
from rivven.metadata.image import MetadataImage, Topic
from rivven.metadata.service import MetadataService
from rivven.metadata.users import DynamicUsers
from rivven.protocol.api import ApiKey
from rivven.protocol.codec import (
    RequestHeader,
    parse_response,
    parse_response_header,
    request_header_bytes,
    write_request,
)
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authn.users import Users
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.chain import AuthorizerChain
from rivven.tasks import Tasks
from rivven.testing.authorizers import DenyAll
from rivven.testing.journal import MemoryJournal
from rivven.types import AclBinding, Operation, PatternType, Permission, Principal, ResourceType

NODE = 1
LISTENER = ListenerInfo("main", tls=True, sasl=True, advertised_host="broker.example", advertised_port=9092)


class CountingLog:
    """A log that holds offsets and no bytes."""

    def __init__(self, config: TopicConfig) -> None:
        self.config = config
        self.size_bytes = 0
        self.start = 0
        self.producers: list[tuple[int, ProducerEntry]] = []

    async def delete_records_before(self, offset: int) -> int:
        if offset < 0:
            raise OffsetOutOfRange
        self.start = max(self.start, offset)
        return self.start

    def active_producers(self) -> list[tuple[int, ProducerEntry]]:
        return self.producers


class CountingPartition:
    def __init__(self, topic: Topic, index: int, config: TopicConfig) -> None:
        self.topic_name = topic.name
        self.index = index
        self.log = CountingLog(config)
        self.high_watermark = 0
        self.leader_epoch = 0
        self.online = True

    @property
    def log_start_offset(self) -> int:
        return self.log.start

    def check_online(self) -> None:
        if not self.online:
            raise StorageFailed("the log of this partition is offline")


class CountingReplicas:
    """Hosts what it is asked to `ensure`."""

    def __init__(self, metadata: MetadataService) -> None:
        self._metadata = metadata
        self.hosted: dict[str, tuple[UUID, bool, list[CountingPartition]]] = {}
        self.disk_error: RivvenError | None = None
        self.while_hosting: Callable[[Topic], Awaitable[Any]] | None = None

    def partition(self, topic: str, index: int) -> CountingPartition | None:
        partitions = self.hosted.get(topic, (None, False, []))[2]
        return partitions[index] if 0 <= index < len(partitions) else None

    def partitions_of(self, topic: str) -> list[CountingPartition]:
        return self.hosted.get(topic, (None, False, []))[2]

    async def sync_with(self, image: MetadataImage) -> None:
        self.hosted = {name: entry for name, entry in self.hosted.items() if name in image.topics}

    def is_internal(self, topic: str) -> bool:
        return topic in self.hosted and self.hosted[topic][1]

    def __iter__(self) -> Iterator[CountingPartition]:
        for _, _, partitions in self.hosted.values():
            yield from partitions

    async def ensure(self, topic: Topic) -> None:
        if self.disk_error is not None:
            raise self.disk_error
        if self.while_hosting is not None:
            await self.while_hosting(topic)
        config = self._metadata.topic_config(topic)
        _, _, partitions = self.hosted.setdefault(topic.name, (topic.topic_id, topic.internal, []))
        for partition in partitions:
            partition.log.config = config
        while len(partitions) < topic.partitions:
            partitions.append(CountingPartition(topic, len(partitions), config))


class Disk:
    log_dir = "/var/lib/rivven"
    online = True

    async def space(self) -> tuple[int, int]:
        return 1000, 400


class Silent:
    """Counts nothing."""

    def denied(self, api_key: int) -> None: ...
    def failed(self, api_key: int) -> None: ...


async def _no_raw_tokens(_session: Session, _token: bytes) -> list[bytes]:
    raise AssertionError("SASL is not spoken here")


class World:
    """Everything the administrative APIs touch. ``User:admin`` is a super user; others need rules."""

    def __init__(self, tasks: Tasks, **broker: Any) -> None:
        self.metadata = MetadataService(
            MemoryJournal(),
            SystemClock(),
            tasks,
            node_id=NODE,
            broker={**broker_defaults(), **broker},
            entropy=random.Random(5).randbytes,
        )
        self.explicit = frozenset(broker)
        self.replicas: Any = CountingReplicas(self.metadata)
        self.disk = Disk()
        self.acl_enabled = True
        self.key_names: KeyNames | None = None
        self._dispatch: dict[bool, Dispatch] = {}

    async def start(self) -> World:
        await self.metadata.start()
        table = Table(self._rows())
        authorizer = AclAuthorizer(lambda: self.metadata.image.acls)
        for deny_all, engine in ((False, authorizer), (True, DenyAll())):
            self._dispatch[deny_all] = Dispatch(
                table,
                AuthorizerChain({"test": engine}, () if deny_all else ["User:admin"]),
                SystemClock(),
                Silent(),
                _no_raw_tokens,
            )
        return self

    def _rows(self) -> list[Row]:
        metadata, replicas = self.metadata, self.replicas
        rule = EncryptionRule(self.key_names)
        config = configs.ConfigHandlers(metadata, replicas, self.explicit, rule)
        topic = topics.TopicHandlers(metadata, replicas, config.entries_of, rule)
        acl = acls.AclHandlers(metadata, self.acl_enabled)
        self.users = Users(DynamicUsers(lambda: metadata.image))
        credential = credentials.CredentialHandlers(metadata, self.users, min_iterations=4096)
        cluster = cluster_admin.ClusterHandlers(NODE, metadata.image.cluster_id, replicas, self.disk)
        producer = producers.ProducerHandlers(metadata, replicas)
        pages = topic_partitions.TopicPartitionsHandler(NODE, lambda: metadata.image, replicas)
        return [
            Row(ApiKey.CREATE_TOPICS, topics.CREATE_TOPICS_RULES, topic.create_topics),
            Row(
                ApiKey.DELETE_TOPICS,
                topics.DELETE_TOPICS_RULES,
                topic.delete_topics,
                failed=topics.delete_topics_failed,
            ),
            Row(ApiKey.DELETE_RECORDS, topics.DELETE_RECORDS_RULES, topic.delete_records),
            Row(ApiKey.CREATE_PARTITIONS, topics.CREATE_PARTITIONS_RULES, topic.create_partitions),
            Row(
                ApiKey.DESCRIBE_CONFIGS,
                configs.DESCRIBE_CONFIGS_RULES,
                config.describe_configs,
                failed=configs.describe_configs_failed,
            ),
            Row(
                ApiKey.ALTER_CONFIGS,
                configs.ALTER_CONFIGS_RULES,
                config.alter_configs,
                failed=configs.alter_configs_failed,
            ),
            Row(
                ApiKey.INCREMENTAL_ALTER_CONFIGS,
                configs.INCREMENTAL_ALTER_CONFIGS_RULES,
                config.incremental_alter_configs,
                failed=configs.incremental_alter_configs_failed,
            ),
            Row(
                ApiKey.LIST_CONFIG_RESOURCES,
                configs.LIST_CONFIG_RESOURCES_RULES,
                config.list_config_resources,
            ),
            Row(ApiKey.DESCRIBE_ACLS, acls.DESCRIBE_ACLS_RULES, acl.describe_acls),
            Row(ApiKey.CREATE_ACLS, acls.CREATE_ACLS_RULES, acl.create_acls),
            Row(ApiKey.DELETE_ACLS, acls.DELETE_ACLS_RULES, acl.delete_acls),
            Row(
                ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS,
                credentials.DESCRIBE_USER_SCRAM_CREDENTIALS_RULES,
                credential.describe_user_scram_credentials,
            ),
            Row(
                ApiKey.ALTER_USER_SCRAM_CREDENTIALS,
                credentials.ALTER_USER_SCRAM_CREDENTIALS_RULES,
                credential.alter_user_scram_credentials,
            ),
            Row(ApiKey.DESCRIBE_LOG_DIRS, cluster_admin.DESCRIBE_LOG_DIRS_RULES, cluster.describe_log_dirs),
            Row(ApiKey.ELECT_LEADERS, cluster_admin.ELECT_LEADERS_RULES, cluster.elect_leaders),
            Row(
                ApiKey.ALTER_PARTITION_REASSIGNMENTS,
                cluster_admin.ALTER_PARTITION_REASSIGNMENTS_RULES,
                cluster.alter_partition_reassignments,
            ),
            Row(
                ApiKey.LIST_PARTITION_REASSIGNMENTS,
                cluster_admin.LIST_PARTITION_REASSIGNMENTS_RULES,
                cluster.list_partition_reassignments,
            ),
            Row(
                ApiKey.DESCRIBE_CLUSTER,
                cluster_admin.DESCRIBE_CLUSTER_RULES,
                cluster.describe_cluster,
                failed=cluster_admin.describe_cluster_failed,
            ),
            Row(
                ApiKey.INIT_PRODUCER_ID,
                producers.INIT_PRODUCER_ID_RULES,
                producer.init_producer_id,
                failed=producers.init_producer_id_failed,
            ),
            Row(ApiKey.DESCRIBE_PRODUCERS, producers.DESCRIBE_PRODUCERS_RULES, producer.describe_producers),
            Row(
                ApiKey.DESCRIBE_TOPIC_PARTITIONS,
                topic_partitions.DESCRIBE_TOPIC_PARTITIONS_RULES,
                pages.describe_topic_partitions,
                failed=topic_partitions.describe_topic_partitions_failed,
            ),
        ]

    async def call(
        self, key: ApiKey, version: int, request: Any, user: str = "admin", deny_all: bool = False
    ) -> Any:
        """One request through codec and dispatch; the decoded answer."""
        dispatch = self._dispatch[deny_all]
        session = Session(LISTENER, "10.0.0.1", None)
        session.become(Authenticated(Principal("User", user)), "PLAIN")
        header = request_header_bytes(RequestHeader(key, version, 3, "test"))
        frame = memoryview(bytearray(header + write_request(key, version, request)))
        call = dispatch.accept(session, frame)
        assert isinstance(call, Call)
        buffers = dispatch.encode(call, await dispatch.perform(call))
        answer = b"".join(buffers)[4:]
        correlation, position = parse_response_header(key, version, answer)
        assert correlation == 3
        return parse_response(key, version, answer, position)

    async def allow(
        self,
        user: str,
        operation: Operation,
        resource_type: ResourceType = ResourceType.CLUSTER,
        name: str = "kafka-cluster",
        pattern: PatternType = PatternType.LITERAL,
    ) -> None:
        """Store an ALLOW rule."""
        rule = AclBinding(resource_type, name, pattern, f"User:{user}", "*", operation, Permission.ALLOW)
        assert await self.metadata.submit(CreateAcls((rule,))) == [None]

    async def topic(self, name: str, partitions: int = 1, **settings: str) -> Topic:
        """A hosted topic; settings with underscores for dots."""
        configs = tuple((key.replace("_", "."), value) for key, value in settings.items())
        command = CreateTopic(name, self.metadata.new_topic_id(), partitions, configs=configs)
        await self.metadata.submit(command)
        await self.replicas.ensure(self.metadata.image.topics[name])
        return self.metadata.image.topics[name]


def producer(epoch: int, last_sequence: int) -> ProducerEntry:
    """A producer's state after one batch."""
    return ProducerEntry(epoch, 1_000, (SentBatch(0, last_sequence, 0, last_sequence, -1),))
