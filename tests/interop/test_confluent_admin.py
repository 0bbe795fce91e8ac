"""Administration through confluent-kafka: every call an operator's tool makes."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
)

from tests.interop.reference import Reference
from tests.interop.samples import samples
from tests.interop.test_confluent import consume, produce, subscriber
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

WAIT = 15.0


def only(futures: dict[Any, Any]) -> Any:
    """The answer of the single future in `futures`."""
    [future] = futures.values()
    return future.result(WAIT)


def code_of(futures: dict[Any, Any]) -> int:
    with pytest.raises(KafkaException) as caught:
        only(futures)
    return int(caught.value.args[0].code())


def test_topic_life(reference: Reference, name: str) -> None:
    admin = reference.admin
    only(admin.create_topics([NewTopic(name, 2, 1)], validate_only=True))
    assert name not in admin.list_topics(timeout=WAIT).topics
    only(admin.create_topics([NewTopic(name, 2, 1, config={"retention.ms": "3600000"})]))
    assert code_of(admin.create_topics([NewTopic(name, 2, 1)])) == KafkaError.TOPIC_ALREADY_EXISTS
    only(admin.create_partitions([NewPartitions(name, 5)]))
    assert code_of(admin.create_partitions([NewPartitions(name, 4)])) == KafkaError.INVALID_PARTITIONS
    described = only(admin.describe_topics(TopicCollection([name])))
    assert len(described.partitions) == 5
    only(admin.delete_topics([name]))
    assert name not in admin.list_topics(timeout=WAIT).topics


@pytest.mark.parametrize(
    ("topic", "partitions", "config", "code"),
    [
        ("bad name!", 1, {}, KafkaError.TOPIC_EXCEPTION),
        ("ok-name", 0, {}, KafkaError.INVALID_PARTITIONS),
        ("ok-name", 1, {"no.such.setting": "1"}, KafkaError.INVALID_CONFIG),
        ("ok-name", 1, {"retention.ms": "soon"}, KafkaError.INVALID_CONFIG),
        ("ok-name", 1, {"unclean.leader.election.enable": "true"}, KafkaError.INVALID_CONFIG),
    ],
)
def test_refused_topics(
    reference: Reference, topic: str, partitions: int, config: dict[str, str], code: int
) -> None:
    assert code_of(reference.admin.create_topics([NewTopic(topic, partitions, 1, config=config)])) == code


def test_replication_beyond_the_cluster_is_refused(reference: Reference, name: str) -> None:
    code = code_of(reference.admin.create_topics([NewTopic(name, 1, 3)]))
    assert code == KafkaError.INVALID_REPLICATION_FACTOR


def test_topic_config(reference: Reference, topic: str) -> None:
    admin = reference.admin
    change = ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[change])
    only(admin.incremental_alter_configs([resource]))
    entries = only(admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]))
    assert entries["retention.ms"].value == "7200000"
    assert not entries["retention.ms"].is_default
    assert entries["cleanup.policy"].is_default
    assert entries["cleanup.policy"].value == "delete"


def test_broker_config(reference: Reference) -> None:
    [broker] = reference.admin.list_topics(timeout=WAIT).brokers
    entries = only(
        reference.admin.describe_configs([ConfigResource(ConfigResource.Type.BROKER, str(broker))])
    )
    assert entries["auto.create.topics.enable"].value == "false"
    assert entries["auto.create.topics.enable"].is_read_only


def test_delete_records_and_list_offsets(reference: Reference, user: Connection, topic: str) -> None:
    rows = samples(10)
    produce(user, topic, rows)
    partition = TopicPartition(topic, 0, 6)
    assert only(reference.admin.delete_records([partition])).low_watermark == 6
    for spec, offset in (
        (OffsetSpec.earliest(), 6),
        (OffsetSpec.latest(), 10),
        (OffsetSpec.for_timestamp(rows[8].timestamp), 8),
        (OffsetSpec.max_timestamp(), 9),
    ):
        assert only(reference.admin.list_offsets({TopicPartition(topic, 0): spec})).offset == offset


def test_groups(reference: Reference, user: Connection, topic: str) -> None:
    admin = reference.admin
    produce(user, topic, samples(5))
    member = subscriber(user, topic, topic)
    consume(member, 5)
    member.commit(asynchronous=False)
    described = only(admin.describe_consumer_groups([topic]))
    assert described.state.name == "STABLE"
    assert [row.topic for row in described.members[0].assignment.topic_partitions] == [topic]
    assert topic in {row.group_id for row in admin.list_consumer_groups().result(WAIT).valid}
    assert code_of(admin.delete_consumer_groups([topic])) == KafkaError.NON_EMPTY_GROUP
    member.close()
    asked = ConsumerGroupTopicPartitions(topic)
    [committed] = only(admin.list_consumer_group_offsets([asked])).topic_partitions
    assert (committed.topic, committed.offset) == (topic, 5)
    reset = ConsumerGroupTopicPartitions(topic, [TopicPartition(topic, 0, 2)])
    only(admin.alter_consumer_group_offsets([reset]))
    [committed] = only(admin.list_consumer_group_offsets([asked])).topic_partitions
    assert committed.offset == 2
    only(admin.delete_consumer_groups([topic]))
    assert topic not in {row.group_id for row in admin.list_consumer_groups().result(WAIT).valid}


def test_acls(reference: Reference, topic: str) -> None:
    admin = reference.admin
    binding = reference.allow("bob", AclOperation.READ, ResourceType.TOPIC, topic)
    condition = AclBindingFilter(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        None,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    assert admin.describe_acls(condition).result(WAIT) == [binding]
    assert only(admin.delete_acls([condition])) == [binding]
    assert admin.describe_acls(condition).result(WAIT) == []


def test_deny_wins(broker: ShippedBroker, reference: Reference, topic: str) -> None:
    account = reference.create_user("denied", "Some-thing 1!")
    reference.allow("denied", AclOperation.ALL, ResourceType.TOPIC, "*")
    reference.allow(
        "denied", AclOperation.WRITE, ResourceType.TOPIC, topic, permission=AclPermissionType.DENY
    )
    with pytest.raises(KafkaException) as caught:
        produce(broker.connection(account=account), topic, samples(1))
    assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_users(broker: ShippedBroker, reference: Reference, topic: str) -> None:
    admin = reference.admin
    account = reference.create_user("carol", "First-word 1!")
    described = only(admin.describe_user_scram_credentials(["carol"]))
    assert {row.mechanism for row in described.scram_credential_infos} == {
        ScramMechanism.SCRAM_SHA_256,
        ScramMechanism.SCRAM_SHA_512,
    }
    connection = broker.connection(account=account)
    assert AdminClient(connection.librdkafka()).list_topics(timeout=WAIT).topics == {}
    reference.create_user("carol", "Second-word 2!")
    with pytest.raises(KafkaException):
        AdminClient(connection.librdkafka()).list_topics(timeout=3)
    only(
        admin.alter_user_scram_credentials(
            [UserScramCredentialDeletion("carol", ScramMechanism.SCRAM_SHA_256)]
        )
    )
    with pytest.raises(KafkaException):
        AdminClient(connection.with_password("Second-word 2!").librdkafka()).list_topics(timeout=3)


def test_cluster(broker: ShippedBroker, reference: Reference) -> None:
    described = reference.admin.describe_cluster(include_authorized_operations=True).result(WAIT)
    assert described.cluster_id == broker.ready["cluster_id"]
    [node] = described.nodes
    assert f"{node.host}:{node.port}" == broker.connection().bootstrap
    assert AclOperation.CREATE in described.authorized_operations


def test_a_stranger_sees_nothing(stranger: Connection, topic: str) -> None:
    admin = AdminClient(stranger.librdkafka())
    assert admin.list_topics(timeout=WAIT).topics == {}
    assert code_of(admin.create_topics([NewTopic("mine", 1, 1)])) in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    )
    assert code_of(admin.delete_topics([topic])) in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
