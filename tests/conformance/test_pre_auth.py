"""What peers can do before they have proved who they are: little, briefly, at the price of one log line."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from rivven.protocol import messages as m
from rivven.protocol.api import APIS, ApiKey
from rivven.protocol.codec import parse_response
from rivven.protocol.primitives import uvarint
from tests.conformance.answers import Names
from tests.conformance.calls import CALLS
from tests.conformance.client import Client, fresh
from tests.conformance.process import LogTail, resident_bytes
from tests.conformance.wire import TIMEOUT_S, Closed, frame
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

SETTINGS = {"connection.failed.authentication.delay.ms": 0}
EXTRA = {"limits": {"max_connections_per_ip": 1500}}
SEED = 20261122
MIB = 1 << 20

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def connect(bootstrap: str) -> socket.socket:
    host, _, port = bootstrap.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_S)


def is_closed(sock: socket.socket) -> bool:
    """Whether the peer closes; what it may still say (a TLS alert) is read first."""
    try:
        while sock.recv(4096):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def request(key: int, version: int, body: bytes, client_id: bytes = b"\xff\xff") -> bytes:
    data = key.to_bytes(2, "big") + version.to_bytes(2, "big") + bytes(4) + client_id + body
    return len(data).to_bytes(4, "big") + data


HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(200)
HUGE = uvarint(2**31)

HOSTILE = {
    "2 GB frame": (b"\x7f\xff\xff\xff", "frame of 2147483647 bytes"),
    "larger than before a login": ((512 * 1024 + 1).to_bytes(4, "big"), "frame of 524289 bytes"),
    "negative size": (b"\xff\xff\xff\xfe", "negative"),
    "TLS on a plaintext port": (HELLO, "TLS handshake on a plaintext listener"),
    "HTTP GET": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP request on a Kafka listener"),
    "HTTP POST": (b"POST /topics HTTP/1.1\r\n\r\n", "HTTP request on a Kafka listener"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP request on a Kafka listener"),
    "empty frame": (bytes(4), "shorter than a request header"),
    "client id longer than the frame": (request(18, 0, b"", b"\x7f\xff"), "client id is longer"),
    "negative client id": (request(18, 0, b"", b"\xff\xfe"), "client id is longer"),
    "string longer than the frame": (request(17, 1, b"\x7f\xffSCRAM"), "SaslHandshakeRequest"),
    "compact string longer than the frame": (request(18, 3, b"\0" + HUGE + b"x"), "ApiVersionsRequest"),
    "two thousand million tags": (request(18, 3, HUGE), "tagged fields are longer"),
    "a tag longer than the frame": (request(18, 3, b"\1\0" + HUGE), "tagged field is longer"),
    "an endless varint": (request(18, 3, b"\xff" * 40), "varint does not fit"),
    "bytes left over": (request(18, 0, b"more"), "left over"),
    "a request before the login": (request(3, 0, bytes(4)), "METADATA is not legal before"),
    "a token before the handshake": (request(36, 0, bytes(4)), "SASL_AUTHENTICATE is not legal before"),
    "an unknown API": (request(999, 0, b""), "API key 999"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_cost_one_log_line_and_the_connection(
    broker: ShippedBroker, plain: Connection, name: str
) -> None:
    data, reason = HOSTILE[name]
    log = LogTail(broker)
    with connect(plain.bootstrap) as sock:
        sock.sendall(data)
        assert is_closed(sock)
    assert "sasl_plaintext" in log.wait_for(reason)
    assert len(log.lines("rivven.server")) == 1, log.lines()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(ApiKey.API_VERSIONS, 0, m.ApiVersionsRequest()), "does not speak TLS"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "speaks HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "TLS handshake failed"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "TLS handshake failed"),
    ],
    ids=["Kafka in the clear", "HTTP", "a TLS alert", "a broken TLS hello"],
)
def test_the_tls_port(broker: ShippedBroker, data: bytes, reason: str) -> None:
    log = LogTail(broker)
    with connect(broker.connection("sasl_ssl").bootstrap) as sock:
        sock.sendall(data)
        assert is_closed(sock)
    assert "sasl_ssl" in log.wait_for(reason)
    assert len(log.lines("rivven.server")) == 1, log.lines()


def test_unknown_tagged_fields_are_skipped_whatever_is_in_them(plain: Connection) -> None:
    nested = b"\1\0\5" + b"\1\0\3\1\0"
    with Client(plain, login=False) as client:
        client.send_raw(request(18, 3, b"\0" + b"\2w" + b"\x021" + nested))
        answer = parse_response(ApiKey.API_VERSIONS, 3, client.receive_frame(), 4)
    assert answer.error_code == 0


@pytest.mark.parametrize("key", [key for key in APIS if key not in (17, 18)], ids=lambda key: key.name)
def test_nothing_works_before_the_login(plain: Connection, key: ApiKey) -> None:
    names = Names(fresh(), uuid4(), fresh(), "u")
    version = APIS[key].max
    asked = (
        m.SaslAuthenticateRequest(auth_bytes=b"x")
        if key is ApiKey.SASL_AUTHENTICATE
        else CALLS[key].request(version, names)
    )
    with Client(plain, login=False) as client:
        client.send(key, version, asked)
        assert client.is_closed()


def test_nothing_but_tokens_works_during_the_login(plain: Connection) -> None:
    for handshake in (0, 1):
        with Client(plain, login=False) as client:
            mechanism = m.SaslHandshakeRequest(mechanism="SCRAM-SHA-256")
            assert client.call(ApiKey.SASL_HANDSHAKE, handshake, mechanism).error_code == 0
            client.send(ApiKey.METADATA, 9, m.MetadataRequest(topics=None))
            assert client.is_closed()


def test_hostile_lengths_after_the_login(plain: Connection, broker: ShippedBroker) -> None:
    """The same checks hold for those who are known; the limit is the larger one."""
    attacks = {
        (100 * MIB + 1).to_bytes(4, "big"): "frame of 104857601 bytes",
        request(3, 1, b"\x7f\xff\xff\xff"): "MetadataRequest",
        request(0, 3, b"\xff\xff\0\1" + bytes(4) + b"\x7f\xff\xff\xff"): "ProduceRequest",
        request(1, 12, b"\0" + bytes(17) + HUGE): "FetchRequest",
    }
    for data, reason in attacks.items():
        log = LogTail(broker)
        with Client(plain) as client:
            client.send_raw(data)
            assert client.is_closed()
        log.wait_for(reason)


def test_a_hundred_tokens_that_never_end(plain: Connection) -> None:
    """A conversation is bounded; so is what is pipelined before it ended."""
    with Client(plain, login=False) as client:
        mechanism = m.SaslHandshakeRequest(mechanism="SCRAM-SHA-256")
        client.call(ApiKey.SASL_HANDSHAKE, 1, mechanism)
        token = frame(ApiKey.SASL_AUTHENTICATE, 2, m.SaslAuthenticateRequest(auth_bytes=b"n,,n=a,r=b"))
        with contextlib.suppress(Closed):
            client.send_raw(token * 100)
        answers = 0
        with pytest.raises(Closed):
            while True:
                client.receive_frame()
                answers += 1
        assert answers <= 16


# -- memory --------------------------------------------------------------------------------------------------


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"only {hard} descriptors allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@needs_proc
@pytest.mark.parametrize("protocol", ["sasl_plaintext", "sasl_ssl"])
@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_strangers_cost_at_most_64_kib_each(own_directory: Path, protocol: str) -> None:
    """On a fresh broker: one that has served before would hide the cost in memory it kept."""
    with ShippedBroker(own_directory, protocols=(protocol,), extra=EXTRA) as broker, ExitStack() as stack:
        connection = broker.connection(protocol)
        for _ in range(20):  # what the first ones cost once (imports, arenas) is not a cost per socket
            stack.enter_context(Client(connection, login=False))
        before = resident_bytes(broker)
        for _ in range(1000):
            client = stack.enter_context(Client(connection, login=False))
            client.call(ApiKey.API_VERSIONS, 0, m.ApiVersionsRequest())
            # 500 KB are announced, and the first of them sent.
            client.send_raw((500_000).to_bytes(4, "big") + bytes(1000))
        grown = resident_bytes(broker) - before
        print(f"{grown / 1000 / 1024:.1f} KiB each")
        assert grown <= 1000 * 64 * 1024
        with Client(connection) as client:
            assert client.metadata().brokers


@needs_proc
def test_ten_thousand_hostile_frames_leave_no_memory_behind(broker: ShippedBroker, plain: Connection) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    bombard(plain, chance, 500)
    before = resident_bytes(broker)
    bombard(plain, chance, 10_000)
    with Client(plain) as client:
        assert client.metadata().brokers
    grown = resident_bytes(broker) - before
    print(f"{grown / MIB:.1f} MiB more")
    assert grown <= 16 * MIB


def bombard(plain: Connection, chance: random.Random, count: int) -> None:
    """Each connection sends one frame of random kind; twenty at a time, not waiting in between."""
    known = [data for data, _ in HOSTILE.values()]
    for _ in range(0, count, 20):
        with ExitStack() as stack:
            sockets = [stack.enter_context(connect(plain.bootstrap)) for _ in range(20)]
            for sock in sockets:
                kind = chance.randrange(4)
                body = chance.randbytes(chance.randrange(8, 400))
                if kind == 0:
                    data = chance.choice(known)
                elif kind == 1:
                    data = chance.randbytes(4) + body
                elif kind == 2:
                    data = len(body).to_bytes(4, "big") + body
                else:
                    key, version = chance.choice([(17, 0), (17, 1), (18, 0), (18, 3), (36, 2)])
                    data = request(key, version, body)
                with contextlib.suppress(ConnectionError):
                    sock.sendall(data)
            for sock in sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)  # a frame that promised more is over now
                assert is_closed(sock)
