"""Roles and explanations through the shipped command, librdkafka and the command line."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
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
from tests.shipped.connection import Account, Connection

pytestmark = pytest.mark.interop

WAIT = 15.0
LIVE_SECONDS_MAX = 1.0  # a change of the roles file is live within a second
PASSWORD = "Str0ng-password"


class World:
    """A broker with a roles file beside it, and topics `orders-1` and `invoices`."""

    def __init__(self, directory: Path) -> None:
        self.roles = directory / "rbac.yaml"
        self.write("roles: {}\n")
        self.broker = ShippedBroker(
            directory / "broker",
            extra={
                "authorization": {"super_users": ["User:admin"], "rbac": {"file": str(self.roles)}},
            },
        )

    def open(self) -> None:
        self.broker.start()
        self.admin = AdminClient(self.broker.connection().librdkafka())
        for future in self.admin.create_topics(
            [NewTopic("orders-1", 1, 1), NewTopic("invoices", 1, 1)]
        ).values():
            future.result(WAIT)

    def write(self, text: str) -> None:
        """Replace the roles file as editors do: whole, by rename."""
        new = self.roles.with_suffix(".new")
        new.write_text(text)
        new.replace(self.roles)

    def user(self, name: str) -> Account:
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        made = self.admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(name, scram, PASSWORD.encode())]
        )
        for future in made.values():
            future.result(WAIT)
        return Account(name, PASSWORD)

    def cli(self, *words: str, account: Account | None = None, status: int = 0) -> str:
        """Run the command as the administrator unless said otherwise; its output."""
        connection = self.broker.connection(account=account)
        done = subprocess.run(
            [RIVVEN, "--command-config", self._properties(connection), *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout if status == 0 else done.stderr

    def _properties(self, connection: Connection) -> str:
        assert connection.account is not None
        path = self.broker.directory / f"{connection.account.user}.properties"
        settings = {**connection.librdkafka(), "admin.url": self.broker.admin_url()}
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        path.chmod(0o600)
        return str(path)

    def rule(self, principal: str, resource: str, effect: str) -> None:
        """Allow or deny producing."""
        self.cli(
            "acl", "add", "--principal", principal, "--resource", resource, "--action", "produce", effect
        )

    def produce(self, account: Account, topic: str, *, idempotent: bool = True) -> KafkaError | None:
        """Write one record with a stock producer; the error, None when it was acknowledged."""
        reports: list[KafkaError | None] = []
        settings = self.broker.connection(account=account).librdkafka()
        failures: list[KafkaError] = []
        producer = Producer(
            {
                **settings,
                "enable.idempotence": idempotent,
                "message.timeout.ms": 5000,
                "error_cb": failures.append,
            }
        )
        producer.produce(topic, b"x", on_delivery=lambda error, _message: reports.append(error))
        deadline = time.monotonic() + WAIT
        while not reports and time.monotonic() < deadline:
            try:
                producer.poll(0.05)
            except KafkaException as fatal:  # an idempotent producer that gets no id is beyond repair
                return fatal.args[0]
        assert reports, f"no report: {failures}"
        return reports[0]

    def consume(self, account: Account, topic: str, group: str) -> bytes | KafkaError:
        """The first record of a topic, or the error."""
        consumer = Consumer(
            {
                **self.broker.connection(account=account).librdkafka(),
                "group.id": group,
                "auto.offset.reset": "earliest",
            }
        )
        try:
            consumer.subscribe([topic])
            deadline = time.monotonic() + WAIT
            while time.monotonic() < deadline:
                message = consumer.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                return error if error is not None else message.value()
            raise TimeoutError(topic)
        except KafkaException as refused:
            return refused.args[0]
        finally:
            consumer.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("roles"))
    made.open()
    yield made
    assert made.broker.stop() == 0, made.broker.tail()


def within(seconds: float, holds: Callable[[], bool]) -> float:
    """How long it took until `holds`; fails after ten times `seconds`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < 10 * seconds
        time.sleep(0.02)
    return time.monotonic() - began


