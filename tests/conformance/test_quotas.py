"""Whoever uses more than its share waits and is told so; nobody else notices, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.types import Operation, QuotaEntity, ResourceType
from tests.conformance.client import Client, batch, fetch_request, fresh, produce_request
from tests.conformance.wire import Closed
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.connection import Connection

EXTRA = {
    "rate_limiting": {"per_topic": {"requests_per_second": 20, "burst": 400}},
    "validation": {
        "topic_name": {"pattern": "[a-z0-9-]+", "max_length": 60},
        "key": {"max_size": 10, "required": True},
        "headers": {"max_count": 1},
    },
    "limits": {"max_key_size": 8},
}
PLAIN_LISTENER = {"name": "sasl_plaintext", "bind": "127.0.0.1:0", "protocol": "sasl_plaintext"}
RATE = 100_000  # bytes a second: a few requests are over it at once, and the test waits for little


def set_quotas(client: Client, entity: QuotaEntity, **values: float | None) -> None:
    request = m.AlterClientQuotasRequest
    entry = request.EntryData(
        entity=[request.EntityData(entity_type=kind, entity_name=name) for kind, name in entity],
        ops=[
            request.OpData(key=key, value=value or 0.0, remove=value is None) for key, value in values.items()
        ],
    )
    [result] = client.call(ApiKey.ALTER_CLIENT_QUOTAS, 1, request(entries=[entry])).entries
    assert result.error_code == 0, result.error_message


def described(client: Client, *components: tuple[str, int, str | None], strict: bool = False) -> Any:
    request = m.DescribeClientQuotasRequest
    wanted = [
        request.ComponentData(entity_type=kind, match_type=how, match=name) for kind, how, name in components
    ]
    answer = client.call(ApiKey.DESCRIBE_CLIENT_QUOTAS, 1, request(components=wanted, strict=strict))
    if answer.error_code:
        return answer.error_code
    return {
        tuple((one.entity_type, one.entity_name) for one in entry.entity): {
            one.key: one.value for one in entry.values
        }
        for entry in answer.entries
    }


class Limited(Client):
    """A connection whose user has quotas."""

    entity: QuotaEntity = ()


@pytest.fixture
def limited(admin: Client, broker: ShippedBroker) -> Iterator[Limited]:
    """A user of the test's own, who may do everything with topics."""
    account = admin.create_user()
    admin.allow(account.user, Operation.ALL, ResourceType.TOPIC, "*")
    with Limited(broker.connection("sasl_plaintext", account)) as client:
        client.entity = (("user", account.user),)
        yield client


def throttle_of_produce(client: Client, topic: str, size: int) -> int:
    answer = client.call(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"v" * size)))
    assert answer.responses[0].partition_responses[0].error_code == 0
    return int(answer.throttle_time_ms)


def test_a_producer_over_its_rate_is_told_and_its_connection_is_silent(
    admin: Client, limited: Limited
) -> None:
    topic = admin.create_topic()
    set_quotas(admin, limited.entity, producer_byte_rate=RATE)
    assert throttle_of_produce(limited, topic, RATE // 2) == 0
    throttled = throttle_of_produce(limited, topic, RATE * 2)
    assert 900 < throttled <= 1600
    started = time.monotonic()
    limited.metadata(topic)
    assert time.monotonic() - started > throttled / 1000 - 0.1, "the connection was read during its silence"
    assert throttle_of_produce(limited, topic, 100) == 0
    assert admin.list_offset(topic, -1).offset == 3, "everything is there, throttled or not"


def test_a_consumer_over_its_rate_is_told(admin: Client, limited: Limited) -> None:
    topic = admin.create_topic()
    admin.produced(topic, b"v" * (RATE * 2))
    set_quotas(admin, limited.entity, consumer_byte_rate=RATE)
    answer = limited.call(ApiKey.FETCH, 12, fetch_request(topic, 0))
    assert 700 < answer.throttle_time_ms <= 1300
    assert len(answer.responses[0].partitions[0].records) > RATE


def test_quiet_clients_do_not_wait_for_noisy_ones(admin: Client, limited: Limited) -> None:
    topic, elsewhere = admin.create_topic(), admin.create_topic()
    set_quotas(admin, limited.entity, producer_byte_rate=RATE)
    for _ in range(20):
        limited.send(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"v" * RATE)))
    worst = 0.0
    for index in range(20):
        started = time.monotonic()
        admin.produced(elsewhere, b"%d" % index)
        worst = max(worst, time.monotonic() - started)
    assert worst < 2, "a request of the quiet client waited for the noisy one"
    assert admin.list_offset(topic, -1).offset < 20


