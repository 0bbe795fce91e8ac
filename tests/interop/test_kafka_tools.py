"""Kafka's own command line tools, unchanged, against the shipped broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.programs import JavaPrograms
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
}
# The tools that were renamed their configuration option later than others.
_CONFIG_OPTION = {"kafka-cluster": "--config"}

Run = Callable[..., str]


@pytest.fixture
def run(java: JavaPrograms, broker: ShippedBroker, tmp_path: Path) -> Run:
    """Run a tool as the administrator (or `connection`); returns its output, fails with it."""

    def call(tool: str, *arguments: str, text: str = "", connection: Connection | None = None) -> str:
        connection = connection or broker.connection()
        file = connection.java_file(tmp_path / "command.properties")
        option = _CONFIG_OPTION.get(tool, "--command-config")
        where = ["--bootstrap-server", connection.bootstrap, option, str(file)]
        done = java.tool(TOOLS[tool], *arguments, *where, text=text)
        assert done.returncode == 0, f"{tool} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    return call


def test_topics(run: Run, name: str) -> None:
    run(
        "kafka-topics",
        "--create",
        "--topic",
        name,
        "--partitions",
        "2",
        "--config",
        "cleanup.policy=compact",
    )
    assert name in run("kafka-topics", "--list").split()
    run("kafka-topics", "--alter", "--topic", name, "--partitions", "3")
    described = run("kafka-topics", "--describe", "--topic", name)
    assert "PartitionCount: 3" in described
    assert "cleanup.policy=compact" in described
    run("kafka-topics", "--delete", "--topic", name)
    assert name not in run("kafka-topics", "--list").split()


def test_configs_and_users(run: Run, topic: str) -> None:
    entity = ["--entity-type", "topics", "--entity-name", topic]
    run("kafka-configs", "--alter", *entity, "--add-config", "retention.ms=7200000")
    assert "retention.ms=7200000" in run("kafka-configs", "--describe", *entity)
    run("kafka-configs", "--alter", *entity, "--delete-config", "retention.ms")
    assert "retention.ms=7200000" not in run("kafka-configs", "--describe", *entity)
    user = ["--entity-type", "users", "--entity-name", f"tool-{topic}"]
    run("kafka-configs", "--alter", *user, "--add-config", "SCRAM-SHA-512=[iterations=8192,password=Some-1]")
    run("kafka-configs", "--alter", *user, "--delete-config", "SCRAM-SHA-512")


def test_quotas(run: Run, topic: str) -> None:
    user = ["--entity-type", "users", "--entity-name", f"tool-{topic}"]
    run("kafka-configs", "--alter", *user, "--add-config", "producer_byte_rate=1048576,request_percentage=50")
    described = run("kafka-configs", "--describe", *user)
    assert "producer_byte_rate=1048576.0" in described
    assert "request_percentage=50.0" in described
    run("kafka-configs", "--alter", *user, "--delete-config", "producer_byte_rate,request_percentage")
    assert "producer_byte_rate" not in run("kafka-configs", "--describe", *user)
    everyone = ["--entity-type", "clients", "--entity-default"]
    run("kafka-configs", "--alter", *everyone, "--add-config", "consumer_byte_rate=1e12")
    assert "consumer_byte_rate" in run("kafka-configs", "--describe", *everyone)
    run("kafka-configs", "--alter", *everyone, "--delete-config", "consumer_byte_rate")
    address = ["--entity-type", "ips", "--entity-name", "192.0.2.1"]
    run("kafka-configs", "--alter", *address, "--add-config", "connection_creation_rate=10")
    assert "connection_creation_rate=10.0" in run("kafka-configs", "--describe", *address)


def test_acls(run: Run, topic: str) -> None:
    what = ["--allow-principal", "User:bob", "--operation", "Read", "--topic", topic]
    run("kafka-acls", "--add", *what)
    assert "principal=User:bob" in run("kafka-acls", "--list", "--topic", topic)
    run("kafka-acls", "--remove", "--force", *what)
    assert "principal=User:bob" not in run("kafka-acls", "--list", "--topic", topic)


def test_console_producer_and_consumer_and_groups(run: Run, topic: str) -> None:
    run("kafka-console-producer", "--topic", topic, text="one\ntwo\nthree\n")
    got = run(
        "kafka-console-consumer",
        "--topic",
        topic,
        "--from-beginning",
        "--max-messages",
        "3",
        "--timeout-ms",
        "20000",
        "--group",
        topic,
    )
    assert got.split() == ["one", "two", "three"]
    assert topic in run("kafka-consumer-groups", "--list").split()
    described = run("kafka-consumer-groups", "--describe", "--group", topic)
    [row] = [line.split() for line in described.splitlines() if f"{topic} " in line and " 0 " in line]
    assert row[3:6] == ["3", "3", "0"]  # committed, end, lag
    run(
        "kafka-consumer-groups",
        "--reset-offsets",
        "--group",
        topic,
        "--topic",
        topic,
        "--to-earliest",
        "--execute",
    )
    assert topic in run("kafka-groups", "--list")
    run("kafka-consumer-groups", "--delete", "--group", topic)
    assert topic not in run("kafka-consumer-groups", "--list").split()


def test_offsets_and_records(run: Run, topic: str, tmp_path: Path) -> None:
    run("kafka-console-producer", "--topic", topic, text="one\ntwo\nthree\n")
    assert f"{topic}:0:3" in run("kafka-get-offsets", "--topic", topic)
    file = tmp_path / "delete.json"
    file.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 2}]}))
    run("kafka-delete-records", "--offset-json-file", str(file))
    assert f"{topic}:0:2" in run("kafka-get-offsets", "--topic", topic, "--time", "earliest")


def test_cluster_tools(run: Run, broker: ShippedBroker, topic: str) -> None:
    assert broker.ready["cluster_id"] in run("kafka-cluster", "cluster-id")
    assert "Produce(0): 0 to 11" in run("kafka-broker-api-versions")
    described = run("kafka-log-dirs", "--describe", "--topic-list", topic)
    assert f'"{topic}-0"' in described
    assert "No partition reassignments found." in run("kafka-reassign-partitions", "--list")
    run("kafka-leader-election", "--election-type", "preferred", "--topic", topic, "--partition", "0")


def test_producer_performance(run: Run, topic: str) -> None:
    output = run(
        "kafka-producer-perf-test",
        "--topic",
        topic,
        "--num-records",
        "5000",
        "--record-size",
        "1000",
        "--throughput",
        "-1",
    )
    assert "5000 records sent" in output