def test_an_idempotent_producer_needs_the_role_producer_only(world: World) -> None:
    account = world.user("only-producer")
    refused = world.produce(account, "orders-1")
    assert refused is not None
    world.cli("role", "grant", "producer", "user:only-producer")
    assert world.produce(account, "orders-1") is None
    assert isinstance(world.consume(account, "orders-1", "g"), KafkaError)
    world.cli("role", "grant", "consumer", "user:only-producer")
    assert world.consume(account, "orders-1", "g") == b"x"
    world.cli("role", "revoke", "producer", "user:only-producer")
    assert world.produce(account, "orders-1") is not None


def test_a_role_of_ones_own(world: World) -> None:
    account = world.user("shipper")
    world.cli("role", "create", "shipping", "--permission", "topic:orders-*:produce,describe")
    world.cli("role", "grant", "shipping", "user:shipper")
    assert world.produce(account, "orders-1") is None
    assert world.produce(account, "invoices") is not None
    shown = json.loads(world.cli("role", "describe", "shipping", "-o", "json"))
    assert shown["members"] == ["user:shipper"]
    assert shown["permissions"] == ["topic:orders-*:produce,describe"]
    world.cli("role", "create", "shipping", "--permission", "topic:invoices:produce", "--replace")
    assert world.produce(account, "invoices") is None
    assert world.produce(account, "orders-1") is not None
    world.cli("role", "delete", "shipping", "--yes")
    assert world.produce(account, "invoices") is not None
    assert "shipping" not in world.cli("role", "list")


def test_roles_are_refused_where_they_must_be(world: World) -> None:
    account = world.user("nobody")
    assert "not allowed" in world.cli("role", "list", account=account, status=12)
    assert "not allowed" in world.cli("role", "grant", "admin", "user:nobody", account=account, status=12)
    assert world.produce(account, "orders-1") is not None
    assert "built in" in world.cli("role", "create", "admin", "--permission", "*:*", status=14)
    world.cli("role", "grant", "ghost", "user:nobody", status=13)
    world.cli("role", "revoke", "producer", "user:nobody", status=13)


def test_a_changed_roles_file_is_live_within_a_second(world: World) -> None:
    account = world.user("filed")
    question = ("--principal", "user:filed", "--action", "produce", "--resource", "topic:orders-1")

    def may() -> bool:
        return bool(json.loads(world.cli("authz", "explain", *question, "-o", "json"))["allowed"])

    assert not may()
    text = (
        "roles:\n  writer:\n    permissions:\n      - {resource: 'topic:orders-*', actions: [produce]}\n"
        "bindings:\n  writer: {users: [filed]}\n"
    )
    world.write(text)
    assert within(LIVE_SECONDS_MAX, may) < LIVE_SECONDS_MAX + 0.7  # a question takes a process of its own
    assert world.produce(account, "orders-1") is None
    world.write(text.replace("produce", "prdouce"))
    time.sleep(LIVE_SECONDS_MAX)
    assert may(), "a file that cannot be used leaves the roles from before"
    assert "rbac.yaml:4: No such action 'prdouce'" in world.broker.log.read_text()
    world.write("roles: {}\n")
    within(LIVE_SECONDS_MAX, lambda: not may())
    assert world.produce(account, "orders-1") is not None


def test_rules_for_groups_and_roles(world: World) -> None:
    account = world.user("grouped")
    world.write("bindings: {readonly: {users: [grouped]}}\n")
    world.cli(
        "acl",
        "add",
        "--principal",
        "role:readonly",
        "--resource",
        "topic:invoices",
        "--action",
        "produce",
        "--allow",
    )
    within(LIVE_SECONDS_MAX, lambda: world.produce(account, "invoices") is None)
    rules = json.loads(world.cli("acl", "list", "--principal", "role:readonly", "-o", "json"))
    assert [rule["principal"] for rule in rules] == ["Role:readonly"]
    world.cli(
        "acl",
        "add",
        "--principal",
        "user:grouped",
        "--resource",
        "topic:invoices",
        "--action",
        "produce",
        "--deny",
    )
    assert world.produce(account, "invoices") is not None, "a deny wins over every allow"


