"""kafkajs and @platformatic/kafka: one speaks only old protocol versions, the other only new ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.interop.disk import codecs_on_disk
from tests.interop.groups import SIZES, assert_history
from tests.interop.programs import NodePrograms
from tests.interop.reference import Reference
from tests.interop.samples import CODECS, Sample, samples
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

PLATFORMATIC_NODE = (22, 22)  # its package asks for at least this
PARTITIONS = 6

each_client = pytest.mark.parametrize("client", ["kafkajs", "platformatic"])


@pytest.fixture(autouse=True)
def _node_is_new_enough(node: NodePrograms, request: pytest.FixtureRequest) -> None:
    client = request.node.callspec.params.get("client")
    if client == "platformatic" and node.version() < PLATFORMATIC_NODE:
        pytest.skip(f"@platformatic/kafka needs Node.js {PLATFORMATIC_NODE}, this is {node.version()}")


@each_client
@pytest.mark.parametrize("codec", CODECS)
def test_produce_consume(
    node: NodePrograms,
    user: Connection,
    broker: ShippedBroker,
    reference: Reference,
    topic: str,
    client: str,
    codec: str,
) -> None:
    sent = samples()
    records = [row.to_json() for row in sent]
    node.run(client, "produce", user, topic=topic, codec=codec, records=records)
    assert reference.read(topic) == sent
    got = node.run(client, "consume", user, topic=topic, group=topic, count=len(sent))
    assert [Sample.from_json(row) for row in got["records"]] == sent
    assert codecs_on_disk(broker.data, reference.topic_id(topic)) == {codec}


@each_client
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_both_mechanisms(
    node: NodePrograms, broker: ShippedBroker, topic: str, client: str, mechanism: str
) -> None:
    connection = replace(broker.connection(), mechanism=mechanism)
    records = [row.to_json() for row in samples(1)]
    result = node.run(client, "produce", connection, topic=topic, codec="none", records=records)
    assert result == {"offsets": [0]}


@each_client
def test_group_members_join_and_leave(
    node: NodePrograms, user: Connection, make_topic: Callable[..., str], client: str
) -> None:
    topic = make_topic(PARTITIONS)
    result = node.run(
        client, "group", user, topic=topic, group=topic, partitions=PARTITIONS, sizes=list(SIZES)
    )
    assert_history(result["history"], PARTITIONS)


@each_client
def test_idempotent_produce_across_restart(
    node: NodePrograms, own_broker: ShippedBroker, client: str
) -> None:
    reference = Reference(own_broker.connection())
    topic = reference.create_topic("steady")
    count, restarted_at = 1000, 300
    program = node.start(client, "steady", own_broker.connection(), topic=topic, count=count)
    while program.line()["sent"] < restarted_at:
        pass
    own_broker.restart()
    assert program.result() == {"sent": count}
    assert [row.value for row in reference.read(topic)] == [str(index).encode() for index in range(count)]


@each_client
def test_admin(node: NodePrograms, broker: ShippedBroker, name: str, client: str) -> None:
    result = node.run(client, "admin", broker.connection(), topic=name, group=name)
    expected = {
        "created": True,
        "listed": True,
        "partitions": 3,
        "retention": "7200000",
        "byTime": 1,
        "committed": 2,
        "low": 1,
        "grouped": True,
        "ungrouped": True,
        "brokers": 1,
        "cluster": broker.ready["cluster_id"],
        "principals": ["User:bob"],
        "removed": 1,
        "gone": True,
    }
    numbers = {"byTime", "committed", "low"}
    got = {key: int(result[key]) if key in numbers else result[key] for key in expected}
    assert got == expected
    assert str(result["state"]).lower() == "empty"


@each_client
def test_wrong_password_is_refused(
    node: NodePrograms, wrong_password: Connection, topic: str, client: str
) -> None:
    result = node.run(client, "fails", wrong_password, topic=topic)
    assert result["failed"]
    assert "auth" in result["error"].lower()


@each_client
def test_wrong_ca_is_refused(node: NodePrograms, wrong_ca: Connection, topic: str, client: str) -> None:
    result = node.run(client, "fails", wrong_ca, topic=topic)
    assert result["failed"]
    assert any(word in result["error"].lower() for word in ("certificate", "signature", "self-signed"))


@each_client
def test_denied_topic(node: NodePrograms, user: Connection, secret_topic: str, client: str) -> None:
    result = node.run(client, "fails", user, topic=secret_topic)
    assert result["failed"]
    assert "authoriz" in result["error"].lower()


@each_client
def test_transactions_are_refused(node: NodePrograms, broker: ShippedBroker, topic: str, client: str) -> None:
    result = node.run(client, "transaction", broker.connection(), id="open-transaction", topic=topic)
    assert result["failed"]
    assert result["seconds"] < 15  # the five seconds of the promise are for Java, librdkafka and aiokafka
