"""Cedar policies over the wire: the shipped broker, librdkafka, and a directory that changes beneath it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from rivven.audit.events import timestamp
from tests.shipped.broker import RIVVEN, BrokerDidNotStart, ShippedBroker
from tests.shipped.connection import Account

pytestmark = pytest.mark.interop

WAIT = 15.0
LIVE_SECONDS_MAX = 1.0  # a policy change is live within a second
WRITER = Account("writer", "Str0ng-password")
ONE_PERMIT = """\
@id("one-permit")
permit(principal == User::"writer", action == Action::"Write", resource == Topic::"mine");
"""


class World:
    """A broker decided by policies alone, its directory, and topics `mine` and `theirs`."""

    def __init__(self, directory: Path) -> None:
        self.policies = directory / "policies"
        self.policies.mkdir()
        self.write(ONE_PERMIT)
        self.broker = ShippedBroker(
            directory / "broker",
            extra={
                "authorization": {
                    "authorizers": ["cedar"],
                    "super_users": ["User:admin"],
                    "cedar": {"policy_dir": str(self.policies)},
                }
            },
        )

    def open(self) -> None:
        self.broker.start()
        admin = AdminClient(self.broker.connection().librdkafka())
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        made = admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(WRITER.user, scram, WRITER.password.encode())]
        )
        for future in (
            *made.values(),
            *admin.create_topics([NewTopic("mine", 1, 1), NewTopic("theirs", 1, 1)]).values(),
        ):
            future.result(WAIT)

    def write(self, text: str, name: str = "all.cedar") -> None:
        """Replace a file as editors and configuration tools do: whole, by rename."""
        path = self.policies / f"{name}.new"
        path.write_text(text)
        path.replace(self.policies / name)

    def settings(self, **settings: object) -> dict[str, object]:
        return self.broker.connection(account=WRITER).librdkafka(**settings)

    def produce(self, topic: str, *, idempotent: bool = True) -> KafkaError | None:
        """Write one record with a stock producer; the error, None when it was acknowledged."""
        reports: list[KafkaError | None] = []
        failures: list[KafkaError] = []
        producer = Producer(
            {
                **self.settings(enable_idempotence=idempotent, message_timeout_ms=5000),
                "error_cb": failures.append,
            }
        )
        producer.produce(topic, b"value", on_delivery=lambda error, _message: reports.append(error))
        deadline = time.monotonic() + WAIT
        while not reports and time.monotonic() < deadline:
            producer.poll(0.05)
        assert reports, f"no report: {failures}"
        return reports[0]

    def cli(self, *words: str, account: Account | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command, as the administrator unless said otherwise."""
        account = account or self.broker.admin
        properties = self.broker.connection(account=account).librdkafka_file(
            self.policies.parent / account.user
        )
        command = ["--command-config", properties, "--admin-url", self.broker.admin_url()]
        return subprocess.run(
            [RIVVEN, *command, *words], capture_output=True, text=True, timeout=30, check=False
        )

    def metric(self, name: str) -> float:
        host, port = self.broker.metrics_address()
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=WAIT) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))

    def until(self, metric: str, value: float) -> float:
        """Wait for a metric to reach a value; how long it took in seconds."""
        start = time.monotonic()
        while self.metric(metric) < value:
            assert time.monotonic() < start + WAIT, self.broker.tail()
            time.sleep(0.02)
        return time.monotonic() - start

    def begin_again(self) -> None:
        """With the one permit in force, whatever the test before has left."""
        name = "rivven_policy_last_success_timestamp_seconds"
        before = self.metric(name)
        if (self.policies / "all.cedar").read_text() != ONE_PERMIT:
            self.write(ONE_PERMIT)
            self.until(name, before + 0.001)
        assert self.metric("rivven_policies") == 1


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("cedar"))
    world.open()
    yield world
    if world.broker.running:
        world.broker.stop()


@pytest.fixture
def world(opened: World) -> World:
    opened.begin_again()
    return opened