def test_explain_names_rules_remedies_and_denials(world: World) -> None:
    account = world.user("asker")
    question = ("authz", "explain", "--action", "produce", "--resource", "topic:orders-1", "-o", "json")
    own = json.loads(world.cli(*question, account=account))
    assert (own["principal"], own["allowed"]) == ("user:asker", False)
    (operation,) = own["operations"]
    assert {one["engine"]: one["verdict"] for one in operation["verdicts"]} == {
        "acl": "no opinion",
        "rbac": "no opinion",
    }
    remedies = {one["kind"]: one["command"] for one in operation["remedies"]}
    assert remedies["role"] == "rivven role grant producer user:asker"
    world.cli(*remedies["acl"].removeprefix("rivven ").split())
    assert world.produce(account, "orders-1") is None, "the advice is true"
    granted = json.loads(world.cli(*question, account=account))["operations"][0]
    assert (granted["decided_by"], granted["remedies"]) == ("acl", [])
    world.cli(
        "acl", "add", "--principal", "user:*", "--resource", "topic:orders-*", "--action", "produce", "--deny"
    )
    try:
        denied = json.loads(world.cli(*question, account=account))["operations"][0]
        assert denied["rule"] == "DENY WRITE on TOPIC prefixed 'orders-' for User:* from *"
        assert [one["rule"] for one in denied["denials"]] == [denied["rule"]]
        assert denied["remedies"] == []
    finally:
        world.cli("acl", "remove", "--principal", "user:*", "--resource", "topic:orders-*", "--yes")
    refusal = world.cli(*question, "--principal", "user:admin", account=account, status=12)
    assert "not allowed" in refusal
    world.cli("authz", "who-can", "produce", "topic:orders-1", account=account, status=12)
    shown = world.cli("authz", "show", account=account)
    assert "ALLOW WRITE on TOPIC 'orders-1' for User:asker" in shown


def test_who_can_and_show(world: World) -> None:
    world.user("reader")
    world.cli("role", "grant", "consumer", "user:reader", "group:analysts")
    holders = json.loads(world.cli("authz", "who-can", "consume", "topic:invoices", "-o", "json"))
    found = {one["principal"]: one["decided_by"] for one in holders["holders"]}
    assert found["user:admin"] == "super-users"
    assert found["user:reader"] == "rbac"
    assert found["group:analysts"] == "rbac"
    assert "user:asker" not in found
    assert "user:*" not in found
    shown = json.loads(world.cli("authz", "show", "user:reader", "-o", "json"))
    assert shown["roles"] == ["consumer"]
    assert {(one["operation"], one["resource"]) for one in shown["effects"]} >= {
        ("READ", "topic:*"),
        ("READ", "group:*"),
    }
    explained = world.cli(
        "authz",
        "explain",
        "--principal",
        "user:x",
        "--group",
        "analysts",
        "--action",
        "consume",
        "--resource",
        "topic:invoices",
    )
    assert explained.startswith("ALLOWED: user:x consume topic:invoices")


def test_a_roles_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write("roles: {a: {permissions: [{resource: topic:x, actions: [eat]}]}}\n")
    with pytest.raises(BrokerDidNotStart, match=r"rbac\.yaml:1: No such action 'eat'"):
        world.open()


def test_a_grant_of_an_acl_written_by_a_stock_client(world: World) -> None:
    """APIs 29-31 take rules for groups and roles, and refuse principals that could never match."""

    def binding(principal: str) -> AclBinding:
        return AclBinding(
            ResourceType.TOPIC,
            "invoices",
            ResourcePatternType.LITERAL,
            principal,
            "*",
            AclOperation.READ,
            AclPermissionType.ALLOW,
        )

    for principal in ("Group:staff", "Role:consumer"):
        for future in world.admin.create_acls([binding(principal)]).values():
            future.result(WAIT)
    for principal in ("Group:*", "group:staff", "Host:x"):
        for future in world.admin.create_acls([binding(principal)]).values():
            with pytest.raises(KafkaException):
                future.result(WAIT)
