"""The shipped `rivven` command against the shipped broker: every documented command that talks to a
broker."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.connection import Connection

COMMAND_SECONDS_MAX = 60
LONG = "two " * 100  # librdkafka leaves batches alone that compression would not make smaller


@dataclass(frozen=True, slots=True)
class Cli:
    """The command with the client file of one user."""

    properties: Path
    home: Path

    def __call__(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RIVVEN_")}
        return subprocess.run(
            [RIVVEN, "--command-config", self.properties, *arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
            cwd=self.home,
            env=environment,
        )

    def ok(self, *arguments: str, text: str | None = None) -> str:
        done = self(*arguments, text=text)
        assert done.returncode == 0, f"{arguments}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def json(self, *arguments: str, text: str | None = None) -> Any:
        return json.loads(self.ok(*arguments, "-o", "json", text=text))

    def records(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ok("consume", *arguments, "-o", "json").splitlines()]

    def refused(self, code: int, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout} {done.stderr}"
        lines = done.stderr.splitlines()
        assert len(lines) <= 2
        assert lines[0].startswith("rivven: ")
        return done.stderr


@pytest.fixture
def make_cli(tmp_path: Path) -> Callable[[Connection], Cli]:
    return lambda connection: Cli(
        connection.librdkafka_file(tmp_path / f"{uuid.uuid4()}.properties"), tmp_path
    )


@pytest.fixture
def cli(broker: ShippedBroker, make_cli: Callable[[Connection], Cli]) -> Cli:
    return make_cli(broker.connection())


@pytest.fixture
def topic(cli: Cli) -> str:
    name = f"cli-{uuid.uuid4().hex[:8]}"
    cli.ok("topic", "create", name, "--partitions", "2")
    return name


def test_topics_from_creation_to_deletion(cli: Cli) -> None:
    name = f"cli-{uuid.uuid4().hex[:8]}"
    assert cli.json("topic", "create", name, "--validate-only") == {"topic": name, "created": False}
    cli.refused(13, "topic", "describe", name)
    cli.ok("topic", "create", name, "--partitions", "3", "--config", "retention.ms=86400000")
    cli.refused(14, "topic", "create", name)
    assert {"name": name, "partitions": 3, "replicas": 1, "internal": False} in cli.json("topic", "list")
    cli.ok("topic", "alter", name, "--set", "max.message.bytes=2000", "--unset", "retention.ms")
    assert "is not a topic setting" in cli.refused(16, "topic", "alter", name, "--set", "no.such=1")
    cli.ok("topic", "add-partitions", name, "4")
    cli.refused(16, "topic", "add-partitions", name, "4")
    info = cli.json("topic", "describe", name)
    assert info["settings"] == {"max.message.bytes": "2000"}
    assert [part["partition"] for part in info["partitions"]] == [0, 1, 2, 3]
    assert info["partitions"][0]["in_sync"] == [1]
    everything = cli.json("topic", "describe", name, "--all-settings")["settings"]
    assert everything["retention.ms"] == "604800000"
    assert "PARTITION  LEADER" in cli.ok("topic", "describe", name)
    assert "Add --yes" in cli.refused(2, "topic", "delete", name)
    assert cli.json("topic", "delete", name, "--yes") == {"deleted": [name]}
    cli.refused(13, "topic", "delete", name, "--yes")


def test_records_from_arguments_and_lines_come_back(cli: Cli, topic: str) -> None:
    first = cli.json(
        "produce",
        topic,
        "hello world",
        "--key",
        "k",
        "--header",
        "a=1",
        "--header",
        "a=2",
        "--partition",
        "1",
    )
    assert first == {"topic": topic, "records": 1, "partition": 1, "offset": 0}
    cli.ok(
        "produce",
        topic,
        "--key-separator",
        ":",
        "--compression",
        "zstd",
        "--partition",
        "0",
        text="x:1\ny:2:3\n",
    )
    cli.ok("produce", topic, "--key", "x", "--tombstone", "--partition", "0")
    (record,) = cli.records(topic, "--partition", "1", "--from-beginning", "--exit-at-end")
    assert record["timestamp_ms"] > 1_700_000_000_000
    assert {key: record[key] for key in ("key", "value", "offset")} == {
        "key": "k",
        "value": "hello world",
        "offset": 0,
    }
    assert record["headers"] == [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]
    others = cli.records(topic, "--partition", "0", "--from-beginning", "--exit-at-end")
    assert [(one["key"], one["value"]) for one in others] == [("x", "1"), ("y", "2:3"), ("x", None)]
    assert (
        cli.ok("consume", topic, "--partition", "0", "--offset", "1", "--count", "1", "--keys", "--headers")
        == "\ty\t2:3\n"
    )
    assert "value: '1'" in cli.ok("consume", topic, "--from-beginning", "--exit-at-end", "-o", "yaml")


def test_places_in_time_and_the_end_of_an_empty_topic(cli: Cli, topic: str) -> None:
    assert cli.records(topic, "--from-beginning", "--exit-at-end") == []
    cli.ok("produce", topic, "now")
    assert len(cli.records(topic, "--since", "10m", "--exit-at-end")) == 1
    assert cli.records(topic, "--since", "2100-01-01", "--exit-at-end") == []
    cli.refused(13, "consume", topic, "--partition", "9", "--exit-at-end")


def test_consuming_a_missing_topic_is_an_error_and_creates_nothing(cli: Cli) -> None:
    cli.refused(13, "consume", "cli-missing", "--exit-at-end")
    cli.refused(13, "consume", "cli-missing", "--exit-at-end", "--group", "cli-g")
    assert "cli-missing" not in cli.ok("topic", "list")


def test_binary_values_are_base64_in_json(cli: Cli, topic: str, broker: ShippedBroker) -> None:
    from confluent_kafka import Producer

    producer = Producer(broker.connection().librdkafka())
    producer.produce(topic, b"\xff\x00", partition=0)
    assert producer.flush(20) == 0
    (record,) = cli.records(topic, "--from-beginning", "--exit-at-end")
    assert record["value_base64"] == "/wA="


def test_groups_read_on_are_described_reset_and_deleted(cli: Cli, topic: str) -> None:
    group = f"group-{topic}"
    cli.ok("produce", topic, "--partition", "0", text="1\n2\n3\n")
    read = ["--group", group, "--exit-at-end"]
    assert [one["value"] for one in cli.records(topic, *read, "--from-beginning", "--count", "2")] == [
        "1",
        "2",
    ]
    assert [one["value"] for one in cli.records(topic, *read)] == ["3"]
    assert {"group": group, "state": "empty", "kind": "classic"} in cli.json("group", "list")
    info = cli.json("group", "describe", group)
    assert info["state"] == "empty"
    offsets = {one["partition"]: (one["committed"], one["end"], one["lag"]) for one in info["offsets"]}
    assert offsets[0] == (3, 3, 0)
    assert "COMMITTED" in cli.ok("group", "describe", group)

    planned = cli.json("group", "reset-offsets", group, "--shift-by", "-2", "--dry-run")
    assert planned[0] == {"topic": topic, "partition": 0, "from": 3, "to": 1}
    assert cli.records(topic, *read) == []
    cli.ok("group", "reset-offsets", group, "--shift-by", "-2", "--yes")
    assert [one["value"] for one in cli.records(topic, *read)] == ["2", "3"]
    cli.ok("group", "reset-offsets", group, "--topic", topic, "--to-earliest", "--yes")
    assert len(cli.records(topic, *read)) == 3
    for place, expected in ((["--to-latest"], 3), (["--to-offset", "2"], 2), (["--to-time", "1h"], 0)):
        rows = cli.json("group", "reset-offsets", group, *place, "--yes")
        assert rows[0]["to"] == expected
    cli.ok("group", "delete", group, "--yes")
    cli.refused(13, "group", "describe", group)
    cli.refused(13, "group", "delete", group, "--yes")
    cli.refused(13, "group", "reset-offsets", "cli-nobody", "--to-latest", "--yes")


def test_the_cluster_is_described(cli: Cli, broker: ShippedBroker) -> None:
    info = cli.json("cluster", "info")
    assert info["cluster_id"] == broker.ready["cluster_id"]
    assert info["nodes"] == [{"id": 1, "address": broker.connection().bootstrap}]
    assert "controller:" in cli.ok("cluster", "info")


def test_users_log_in_with_what_they_were_given_and_not_after_deletion(
    cli: Cli, broker: ShippedBroker, make_cli: Callable[[Connection], Cli], tmp_path: Path
) -> None:
    from tests.shipped.connection import Account

    made = cli.json("user", "create", "cli-bob", "--generate")
    assert made["mechanisms"] == ["SCRAM-SHA-256", "SCRAM-SHA-512"]
    bob = broker.connection(account=Account("cli-bob", made["password"]))
    assert make_cli(bob).json("topic", "list") == []
    cli.refused(14, "user", "create", "cli-bob", "--generate")
    (tmp_path / "password").write_text("Wonder-land 42!\n")
    cli.ok("user", "create", "cli-bob", "--replace", "--password-file", str(tmp_path / "password"))
    assert "invalid credentials" in make_cli(bob).refused(11, "topic", "list")
    new = broker.connection(account=Account("cli-bob", "Wonder-land 42!"))
    assert make_cli(new).json("topic", "list") == []
    users = {one["user"]: one["iterations"] for one in cli.json("user", "list")}
    assert users["cli-bob"] == {"SCRAM-SHA-256": 600000, "SCRAM-SHA-512": 600000}
    cli.ok("user", "create", "cli-one", "--generate", "--mechanism", "scram-sha-512")
    assert {one["user"]: one["mechanisms"] for one in cli.json("user", "list")}["cli-one"] == [
        "SCRAM-SHA-512"
    ]
    cli.ok("user", "delete", "cli-one", "--yes")
    cli.ok("user", "delete", "cli-bob", "--yes")
    cli.refused(13, "user", "delete", "cli-bob", "--yes")
    make_cli(new).refused(11, "topic", "list")


def test_rules_decide_and_can_be_listed_and_removed(
    cli: Cli, topic: str, broker: ShippedBroker, make_cli: Callable[[Connection], Cli]
) -> None:
    from tests.shipped.connection import Account

    password = cli.json("user", "create", "cli-eve", "--generate")["password"]
    eve = make_cli(broker.connection(account=Account("cli-eve", password)))
    cli.ok("produce", topic, "secret")
    eve.refused(12, "produce", topic, "x", "--partition", "0")
    rule = ["--principal", "user:cli-eve", "--resource"]
    added = cli.json(
        "acl", "add", *rule, f"topic:{topic[:-2]}*", "--action", "produce", "--action", "consume", "--allow"
    )
    assert [(one["operation"], one["pattern"]) for one in added] == [
        ("write", "prefixed"),
        ("read", "prefixed"),
    ]
    eve.ok("produce", topic, "x", "--partition", "0")
    assert len(eve.records(topic, "--from-beginning", "--exit-at-end")) == 2
    assert "group" in eve.refused(12, "consume", topic, "--group", "cli-g", "--exit-at-end")
    cli.ok("acl", "add", *rule, f"topic:{topic}", "--action", "produce", "--deny", "--host", "*")
    eve.refused(12, "produce", topic, "x", "--partition", "0")

    assert len(cli.json("acl", "list", "--principal", "user:cli-eve")) == 3
    matching = cli.json("acl", "list", "--resource", f"topic:{topic}", "--all-matching")
    assert len([one for one in matching if one["principal"] == "User:cli-eve"]) == 3
    assert len(cli.json("acl", "list", "--resource", f"topic:{topic}")) == 1
    removed = cli.json("acl", "remove", *rule, f"topic:{topic}", "--action", "produce", "--deny", "--yes")
    assert [one["permission"] for one in removed] == ["deny"]
    eve.ok("produce", topic, "x", "--partition", "0")
    assert len(cli.json("acl", "remove", "--principal", "user:cli-eve", "--yes")) == 2
    assert cli.json("acl", "remove", "--principal", "user:cli-eve", "--yes") == []


def test_a_rule_that_never_matches_is_stored_with_a_warning(cli: Cli, broker: ShippedBroker) -> None:
    who = ["--principal", "user:cli-nobody"]
    rule = ["--resource", "topic:orders-*", "--pattern", "literal", "--action", "consume", "--allow"]
    done = cli("acl", "add", *who, *rule)
    assert done.returncode == 0
    assert "warning: no topic can be called 'orders-*'" in done.stderr
    assert "a rule for User:cli-nobody will never match" in broker.logged()
    assert cli.json("acl", "remove", *who, "--yes"), "it was stored"


def test_a_prefix_that_is_a_star_is_stored_with_a_warning_as_kafka_stores_it(
    cli: Cli, broker: ShippedBroker
) -> None:
    """From Kafka's own tools and other clients; our command says right away that it means nothing."""
    binding = AclBinding(
        ResourceType.TOPIC,
        "*",
        ResourcePatternType.PREFIXED,
        "User:cli-star",
        "*",
        AclOperation.READ,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient(broker.connection().librdkafka())
    [stored] = admin.create_acls([binding]).values()
    stored.result(10)
    assert "a rule for User:cli-star will never match: prefixed '*'" in broker.logged()
    who = ["--principal", "user:cli-star"]
    assert [one["pattern"] for one in cli.json("acl", "list", *who)] == ["prefixed"]
    assert "matches nothing" in cli.refused(
        2,
        "acl",
        "add",
        *who,
        "--resource",
        "topic:*",
        "--pattern",
        "prefixed",
        "--action",
        "consume",
        "--allow",
    )
    assert len(cli.json("acl", "remove", *who, "--yes")) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["user", "list"],
        ["user", "create", "cli-x", "--generate"],
        ["user", "delete", "cli-x", "--yes"],
        ["acl", "list"],
        ["acl", "add", "--principal", "user:x", "--resource", "topic:x", "--action", "produce", "--allow"],
        ["topic", "create", "cli-not-mine"],
        ["group", "describe", "cli-not-mine"],
    ],
    ids=" ".join,
)
def test_what_a_user_may_not_do_is_denied(
    arguments: list[str], user: Connection, make_cli: Callable[[Connection], Cli]
) -> None:
    make_cli(user).refused(12, *arguments)


