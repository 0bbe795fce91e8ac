"""Deadlines and counts before authentication, on a broker whose limits are small enough to reach quickly."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.security.admission import STRANGER_SECONDS
from tests.conformance.client import Client
from tests.conformance.process import LogTail
from tests.conformance.wire import Closed, Refused
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection

DEADLINE_S = 0.6
PER_ADDRESS, TOTAL = 8, 20
SLACK_S = 2.0
"""The sweep looks four times a second, and test machines are shared."""

SETTINGS = {"connection.failed.authentication.delay.ms": 50}
EXTRA = {
    "limits": {
        "connection_timeout_secs": DEADLINE_S,
        "handshake_timeout_secs": DEADLINE_S,
        "idle_timeout_secs": 1.0,
        "max_connections_per_ip": PER_ADDRESS,
        "max_connections": TOTAL,
    }
}


def connect(connection: Connection, source: str = "127.0.0.1") -> socket.socket:
    host, _, port = connection.bootstrap.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def is_open(sock: socket.socket, seconds: float = 0.1) -> bool:
    sock.settimeout(seconds)
    try:
        return sock.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def closed_after(sock: socket.socket, drip: bytes = b"") -> float:
    """Seconds until the broker closes, while one byte of `drip` is sent every 50 ms."""
    started = time.monotonic()
    sock.settimeout(0.05)
    for index in range(200):
        try:
            if sock.recv(1) == b"":
                break
        except TimeoutError:
            with contextlib.suppress(ConnectionError):
                sock.sendall(drip[index : index + 1])
        except ConnectionError:
            break
    else:
        pytest.fail("still open")
    return time.monotonic() - started


def test_a_slow_loris_is_closed_by_the_deadline_however_busy_it_seems(
    broker: ShippedBroker, plain: Connection
) -> None:
    log = LogTail(broker)
    with connect(plain) as sock:
        assert (
            DEADLINE_S * 0.9
            < closed_after(sock, bytes.fromhex("00000100") + bytes(100))
            < DEADLINE_S + SLACK_S
        )
    log.wait_for("not authenticated in time")
    assert len(log.lines("rivven.server")) == 1


def test_answered_requests_do_not_extend_the_deadline(plain: Connection) -> None:
    started = time.monotonic()
    with Client(plain, login=False) as client, pytest.raises(Closed):
        while time.monotonic() - started < 10:
            client.call(ApiKey.API_VERSIONS, 0, m.ApiVersionsRequest())
            time.sleep(0.05)
    assert DEADLINE_S * 0.9 < time.monotonic() - started < DEADLINE_S + SLACK_S


@pytest.mark.parametrize(
    "hello", [b"", b"\x16\x03\x01\x02\x00\x01\x00" + bytes(500)], ids=["silent", "a slow hello"]
)
def test_a_half_open_tls_handshake_is_closed_by_the_deadline(broker: ShippedBroker, hello: bytes) -> None:
    log = LogTail(broker)
    with connect(broker.connection("sasl_ssl")) as sock:
        assert DEADLINE_S * 0.9 < closed_after(sock, hello) < DEADLINE_S + SLACK_S
    log.wait_for("TLS handshake took too long")


def test_a_finished_handshake_without_a_login_is_closed_too(broker: ShippedBroker) -> None:
    with Client(broker.connection("sasl_ssl"), login=False) as client:
        assert client.is_closed(DEADLINE_S + SLACK_S)


def test_a_silent_connection_is_closed_as_idle_but_not_while_it_waits(
    broker: ShippedBroker, plain: Connection
) -> None:
    with Client(plain) as idle, Client(plain) as waiting:
        topic = waiting.create_topic()
        log = LogTail(broker)
        entry = waiting.fetch(topic, 0, max_wait_ms=2000)
        assert (entry.error_code, bytes(entry.records)) == (0, b"")
        assert idle.is_closed(2)
        log.wait_for("idle")


def test_more_connections_than_one_address_may_hold_are_refused(
    broker: ShippedBroker, plain: Connection
) -> None:
    settle(plain)
    log = LogTail(broker)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(plain)) for _ in range(PER_ADDRESS)]
        assert all(is_open(sock, 0.02) for sock in held)
        with connect(plain) as one_more:
            assert not is_open(one_more, 5)
        line = log.wait_for("refused 127.0.0.1")
        assert "limits.max_connections_per_ip" in line
        with connect(plain, "127.0.0.2") as elsewhere:
            assert is_open(elsewhere, 0.05)
        held[0].close()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with connect(plain) as again:
                if is_open(again, 0.05):
                    return
        pytest.fail("a place that became free was not given away")


def test_more_connections_than_the_broker_may_hold_are_refused(
    broker: ShippedBroker, plain: Connection
) -> None:
    settle(plain)
    log = LogTail(broker)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(plain, f"127.0.1.{index % 4 + 1}")) for index in range(TOTAL)]
        assert all(is_open(sock, 0.01) for sock in held)
        with connect(plain, "127.0.2.1") as one_more:
            assert not is_open(one_more, 5)
        assert "limits.max_connections" in log.wait_for("refused 127.0.2.1")
    settle(plain)
    with Client(plain) as client:
        assert client.metadata().brokers


def test_connections_that_never_log_in_keep_nobody_out(own_directory: Path) -> None:
    """Where they may stay for half a minute, as they may by default."""
    places = {"limits": {"max_connections_per_ip": PER_ADDRESS, "max_connections": TOTAL}}
    with ShippedBroker(own_directory, extra=places) as broker, contextlib.ExitStack() as stack:
        way_in = broker.connection()
        same = [stack.enter_context(connect(way_in)) for _ in range(PER_ADDRESS)]
        time.sleep(STRANGER_SECONDS + 0.1)
        with Client(way_in) as client:
            assert client.metadata().brokers
            assert sum(is_open(sock, 0.01) for sock in same) == PER_ADDRESS - 1
            others = [f"127.0.1.{index % 4 + 1}" for index in range(TOTAL - PER_ADDRESS)]
            held = [stack.enter_context(connect(way_in, source)) for source in others]
            time.sleep(STRANGER_SECONDS + 0.1)
            stack.enter_context(connect(way_in, "127.0.2.1"))
            assert client.metadata().brokers, "who has logged in stays"
            assert all(is_open(sock, 0.01) for sock in held), "the oldest went first"


def settle(plain: Connection) -> None:
    """Wait until the connections of the test before are counted out."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.ExitStack() as stack:
            found = [stack.enter_context(connect(plain)) for _ in range(PER_ADDRESS)]
            if all(is_open(sock, 0.02) for sock in found):
                break
    else:
        pytest.fail("old connections still count")
    time.sleep(0.05)


def test_guessing_gets_slower(broker: ShippedBroker, plain: Connection) -> None:
    """The refusal is held back, longer after each failure of the same address; nobody else waits."""
    times = []
    for _ in range(4):
        with Client(plain, login=False) as client:
            started = time.monotonic()
            with pytest.raises(Refused):
                client.login(Account("admin", "guess"))
            times.append(time.monotonic() - started)
    assert times[0] >= 0.05
    assert times[3] >= 0.35, times
