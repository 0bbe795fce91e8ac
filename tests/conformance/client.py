"""What the tests do all the time over the raw wire: topics, users, rules, produce, fetch, in a line each."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.protocol.scram import ScramMechanism, salted_password
from rivven.records.batch import Record, build_batch, iterate_batches, read_records
from rivven.types import Operation, PatternType, Permission, ResourceType
from tests.conformance.wire import Wire
from tests.shipped.connection import Account

INFLATE_MAX = 64 << 20
ITERATIONS = 4096
_numbers = itertools.count(1)


def fresh(prefix: str = "t") -> str:
    """A name no other test uses."""
    return f"{prefix}-{next(_numbers)}-{secrets.token_hex(3)}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def records(
    *values: bytes | None, keys: Sequence[bytes | None] | None = None, timestamps: Sequence[int] | None = None
) -> list[Record]:
    """Records at offsets 0, 1, ...; the key is b"k" unless said otherwise."""
    stamp = now_ms()
    return [
        Record(
            index,
            timestamps[index] if timestamps else stamp,
            keys[index] if keys else b"k",
            value,
            [],
        )
        for index, value in enumerate(values)
    ]


def batch(*values: bytes | None, **arguments: Any) -> bytes:
    """One batch of these values; `keys` and `timestamps` as in `records`, the rest as `build_batch`."""
    picked = {name: arguments.pop(name) for name in ("keys", "timestamps") if name in arguments}
    return bytes(build_batch(records(*values, **picked), **arguments))


def produce_request(
    topic: str, *batches: bytes | None, partition: int = 0, acks: int = -1, timeout_ms: int = 10_000
) -> m.ProduceRequest:
    data = m.ProduceRequest.PartitionProduceData
    entries = [data(index=partition + index, records=records) for index, records in enumerate(batches)]
    topics = [m.ProduceRequest.TopicProduceData(name=topic, partition_data=entries)]
    return m.ProduceRequest(acks=acks, timeout_ms=timeout_ms, topic_data=topics)


def fetch_request(
    topic: str,
    offset: int,
    *,
    partition: int = 0,
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 50 << 20,
    partition_max_bytes: int = 50 << 20,
    epoch: int = -1,
    last_fetched_epoch: int = -1,
    **arguments: Any,
) -> m.FetchRequest:
    asked = m.FetchRequest.FetchPartition(
        partition=partition,
        fetch_offset=offset,
        partition_max_bytes=partition_max_bytes,
        current_leader_epoch=epoch,
        last_fetched_epoch=last_fetched_epoch,
    )
    return m.FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        topics=[m.FetchRequest.FetchTopic(topic=topic, partitions=[asked])],
        **arguments,
    )


def read_all(data: Any) -> list[Record]:
    """Every record of fetched bytes, offsets as stored."""
    raw = bytes(data or b"")
    return [
        record
        for position, header in iterate_batches(raw)
        for record in read_records(raw, position, header, INFLATE_MAX)
    ]


class Client(Wire):
    """A connection with the everyday requests; each returns the one entry that was asked for."""

    def create_topic(self, name: str | None = None, partitions: int = 1, **configs: str) -> str:
        """Settings with underscores for dots. Returns the name."""
        name = name or fresh()
        entry = self.try_create_topic(name, partitions, **configs)
        assert entry.error_code == 0, (entry.error_code, entry.error_message)
        return name

    def try_create_topic(self, name: str, partitions: int = 1, **configs: str) -> Any:
        creatable = m.CreateTopicsRequest.CreatableTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=1,
            configs=[
                m.CreateTopicsRequest.CreatableTopicConfig(name=key.replace("_", "."), value=value)
                for key, value in configs.items()
            ],
        )
        answer = self.call(
            ApiKey.CREATE_TOPICS, 7, m.CreateTopicsRequest(topics=[creatable], timeout_ms=10_000)
        )
        return answer.topics[0]

    def delete_topic(self, name: str) -> int:
        state = m.DeleteTopicsRequest.DeleteTopicState(name=name)
        request = m.DeleteTopicsRequest(topics=[state], timeout_ms=10_000)
        return int(self.call(ApiKey.DELETE_TOPICS, 6, request).responses[0].error_code)

    def describe_topic(self, name: str) -> Any:
        return self.metadata(name).topics[0]

    def metadata(self, *names: str, version: int = 12, auto_create: bool = False) -> Any:
        topics = [m.MetadataRequest.MetadataRequestTopic(name=name) for name in names]
        request = m.MetadataRequest(topics=topics, allow_auto_topic_creation=auto_create)
        return self.call(ApiKey.METADATA, version, request)

    def topic_id(self, name: str) -> UUID:
        found: UUID = self.describe_topic(name).topic_id
        return found

    # -- records ---------------------------------------------------------------------------------------------

    def produce(self, topic: str, records: bytes | None, *, version: int = 9, **arguments: Any) -> Any:
        """One batch to one partition; the partition's answer."""
        answer = self.call(ApiKey.PRODUCE, version, produce_request(topic, records, **arguments))
        return answer.responses[0].partition_responses[0]

    def produced(self, topic: str, *values: bytes | None, partition: int = 0, **arguments: Any) -> int:
        """Write a batch of values; the base offset."""
        entry = self.produce(topic, batch(*values, **arguments), partition=partition)
        assert entry.error_code == 0, (entry.error_code, entry.error_message)
        return int(entry.base_offset)

    def fetch(self, topic: str, offset: int, *, version: int = 12, **arguments: Any) -> Any:
        """One partition; its answer."""
        answer = self.call(ApiKey.FETCH, version, fetch_request(topic, offset, **arguments))
        assert answer.error_code == 0
        return answer.responses[0].partitions[0]

    def values(self, topic: str, offset: int = 0, *, partition: int = 0) -> list[bytes | None]:
        """Every value from an offset to the end."""
        found: list[bytes | None] = []
        while True:
            entry = self.fetch(topic, offset, partition=partition)
            assert entry.error_code == 0, entry.error_code
            read = [record for record in read_all(entry.records) if record.offset >= offset]
            if not read:
                return found
            found += [record.value for record in read]
            offset = read[-1].offset + 1

    def list_offset(self, topic: str, timestamp: int, *, version: int = 9, **arguments: Any) -> Any:
        """One partition 0; its answer."""
        asked = m.ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=timestamp, **arguments)
        topics = [m.ListOffsetsRequest.ListOffsetsTopic(name=topic, partitions=[asked])]
        answer = self.call(ApiKey.LIST_OFFSETS, version, m.ListOffsetsRequest(replica_id=-1, topics=topics))
        return answer.topics[0].partitions[0]

    def producer_id(self) -> tuple[int, int]:
        """A fresh (producer id, epoch)."""
        request = m.InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)
        answer = self.call(ApiKey.INIT_PRODUCER_ID, 4, request)
        assert answer.error_code == 0
        return answer.producer_id, answer.producer_epoch

    # -- groups ----------------------------------------------------------------------------------------------

    def commit(self, group: str, topic: str, offset: int, metadata: str = "") -> int:
        """Commit outside a generation; the error code."""
        part = m.OffsetCommitRequest.OffsetCommitRequestPartition(
            partition_index=0, committed_offset=offset, committed_metadata=metadata, committed_leader_epoch=0
        )
        topics = [m.OffsetCommitRequest.OffsetCommitRequestTopic(name=topic, partitions=[part])]
        request = m.OffsetCommitRequest(group_id=group, topics=topics)
        return int(self.call(ApiKey.OFFSET_COMMIT, 8, request).topics[0].partitions[0].error_code)

    def committed(self, group: str, topic: str) -> Any:
        """The committed entry of partition 0."""
        topics = [m.OffsetFetchRequest.OffsetFetchRequestTopic(name=topic, partition_indexes=[0])]
        answer = self.call(ApiKey.OFFSET_FETCH, 7, m.OffsetFetchRequest(group_id=group, topics=topics))
        return answer.topics[0].partitions[0]

    # -- security --------------------------------------------------------------------------------------------

    def create_user(self, name: str | None = None, password: str = "Pass-word 42!") -> Account:
        """A user with both mechanisms and no rights."""
        name = name or fresh("user")
        salt = secrets.token_bytes(16)
        upsert = m.AlterUserScramCredentialsRequest.ScramCredentialUpsertion
        # One user may appear once in a request (92), so each mechanism is a request of its own.
        for mechanism in ScramMechanism:
            salted = salted_password(mechanism, password, salt, ITERATIONS)
            entry = upsert(
                name=name,
                mechanism=mechanism.code,
                iterations=ITERATIONS,
                salt=salt,
                salted_password=salted,
            )
            request = m.AlterUserScramCredentialsRequest(upsertions=[entry])
            result = self.call(ApiKey.ALTER_USER_SCRAM_CREDENTIALS, 0, request).results[0]
            assert result.error_code == 0, (result.error_code, result.error_message)
        return Account(name, password)

    def allow(
        self,
        user: str,
        operation: Operation,
        kind: ResourceType,
        name: str,
        *,
        permission: Permission = Permission.ALLOW,
        pattern: PatternType = PatternType.LITERAL,
    ) -> None:
        """Store one rule."""
        rule = m.CreateAclsRequest.AclCreation(
            resource_type=kind,
            resource_name=name,
            resource_pattern_type=pattern,
            principal=f"User:{user}",
            host="*",
            operation=operation,
            permission_type=permission,
        )
        result = self.call(ApiKey.CREATE_ACLS, 3, m.CreateAclsRequest(creations=[rule])).results[0]
        assert result.error_code == 0, (result.error_code, result.error_message)

    def revoke_all(self, user: str) -> None:
        """Remove every rule of a user."""
        matching = m.DeleteAclsRequest.DeleteAclsFilter(
            resource_type_filter=ResourceType.ANY,
            resource_name_filter=None,
            pattern_type_filter=PatternType.ANY,
            principal_filter=f"User:{user}",
            host_filter=None,
            operation=Operation.ANY,
            permission_type=Permission.ANY,
        )
        result = self.call(ApiKey.DELETE_ACLS, 3, m.DeleteAclsRequest(filters=[matching]))
        assert result.filter_results[0].error_code == 0