def test_a_wrong_certificate_authority_and_a_wrong_password_are_told_apart(
    broker: ShippedBroker, make_cli: Callable[[Connection], Cli], tmp_path: Path
) -> None:
    from tests.shipped.pki import make_pki

    wrong_ca = make_cli(broker.connection().with_ca(make_pki(tmp_path / "other").ca))
    assert "ssl.ca.location" in wrong_ca.refused(11, "topic", "list")
    wrong_password = make_cli(broker.connection().with_password("Wrong-42-password!"))
    for arguments in (["topic", "list"], ["produce", "t", "x"], ["consume", "t", "--exit-at-end"]):
        message = wrong_password.refused(11, *arguments)
        assert "invalid credentials" in message
        assert "Wrong-42" not in message


def test_the_java_file_works_too(broker: ShippedBroker, tmp_path: Path) -> None:
    connection = broker.connection()
    assert connection.account is not None
    path = tmp_path / "client-java.properties"
    path.write_text(
        f"bootstrap.servers={connection.bootstrap}\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="{connection.account.user}" password="{connection.account.password}";\n'
        f"ssl.truststore.type=PEM\nssl.truststore.location={connection.ca}\n"
    )
    assert Cli(path, tmp_path).json("cluster", "info")["controller"] == 1


def test_a_named_profile_is_used(broker: ShippedBroker, tmp_path: Path) -> None:
    connection = broker.connection()
    assert connection.account is not None
    directory = tmp_path / "rivven"
    directory.mkdir()
    (directory / "profiles.yaml").write_text(
        f"default: here\nprofiles:\n  here:\n    bootstrap.servers: {connection.bootstrap}\n"
        "    security.protocol: SASL_SSL\n    sasl.mechanism: SCRAM-SHA-512\n"
        f"    sasl.username: {connection.account.user}\n    sasl.password: env:TEST_SECRET\n"
        f"    ssl.ca.location: {connection.ca}\n"
    )
    done = subprocess.run(
        [RIVVEN, "cluster", "info", "-o", "json"],
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "TEST_SECRET": connection.account.password},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["controller"] == 1