def test_a_topics_quota_holds_for_everybody(admin: Client) -> None:
    topic = admin.create_topic()
    entity: QuotaEntity = (("topic", topic),)
    set_quotas(admin, entity, producer_byte_rate=RATE)
    assert throttle_of_produce(admin, topic, RATE + RATE // 2) > 300
    assert described(admin, ("topic", 0, topic)) == {entity: {"producer_byte_rate": RATE}}
    set_quotas(admin, entity, producer_byte_rate=None)


def test_creating_partitions_counts(admin: Client, limited: Limited) -> None:
    set_quotas(admin, limited.entity, controller_mutation_rate=10)
    creatable = m.CreateTopicsRequest.CreatableTopic(name=fresh(), num_partitions=15, replication_factor=1)
    request = m.CreateTopicsRequest(topics=[creatable], timeout_ms=10_000)
    answer = limited.call(ApiKey.CREATE_TOPICS, 7, request)
    assert answer.topics[0].error_code == 0, "a quota throttles, it never refuses"
    assert 300 < answer.throttle_time_ms <= 700
    set_quotas(admin, limited.entity, controller_mutation_rate=None)


def test_work_of_the_broker_counts(admin: Client, limited: Limited) -> None:
    set_quotas(admin, limited.entity, request_percentage=0.01)
    topic = admin.create_topic()
    throttled = max(limited.metadata(topic).throttle_time_ms for _ in range(3))
    assert throttled > 0
    set_quotas(admin, limited.entity, request_percentage=None)


def test_requests_to_a_topic_above_the_configured_rate_wait(admin: Client, plain: Connection) -> None:
    topic = admin.create_topic()
    with Client(plain) as client:
        waits: list[int] = []
        while not any(waits) and len(waits) < 2000:
            answer = client.call(ApiKey.FETCH, 12, fetch_request(topic, 0))
            waits.append(answer.throttle_time_ms)
    assert waits[0] == 0
    assert len(waits) > 400, "the burst passes"
    assert waits[-1] > 0, "a machine that does 25 a second is above 20 a second with a burst of 400"


def test_quotas_are_described_by_what_is_asked_for(admin: Client) -> None:
    name = fresh("user")
    both: QuotaEntity = (("client-id", None), ("user", name))
    one: QuotaEntity = (("user", name),)
    set_quotas(admin, both, consumer_byte_rate=5)
    set_quotas(admin, one, producer_byte_rate=7)
    assert described(admin, ("user", 0, name)) == {
        both: {"consumer_byte_rate": 5.0},
        one: {"producer_byte_rate": 7.0},
    }
    assert described(admin, ("user", 0, name), strict=True) == {one: {"producer_byte_rate": 7.0}}
    assert described(admin, ("user", 0, name), ("client-id", 1, None)) == {both: {"consumer_byte_rate": 5.0}}
    assert described(admin, ("user", 0, name), ("client-id", 0, "x")) == {}
    assert one in described(admin, ("user", 2, None))
    assert described(admin, ("planet", 2, None)) == E.UNSUPPORTED_VERSION
    assert described(admin, ("user", 9, None)) == E.INVALID_REQUEST
    for entity in (both, one):
        set_quotas(admin, entity, consumer_byte_rate=None, producer_byte_rate=None)
    assert described(admin, ("user", 0, name)) == {}


def test_quotas_survive_a_restart_and_need_permissions(
    admin: Client, broker: ShippedBroker, plain: Connection
) -> None:
    name = fresh("user")
    set_quotas(admin, (("user", name),), producer_byte_rate=7)
    broker.restart()
    with Client(plain) as client:
        assert described(client, ("user", 0, name)) == {(("user", name),): {"producer_byte_rate": 7.0}}
        account = client.create_user()
        with Client(broker.connection("sasl_plaintext", account)) as nobody:
            assert described(nobody) == E.CLUSTER_AUTHORIZATION_FAILED
            with pytest.raises(AssertionError, match="not authorised"):
                set_quotas(nobody, (("user", name),), producer_byte_rate=1)


# -- addresses -----------------------------------------------------------------------------------------------


def test_an_address_that_connects_too_often_is_held_and_closed(
    broker: ShippedBroker, plain: Connection
) -> None:
    host, _, port = plain.bootstrap.rpartition(":")
    with Client(plain) as admin:
        set_quotas(admin, (("ip", "127.0.0.1"),), connection_creation_rate=1)
        try:
            with socket.create_connection((host, int(port)), timeout=10):
                pass
            with socket.create_connection((host, int(port)), timeout=10) as late:
                started = time.monotonic()
                with contextlib.suppress(ConnectionResetError):
                    late.sendall(b"\0\0\0\x0a")
                    assert late.recv(1) == b""
                assert time.monotonic() - started > 0.3
        finally:
            set_quotas(admin, (("ip", "127.0.0.1"),), connection_creation_rate=None)


@pytest.mark.parametrize(
    "extra",
    [
        {"security": {"ip_allowlist": {"enabled": True, "cidrs": ["192.0.2.0/24"]}}},
        {"listeners": [PLAIN_LISTENER | {"allowed_cidrs": ["192.0.2.0/24", "::1/128"]}]},
    ],
    ids=["allowlist", "listener"],
)
def test_other_networks_get_no_byte(own_directory: Any, extra: dict[str, Any]) -> None:
    broker = ShippedBroker(own_directory, protocols=("sasl_plaintext",), extra=extra)
    with broker, pytest.raises((Closed, ConnectionError)):
        Client(broker.connection("sasl_plaintext"))


# -- shapes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Capital", "under_score", "x" * 61])
def test_topics_are_named_as_the_operator_wants(admin: Client, name: str) -> None:
    entry = admin.try_create_topic(name)
    assert entry.error_code == E.INVALID_TOPIC_EXCEPTION
    assert "validation.topic_name" in entry.error_message


@pytest.mark.parametrize("codec", [0, 3], ids=["plain", "lz4"])
def test_records_over_a_limit_are_refused_by_index(admin: Client, codec: int) -> None:
    topic = admin.create_topic()
    keys = [b"12345678", b"123456789", None]
    entry = admin.produce(topic, batch(b"a", b"b", b"c", keys=keys, codec=codec))
    assert entry.error_code == E.INVALID_RECORD
    assert [(one.batch_index, one.batch_index_error_message) for one in entry.record_errors] == [
        (1, "the key is longer than 8 bytes"),
        (2, "a key is required (validation.key.required)"),
    ]
    assert admin.produced(topic, b"a", keys=[b"12345678"], codec=codec) == 0


# -- the command and the Admin API ---------------------------------------------------------------------------


def test_the_command_and_kafkas_api_show_the_same_quotas(
    admin: Client, broker: ShippedBroker, tmp_path: Path
) -> None:
    profile = broker.connection("sasl_ssl").librdkafka_file(tmp_path / "admin.properties")
    with profile.open("a") as file:
        file.write(f"admin.url={broker.admin_url()}\n")

    def rivven(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [RIVVEN, "--command-config", profile, "quota", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    name = fresh("user")
    done = rivven("set", "--user", name, "--client-id", "<default>", "producer_byte_rate=1000", "-o", "json")
    assert done.returncode == 0, done.stderr
    entity: QuotaEntity = (("client-id", None), ("user", name))
    assert described(admin, ("user", 0, name)) == {entity: {"producer_byte_rate": 1000.0}}
    rows = json.loads(rivven("list", "-o", "json").stdout)
    assert {
        "entity": f"client-id=<default>,user={name}",
        "quota": "producer_byte_rate",
        "value": 1000.0,
    } in rows
    assert rivven("remove", "--user", name, "--client-id", "<default>", "producer_byte_rate").returncode == 0
    assert described(admin, ("user", 0, name)) == {}

    for arguments, reason in (
        (("set", "--user", name, "nonsense=1"), "nonsense is no quota of user"),
        (("set", "--user", name, "producer_byte_rate=fast"), "NAME=NUMBER"),
        (("set", "producer_byte_rate=1"), "--user, --client-id, --ip or --topic"),
        (("set", "--ip", "nowhere", "connection_creation_rate=1"), "is not an IP address"),
    ):
        done = rivven(*arguments)
        assert done.returncode != 0
        assert reason in done.stderr
