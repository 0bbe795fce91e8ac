"""A candidate beside what is in force, and recorded decisions put to it: the shipped broker and command."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.shipped.broker import RIVVEN, BrokerDidNotStart, ShippedBroker
from tests.shipped.connection import Account

pytestmark = pytest.mark.interop

WAIT = 15.0
WRITER = Account("writer", "Str0ng-password")
CANDIDATE = """
@id("mine-only") permit(principal == User::"writer", action == Action::"Write", resource == Topic::"mine");
@id("new") permit(principal == User::"writer", action == Action::"Write", resource == Topic::"new");
"""


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("policies")
    (directory / "candidate.cedar").write_text(CANDIDATE)
    return directory


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Iterator[ShippedBroker]:
    """In force: an ACL for the topics mine and theirs. Tried: policies for the topics mine and new."""
    authorization = {
        "super_users": ["User:admin"],
        "shadow": {"authorizers": ["cedar"], "cedar": {"policy_dir": str(policies)}},
    }
    with ShippedBroker(tmp_path_factory.mktemp("broker"), extra={"authorization": authorization}) as broker:
        admin = AdminClient(broker.connection().librdkafka())
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        upsertion = UserScramCredentialUpsertion(WRITER.user, scram, WRITER.password.encode())
        rules = [
            AclBinding(
                ResourceType.TOPIC,
                name,
                ResourcePatternType.LITERAL,
                "User:writer",
                "*",
                AclOperation.WRITE,
                AclPermissionType.ALLOW,
            )
            for name in ("mine", "theirs")
        ]
        for futures in (
            admin.alter_user_scram_credentials([upsertion]),
            admin.create_topics([NewTopic(name, 1, 1) for name in ("mine", "theirs", "new")]),
            admin.create_acls(rules),
        ):
            for future in futures.values():
                future.result(WAIT)
        yield broker


def produce(broker: ShippedBroker, topic: str) -> KafkaError | None:
    reports: list[KafkaError | None] = []
    producer = Producer(broker.connection(account=WRITER).librdkafka(message_timeout_ms=5000))
    producer.produce(topic, b"value", on_delivery=lambda error, _message: reports.append(error))
    producer.flush(WAIT)
    return reports[0]


def compared(broker: ShippedBroker) -> dict[str, float]:
    """The shadow's counters by outcome."""
    host, port = broker.metrics_address()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=WAIT) as answer:
        text = answer.read().decode()
    name = "rivven_shadow_decisions_total"
    lines = (line for line in text.splitlines() if line.startswith(f"{name}{{"))
    return {line.partition('outcome="')[2].partition('"')[0]: float(line.split()[-1]) for line in lines}


