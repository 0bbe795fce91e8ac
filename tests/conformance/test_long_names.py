"""Names of 32 KiB, which the protocol allows and no topic can have, cost a broker no memory that lasts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from tests.conformance.client import Client, batch
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection
from tests.shipped.trail import events

NAMES = 2_000
NAME_CHARACTERS = 32_000
KIB_LEFT_MAX = 24 << 10
"""Of 64 MB that were sent; the requests themselves are of 3.2 MB."""


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Every engine, and a policy that looks at the session."""
    policies = tmp_path_factory.mktemp("policies")
    (policies / "all.cedar").write_text(
        '@id("x") permit(principal, action, resource is Topic) when { context.client_id == "nobody" };'
    )
    cedar = {"policy_dir": str(policies)}
    engines = {"authorizers": ["acl", "rbac", "cedar"], "cedar": cedar, "super_users": ["User:admin"]}
    return {"authorization": engines}


def resident_kib(broker: ShippedBroker) -> int:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def produce_to(client: Client, names: list[str]) -> set[int]:
    """One record to each; the errors."""
    data = m.ProduceRequest.PartitionProduceData
    topics = [
        m.ProduceRequest.TopicProduceData(
            name=name, partition_data=[data(index=0, records=memoryview(batch(b"x")))]
        )
        for name in names
    ]
    request = m.ProduceRequest(acks=-1, timeout_ms=1000, topic_data=topics)
    answer = client.call(ApiKey.PRODUCE, 9, request)
    return {entry.error_code for topic in answer.responses for entry in topic.partition_responses}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_who_may_nothing_leaves_nothing_behind(
    broker: ShippedBroker, plain: Connection, user: Account
) -> None:
    def ask(number: int) -> None:
        start = f"{number:04d}"
        names = [f"{start}-{index:02d}-" + "x" * (NAME_CHARACTERS - 8) for index in range(100)]
        with Client(Connection(plain.bootstrap, account=user)) as client:
            assert produce_to(client, names) == {ErrorCode.TOPIC_AUTHORIZATION_FAILED}

    ask(0)  # what one such request needs at a time
    before = resident_kib(broker)
    for number in range(1, NAMES // 100 + 1):
        ask(number)
    assert resident_kib(broker) - before <= KIB_LEFT_MAX
    last = [event for event in events(broker) if event["result"] == "denied"][-1]
    assert len(last["resource"]) <= 1024, "and the audit trail shows their beginning"
