"""Who may connect to the Admin API at all: the broker's list of networks and the API's own."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.client import Client
from tests.shipped.broker import ShippedBroker

ELSEWHERE, HERE = ["192.0.2.0/24", "2001:db8::/32"], ["127.0.0.0/8", "192.0.2.0/24"]


def first_bytes(broker: ShippedBroker) -> bytes:
    """What the Admin API says to a question that needs no login; nothing if it says nothing."""
    address = ("localhost", int(broker.admin_url().rpartition(":")[2]))
    trusting = ssl.create_default_context(cafile=str(broker.pki.ca))
    try:
        with (
            socket.create_connection(address, timeout=20) as plain,
            trusting.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            secured.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return secured.recv(100)
    except (ConnectionError, ssl.SSLError):
        return b""


def allowlist(networks: list[str]) -> dict[str, Any]:
    return {"security": {"ip_allowlist": {"enabled": True, "cidrs": [*networks]}}}


def own_list(networks: list[str]) -> dict[str, Any]:
    return {"admin": {"bind": "127.0.0.1:0", "allowed_cidrs": [*networks]}}


@pytest.mark.parametrize(
    ("extra", "kafka", "http"),
    [
        (allowlist(ELSEWHERE), False, False),
        (own_list(ELSEWHERE), True, False),
        (allowlist(HERE) | own_list(ELSEWHERE), True, False),
        (allowlist(HERE) | own_list(HERE), True, True),
    ],
    ids=["allowlist", "its own list", "allowed by one of them", "allowed"],
)
def test_other_networks_get_no_byte_of_the_admin_api(
    own_directory: Path, extra: dict[str, Any], kafka: bool, http: bool
) -> None:
    with ShippedBroker(own_directory, extra=extra) as broker:
        assert first_bytes(broker).startswith(b"HTTP/1.1 200") is http
        assert first_bytes(broker) == b"" or http
        if kafka:
            with Client(broker.connection()) as client:
                assert client.create_topic()
        assert ("its network is not allowed" in broker.logged()) is not http
