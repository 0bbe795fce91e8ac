"""Several listeners, each telling its own clients the address they can reach; IPv4 and IPv6."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from tests.conformance.client import Client, fresh
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection
from tests.shipped.dev import has_ipv6_loopback

ADVERTISED = {"inside": ("127.0.0.1", None), "outside": ("kafka.example.org", 19_092), "six": ("::1", None)}
"""Listener -> what its clients are told; without a port that is the real one."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    if not has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback address")
    listeners: list[dict[str, object]] = [
        {"name": "inside", "bind": "127.0.0.1:0", "protocol": "sasl_plaintext"},
        {
            "name": "outside",
            "bind": "127.0.0.1:0",
            "advertised": "kafka.example.org:19092",
            "protocol": "sasl_ssl",
        },
        {"name": "six", "bind": "[::1]:0", "protocol": "sasl_plaintext"},
    ]
    directory = tmp_path_factory.mktemp("addresses")
    with ShippedBroker(directory, extra={"listeners": listeners}) as broker:
        yield broker


def connection(broker: ShippedBroker, listener: str) -> Connection:
    ca = Path(broker.pki.ca) if listener == "outside" else None
    return Connection(broker.ready["listeners"][listener], ca, broker.admin)


@pytest.mark.parametrize("listener", ADVERTISED)
def test_every_answer_tells_the_address_of_the_listener_that_was_asked(
    broker: ShippedBroker, listener: str
) -> None:
    host, port = ADVERTISED[listener]
    real = int(broker.ready["listeners"][listener].rpartition(":")[2])
    with Client(connection(broker, listener)) as client:
        expected = (host, port or real)
        for version in (0, 1, 8, 12, 13):
            (node,) = client.metadata(version=version).brokers
            assert (node.host, node.port) == expected
        for version in (0, 3, 4, 5):
            request = m.FindCoordinatorRequest
            asked = request(key="g") if version < 4 else request(coordinator_keys=["g"])
            answer = client.call(ApiKey.FIND_COORDINATOR, version, asked)
            found = answer if version < 4 else answer.coordinators[0]
            assert (found.host, found.port) == expected
        (node,) = client.call(ApiKey.DESCRIBE_CLUSTER, 1, m.DescribeClusterRequest(endpoint_type=1)).brokers
        assert (node.host, node.port) == expected


def test_all_listeners_serve_one_log(broker: ShippedBroker) -> None:
    with (
        Client(connection(broker, "inside")) as inside,
        Client(connection(broker, "outside")) as outside,
        Client(connection(broker, "six")) as six,
    ):
        topic = six.create_topic(fresh())
        for number, client in enumerate((inside, outside, six)):
            assert client.produced(topic, b"%d" % number) == number
        for client in (inside, outside, six):
            assert client.values(topic) == [b"0", b"1", b"2"]


def test_a_rule_for_an_address_tells_ipv4_from_ipv6(broker: ShippedBroker) -> None:
    """`host` of an access rule is the address the client comes from, as it is written."""
    with Client(connection(broker, "inside")) as admin:
        topic, user = admin.create_topic(fresh()), admin.create_user()
        rule = m.CreateAclsRequest.AclCreation(
            resource_type=2,
            resource_name=topic,
            resource_pattern_type=3,
            principal=f"User:{user.user}",
            host="::1",
            operation=3,
            permission_type=3,
        )
        request = m.CreateAclsRequest(creations=[rule])
        assert admin.call(ApiKey.CREATE_ACLS, 3, request).results[0].error_code == 0
    codes = {}
    for listener in ("six", "inside"):
        theirs = Connection(broker.ready["listeners"][listener], None, user)
        with Client(theirs) as client:
            codes[listener] = client.fetch(topic, 0).error_code
    assert codes == {"six": 0, "inside": 29}
