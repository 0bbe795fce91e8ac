"""The metrics listener over a real socket: routes, methods, and that it ends when told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from rivven.config.values import Address
from rivven.http.metrics_server import CONNECTIONS_MAX, MetricsServer
from rivven.telemetry import Metrics


class Broker:
    """What the server asks: health facts and readiness."""

    def __init__(self) -> None:
        self.healthy = True
        self.ready = False

    def health(self) -> dict[str, object]:
        return {"healthy": self.healthy, "partitions_offline": 0}


@pytest.fixture
async def served() -> AsyncIterator[tuple[Broker, Metrics, Address]]:
    broker, metrics = Broker(), Metrics({0: "Produce"})
    server = MetricsServer("127.0.0.1:0", metrics, broker.health, lambda: broker.ready)
    address = await server.start()
    yield broker, metrics, address
    await asyncio.wait_for(server.stop(), 5)
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection(*address)


async def ask(address: Address, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


async def test_the_routes_answer(served: tuple[Broker, Metrics, Address]) -> None:
    broker, metrics, address = served
    assert address.port != 0
    metrics.answered(0, 0.0004)
    status, headers, body = await ask(address, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    text = body.decode()
    assert 'rivven_request_seconds_bucket{api="Produce",le="0.0005"} 1.0' in text
    assert 'rivven_request_seconds_bucket{api="Produce",le="+Inf"} 1.0' in text
    assert "rivven_received_bytes_total 0.0" in text
    assert "process_resident_memory_bytes" in text

    assert (await ask(address, "/healthz"))[0] == 200
    broker.healthy = False
    status, _, body = await ask(address, "/healthz")
    assert status == 503
    assert json.loads(body) == {"healthy": False, "partitions_offline": 0}

    assert (await ask(address, "/readyz"))[0] == 503
    broker.ready = True
    status, _, body = await ask(address, "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True})


async def test_other_pages_and_methods_are_refused(served: tuple[Broker, Metrics, Address]) -> None:
    _, _, address = served
    assert (await ask(address, "/"))[0] == 404
    status, headers, _ = await ask(address, "/metrics", "POST")
    assert (status, headers["allow"]) == (405, "get, head")
    status, headers, body = await ask(address, "/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


async def test_a_taken_port_is_an_os_error(served: tuple[Broker, Metrics, Address]) -> None:
    _, _, address = served
    other = MetricsServer(str(address), Metrics(), dict, lambda: True)
    with pytest.raises(OSError, match="in use"):
        await other.start()
    await other.stop()


async def test_the_address_is_known_before_serving() -> None:
    server = MetricsServer("127.0.0.1:0", Metrics(), dict, lambda: True)
    address = server.bind()
    assert address.port != 0
    assert await server.start() == address
    assert (await ask(address, "/readyz"))[0] == 200
    await server.stop()


async def test_an_open_connection_does_not_delay_the_end() -> None:
    server = MetricsServer("127.0.0.1:0", Metrics(), dict, lambda: True)
    address = await server.start()
    _reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    await writer.drain()
    await asyncio.wait_for(server.stop(), 5)
    writer.close()


async def test_connections_without_a_request_neither_add_up_nor_keep_others_out(
    served: tuple[Broker, Metrics, Address],
) -> None:
    """Each would hold one of the broker's descriptors for as long as it likes."""
    _, _, address = served
    kept_reader, kept_writer = await asyncio.open_connection(*address)
    await asyncio.sleep(0.1)  # it is the oldest
    held = [await asyncio.open_connection(*address) for _ in range(CONNECTIONS_MAX - 1)]
    assert (await ask(address, "/healthz"))[0] == 200
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(kept_reader.read(1), 5) == b"", "the oldest one made room"
    more = [await asyncio.open_connection(*address) for _ in range(8)]
    for reader, _ in held[:7]:
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(1), 5) == b""
    assert not any(reader.at_eof() for reader, _ in held[8:] + more)
    assert (await ask(address, "/metrics"))[0] == 200
    for _, writer in [(kept_reader, kept_writer), *held, *more]:
        writer.close()
