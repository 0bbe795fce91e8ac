"""The Java client: the reference, here in its newest release, which asks for ApiVersions 5 first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.disk import codecs_on_disk
from tests.interop.groups import SIZES, assert_history
from tests.interop.programs import JavaPrograms
from tests.interop.reference import Reference
from tests.interop.samples import CODECS, Sample, samples
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

PARTITIONS = 6


@pytest.fixture
def properties(tmp_path: Path) -> Path:
    return tmp_path / "client.properties"


@pytest.mark.parametrize("codec", CODECS)
def test_produce_consume(
    java: JavaPrograms,
    properties: Path,
    user: Connection,
    broker: ShippedBroker,
    reference: Reference,
    topic: str,
    codec: str,
) -> None:
    sent = samples()
    records = [row.to_json() for row in sent]
    produced = java.run("produce", user, properties, topic=topic, codec=codec, records=records)
    assert produced == {"offsets": list(range(len(sent)))}
    assert reference.read(topic) == sent
    consumed = java.run("consume", user, properties, topic=topic, group=topic, count=len(sent))
    assert [Sample.from_json(row) for row in consumed["records"]] == sent
    assert codecs_on_disk(broker.data, reference.topic_id(topic)) == {codec}


@pytest.mark.parametrize("assignor", ["RangeAssignor", "CooperativeStickyAssignor"])
def test_group_members_join_and_leave(
    java: JavaPrograms, properties: Path, user: Connection, make_topic: Callable[..., str], assignor: str
) -> None:
    topic = make_topic(PARTITIONS)
    result = java.run(
        "group",
        user,
        properties,
        topic=topic,
        group=topic,
        partitions=PARTITIONS,
        sizes=list(SIZES),
        assignor=assignor,
    )
    assert_history(result["history"], PARTITIONS)


def test_idempotent_produce_across_restart(
    java: JavaPrograms, properties: Path, own_broker: ShippedBroker
) -> None:
    reference = Reference(own_broker.connection())
    topic = reference.create_topic("steady")
    count, restarted_at = 2000, 500
    program = java.start("steady", own_broker.connection(), properties, topic=topic, count=count)
    while program.line()["sent"] < restarted_at:
        pass
    own_broker.restart()
    assert program.result() == {"sent": count}
    assert [row.value for row in reference.read(topic)] == [str(index).encode() for index in range(count)]


def test_admin(java: JavaPrograms, properties: Path, broker: ShippedBroker, name: str) -> None:
    result = java.run("admin", broker.connection(), properties, topic=name, group=name)
    assert result == {
        "listed": True,
        "partitions": 3,
        "retention": "7200000",
        "byTime": 1,
        "high": 3,
        "maxTimestamp": 2,
        "committed": 2,
        "metadata": "noted",
        "low": 1,
        "grouped": True,
        "state": "Empty",
        "ungrouped": True,
        "principals": ["User:bob"],
        "removed": 1,
        "iterations": 8192,
        "cluster": broker.ready["cluster_id"],
        "brokers": 1,
        "logDirs": True,
        "gone": True,
    }


def test_wrong_password_is_refused(
    java: JavaPrograms, properties: Path, wrong_password: Connection, topic: str
) -> None:
    result = java.run("fails", wrong_password, properties, topic=topic)
    assert result["failed"]
    assert result["error"].startswith("SaslAuthenticationException")


def test_wrong_ca_is_refused(java: JavaPrograms, properties: Path, wrong_ca: Connection, topic: str) -> None:
    result = java.run("fails", wrong_ca, properties, topic=topic)
    assert result["failed"]
    assert result["error"].startswith("SslAuthenticationException")


def test_denied_topic(java: JavaPrograms, properties: Path, user: Connection, secret_topic: str) -> None:
    result = java.run("fails", user, properties, topic=secret_topic)
    assert result["failed"]
    assert result["error"].startswith("TopicAuthorizationException")


def test_transactions_are_refused_quickly(
    java: JavaPrograms, properties: Path, broker: ShippedBroker
) -> None:
    result = java.run("transaction", broker.connection(), properties, id="open-transaction")
    assert result["failed"]
    assert "Timeout" not in result["error"]
    assert result["seconds"] < 5