def replayed(broker: ShippedBroker, tried: Path, option: str = "--policies") -> tuple[int, dict[str, Any]]:
    command = ["authz", "replay", "--since", "1h", option, tried, "--audit-log", broker.data / "audit"]
    done = subprocess.run(
        [RIVVEN, *command, "-o", "json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_answers_stay_and_differences_are_counted_logged_and_audited(broker: ShippedBroker) -> None:
    assert produce(broker, "mine") is None
    assert produce(broker, "theirs") is None, "the candidate has no say"
    error = produce(broker, "new")
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, "nor when it would allow"
    deadline = time.monotonic() + WAIT
    while not {"same", "would_deny", "would_allow"} <= set(compared(broker)):
        assert time.monotonic() < deadline, (compared(broker), broker.tail())
        time.sleep(0.05)
    assert "the candidate would deny" in broker.logged()
    assert "policy new" in broker.logged()
    events: list[dict[str, Any]] = []
    while not {"would_deny", "would_allow"} <= {event["result"] for event in events}:
        assert time.monotonic() < deadline
        lines = (broker.data / "audit" / "audit.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if '"event_type":"authorization"' in line]
    denied = next(event for event in events if event["result"] == "would_deny")
    assert (denied["principal"], denied["resource"]) == ("user:writer", "topic:theirs")
    assert denied["reason"] == "no policy permits it"
    assert "ALLOW" in denied["details"]["in_force"]


def test_recorded_decisions_change_where_the_candidate_differs(
    broker: ShippedBroker, policies: Path, tmp_path: Path
) -> None:
    assert produce(broker, "theirs") is None
    deadline = time.monotonic() + WAIT
    code, found = replayed(broker, policies)
    while not found["changes"]:  # the trail writes behind
        assert time.monotonic() < deadline
        code, found = replayed(broker, policies)
    assert code == 1
    assert found["cannot_tell"] == found["not_understood"] == 0
    assert found["same"] > 0
    assert {row["resource"] for row in found["rows"]} <= {"topic:theirs", "topic:new"}
    (tmp_path / "wider.cedar").write_text(
        CANDIDATE.replace('"new"', '"theirs"')
        + '@id("no") forbid(principal, action, resource == Topic::"new");'
    )
    code, found = replayed(broker, tmp_path)
    assert (code, found["changes"], found["cannot_tell"]) == (0, 0, 0)


def test_recorded_decisions_stay_under_the_rules_that_made_them(
    broker: ShippedBroker, tmp_path: Path
) -> None:
    """What `rivven acl list` prints is the rules in force; without one of them the log tells what changes."""
    assert produce(broker, "mine") is None
    properties = broker.connection().librdkafka_file(tmp_path / "admin")
    command = [RIVVEN, "--command-config", properties, "acl", "list", "-o", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    rules = tmp_path / "acl.json"
    rules.write_text(listed)
    deadline = time.monotonic() + WAIT
    while True:  # the trail writes behind
        code, found = replayed(broker, rules, "--acls")
        assert (code, found["changes"], found["cannot_tell"]) == (0, 0, 0)
        rules.write_text(json.dumps([rule for rule in json.loads(listed) if rule["resource"] != "mine"]))
        code, found = replayed(broker, rules, "--acls")
        if {row["resource"] for row in found["rows"]} == {"topic:mine"}:
            break
        rules.write_text(listed)
        assert time.monotonic() < deadline
    assert code == 1


def test_roles_and_super_users_of_the_candidate_are_its_own(tmp_path: Path) -> None:
    roles = tmp_path / "rbac.yaml"
    roles.write_text("bindings:\n  producer: {users: [writer]}\n")
    authorization = {
        "super_users": ["User:admin"],
        "shadow": {"authorizers": ["rbac"], "super_users": ["User:nobody"], "rbac": {"file": str(roles)}},
    }
    with ShippedBroker(tmp_path / "broker", extra={"authorization": authorization}) as broker:
        admin = AdminClient(broker.connection().librdkafka())
        for future in admin.create_topics([NewTopic("mine", 1, 1)]).values():
            future.result(WAIT)
        deadline = time.monotonic() + WAIT
        while "would_deny" not in compared(broker):
            assert time.monotonic() < deadline, broker.tail()
            time.sleep(0.05)
        assert "no rbac rule allows it" in broker.logged()


def test_access_rules_are_tried_as_the_command_lists_them(tmp_path: Path) -> None:
    """List the rules, edit the list, see who would lose what; the rules in force stay."""
    rules = tmp_path / "acl.json"
    rules.write_text("[]")
    authorization = {"super_users": ["User:admin"], "shadow": {"acl": {"file": str(rules)}}}
    with ShippedBroker(tmp_path / "broker", extra={"authorization": authorization}) as broker:
        admin = AdminClient(broker.connection().librdkafka())
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        upsertion = UserScramCredentialUpsertion(WRITER.user, scram, WRITER.password.encode())
        topics = [NewTopic(name, 1, 1) for name in ("orders-1", "orders-2", "other")]
        for futures in (admin.alter_user_scram_credentials([upsertion]), admin.create_topics(topics)):
            for future in futures.values():
                future.result(WAIT)
        properties = broker.connection().librdkafka_file(tmp_path / "admin")

        def cli(*words: str) -> str:
            command = [RIVVEN, "--command-config", properties, *words]
            return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

        grant = ("acl", "add", "--principal", "user:writer", "--action", "produce", "--allow")
        cli(*grant, "--resource", "topic:orders-*")
        listed = json.loads(cli("acl", "list", "-o", "json"))
        for rule in listed:
            if rule["principal"] == "User:writer":
                rule.update(resource="orders-1", pattern="literal")
        rules.write_text(json.dumps(listed))
        deadline = time.monotonic() + WAIT
        while "access rules of the candidate loaded" not in broker.tail():
            assert time.monotonic() < deadline, broker.tail()
            time.sleep(0.05)
        assert produce(broker, "orders-1") is None
        assert produce(broker, "orders-2") is None, "the candidate has no say"
        while "would deny write on topic 'orders-2'" not in broker.tail():
            assert time.monotonic() < deadline, broker.tail()
            time.sleep(0.05)
        assert "on topic 'orders-1'" not in broker.logged()
        rules.write_text(json.dumps([{**listed[0], "host": "nowhere"}]))
        while "the candidate's access rules are not used" not in broker.tail():
            assert time.monotonic() < deadline, broker.tail()
            time.sleep(0.05)
        assert "rule 1: the host of a rule is" in broker.logged()
        before = compared(broker)
        assert produce(broker, "orders-1") is None
        assert produce(broker, "orders-2") is None
        while compared(broker)["would_deny"] == before["would_deny"]:
            assert time.monotonic() < deadline, "the candidate's last good rules deny orders-2"
            time.sleep(0.05)
        assert "on topic 'orders-1'" not in broker.logged(), "and allow orders-1"
        (kept,) = json.loads(cli("acl", "list", "--principal", "user:writer", "-o", "json"))
        assert (kept["resource"], kept["pattern"]) == ("orders-", "prefixed")


def test_access_rules_that_cannot_be_tried_stop_the_start(tmp_path: Path) -> None:
    rules = tmp_path / "acl.json"
    rules.write_text('[{"principal": "User:x"}]')
    broker = ShippedBroker(
        tmp_path / "broker", extra={"authorization": {"shadow": {"acl": {"file": str(rules)}}}}
    )
    with pytest.raises(BrokerDidNotStart, match="exit code 3") as refused:
        broker.start()
    assert "authorization.shadow.acl.file: acl.json: rule 1" in str(refused.value)