def test_log_files_are_verified_and_dumped_when_the_broker_is_stopped(
    own_broker: ShippedBroker, make_cli: Callable[[Connection], Cli]
) -> None:
    cli = make_cli(own_broker.connection())
    cli.ok("topic", "create", "logged")
    cli.ok("produce", "logged", "--key-separator", ":", "--compression", "gzip", text=f"k:one\nk:{LONG}\n")
    assert "stop the broker first" in cli.refused(5, "log", "verify", str(own_broker.data))
    assert own_broker.stop() == 0
    report = cli.json("log", "verify", str(own_broker.data))
    assert not report["damaged"]
    assert report["records"] >= 2
    segments = sorted(own_broker.data.glob("partitions/*/*.log"))
    dumped = [
        json.loads(line)
        for line in cli.ok("log", "dump", *map(str, segments), "--records", "-o", "json").splitlines()
    ]
    (batch,) = [one for one in dumped if one["codec"] == "gzip"]
    assert [record["value"] for record in batch["record_list"]] == ["one", LONG]
    assert batch["crc"] == "ok"
    assert "codec=gzip" in cli.ok("log", "dump", batch["file"])

    path = Path(batch["file"])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = cli("log", "verify", str(own_broker.data), "-o", "json")
    assert done.returncode == 7
    damage = [one for one in json.loads(done.stdout)["findings"] if one["damage"]]
    assert damage[0]["path"] == str(path)
    done = cli("log", "dump", str(path))
    assert (done.returncode, "crc=wrong" in done.stdout) == (7, True)
    own_broker.start()


def test_no_password_reaches_the_log_of_the_broker(broker: ShippedBroker, cli: Cli) -> None:
    made = cli.json("user", "create", "cli-canary", "--generate")
    cli.ok("user", "delete", "cli-canary", "--yes")
    log = broker.log.read_text(errors="replace")
    assert made["password"] not in log
    assert broker.admin.password not in log
    assert "cli-canary" in log or "authenticated" in log  # the control: something of this was logged