def denied(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_one_permit_is_enough_for_an_idempotent_producer_and_for_nothing_else(world: World) -> None:
    assert world.produce("mine") is None
    error = world.produce("theirs")
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    consumer = Consumer(world.settings(group_id="g", auto_offset_reset="earliest"))
    consumer.subscribe(["mine"])
    try:
        message = consumer.poll(WAIT)
        assert message is not None
        assert message.error() is not None
        assert message.error().code() in (
            KafkaError.GROUP_AUTHORIZATION_FAILED,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
        )
    except KafkaException as refused:
        assert refused.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    finally:
        consumer.close()


def test_a_forbid_is_live_within_a_second_and_so_is_its_end(world: World) -> None:
    producer = Producer(world.settings(message_timeout_ms=5000))
    reports: list[tuple[float, KafkaError | None]] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        reports.append((time.monotonic(), error))

    def denied_at() -> float:
        """Produce without pause; when the first refusal came."""
        start = time.monotonic()
        while not reports or reports[-1][1] is None:
            assert time.monotonic() < start + WAIT, world.broker.tail()
            producer.produce("mine", b"value", on_delivery=delivered)
            producer.flush(WAIT)
        return reports[-1][0]

    producer.produce("mine", b"value", on_delivery=delivered)
    producer.flush(WAIT)
    assert [error for _at, error in reports] == [None]
    frozen = '@id("frozen") forbid(principal, action == Action::"Write", resource == Topic::"mine");'
    world.write(ONE_PERMIT + frozen)
    changed = time.monotonic()
    assert denied_at() - changed <= LIVE_SECONDS_MAX
    assert denied(reports[-1][1])
    world.write(
        ONE_PERMIT + frozen.replace("mine", "theirs") + frozen.replace("mine", "other").replace("fro", "a")
    )
    assert world.until("rivven_policies", 3) <= LIVE_SECONDS_MAX
    assert world.produce("mine") is None


@pytest.mark.parametrize(
    "broken", ["permit(", ONE_PERMIT + ONE_PERMIT, '@id("x") forbid(principal, action, resource);']
)
def test_broken_policies_leave_those_from_before_and_show_it(world: World, broken: str) -> None:
    since = world.metric("rivven_policy_last_success_timestamp_seconds")
    assert since > 0
    failures = world.metric("rivven_policy_reload_failures_total")
    said = len(world.broker.log.read_text(errors="replace"))
    world.write(broken)
    assert world.until("rivven_policy_reload_failures_total", failures + 1) <= LIVE_SECONDS_MAX
    assert world.produce("mine") is None
    assert world.metric("rivven_policy_last_success_timestamp_seconds") == since
    assert "those from before stay in force" in world.broker.log.read_text(errors="replace")[said:]
    world.write(ONE_PERMIT.replace("mine", "theirs"))
    assert world.until("rivven_policy_last_success_timestamp_seconds", since + 0.001) <= LIVE_SECONDS_MAX
    assert world.produce("theirs") is None


TWO_FORBIDS = """\
@id("closed") forbid(principal, action == Action::"Write", resource == Topic::"theirs");
@id("not-the-writer") forbid(principal == User::"writer", action, resource == Topic::"theirs");
@id("staff") permit(principal in Group::"staff", action == Action::"Write", resource is Topic);
"""


def test_explain_names_every_forbid_and_the_audit_log_gives_the_same_reason(world: World) -> None:
    begun = timestamp(time.time_ns() // 1_000_000)
    world.write(ONE_PERMIT + TWO_FORBIDS)
    world.until("rivven_policies", 4)
    assert denied(world.produce("theirs", idempotent=False))

    def explained(*words: str) -> dict[str, Any]:
        done = world.cli("authz", *words, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    question = ("explain", "--principal", "user:writer", "--resource", "topic:theirs", "--action")
    (operation,) = explained(*question, "describe-configs")["operations"]
    place = world.policies / "all.cedar"
    assert operation["rule"] == f"not-the-writer ({place}:4)"
    (operation,) = explained(*question, "write")["operations"]
    assert [one["rule"] for one in operation["denials"]] == [
        f"closed ({place}:3)",
        f"not-the-writer ({place}:4)",
    ]
    assert operation["remedies"] == []
    refusal = explained(*question[:-1], "--action", "describe")["operations"]
    reasons = {one["operation"]: one["reason"] for one in (operation, *refusal)}
    deadline = time.monotonic() + WAIT
    events: list[dict[str, Any]] = []
    while not events:
        assert time.monotonic() < deadline
        lines = (world.broker.data / "audit" / "audit.log").read_text().splitlines()
        events = [
            event
            for event in map(json.loads, lines)
            if event.get("result") == "denied" and event["timestamp"] >= begun
        ]
    for event in events:
        assert event["reason"] == reasons[event["details"].get("operation", event["action"].upper())]

    nowhere = world.cli("authz", *question, "write", "--from-address", "nowhere")
    assert nowhere.returncode != 0
    assert "address: must be an IP address" in nowhere.stderr
    holders = explained("who-can", "write", "topic:mine")["holders"]
    assert {one["principal"]: one["rule"].partition(" ")[0] for one in holders} == {
        "group:staff": "staff",
        "user:admin": "authorization.super_users",
        "user:writer": "one-permit",
    }
    shown = explained("show", "user:writer")
    assert [(one["effect"], one["operation"], one["resource"]) for one in shown["effects"]] == [
        ("allow", "WRITE", "topic:mine"),
        ("deny", "WRITE", "topic:theirs"),
        ("deny", "*", "topic:theirs"),
    ]
    assert shown["not_listed"] == []


def test_policies_in_force_are_listed_for_those_who_may_describe_the_cluster(world: World) -> None:
    def listed(account: Account) -> subprocess.CompletedProcess[str]:
        return world.cli("policy", "list", "-o", "json", account=account)

    done = listed(world.broker.admin)
    assert done.returncode == 0, done.stderr
    (policy,) = json.loads(done.stdout)
    assert policy["id"] == "one-permit"
    assert (policy["effect"], policy["line"]) == ("permit", 1)
    assert policy["file"] == str(world.policies / "all.cedar")
    assert listed(WRITER).returncode == 12


def test_a_forbid_that_fails_denies(world: World) -> None:
    """Cedar itself would skip it, and the permit would stand."""
    overflow = "context.weekday + 9223372036854775807 < 0"
    world.write(ONE_PERMIT + f'@id("sum") forbid(principal, action, resource) when {{ {overflow} }};')
    world.until("rivven_policies", 2)
    # InitProducerId asks about some topic first, and the forbid that fails is about all of them.
    assert world.produce("mine") is not None
    assert world.produce("mine", idempotent=False).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.mark.parametrize(
    ("policies", "reason"),
    [
        ({}, "holds no .cedar file"),
        ({"a.cedar": "permit("}, "a.cedar:1"),
        ({"a.cedar": '@id("x") permit(principal is Person, action, resource);'}, "unrecognized entity type"),
    ],
)
def test_a_start_with_broken_policies_is_refused(
    tmp_path: Path, policies: dict[str, str], reason: str
) -> None:
    world = World(tmp_path)
    (world.policies / "all.cedar").unlink()
    for name, text in policies.items():
        world.write(text, name)
    with pytest.raises(BrokerDidNotStart, match="exit code 3") as refused:
        world.broker.start()
    assert reason in str(refused.value)
    assert "rivven policy check" in str(refused.value)
