"""What is measured of a running broker: throughput, latency, memory, stalls. Every loop ends in time."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

from benches.librdkafka import consume_all, produce_for
from benches.wire import Wire, error_codes, produce_request
from tests.shipped.broker import RIVVEN
from tests.shipped.connection import Connection

LATENCY_REQUESTS_MAX = 3000
SETTLE_SECONDS = 0.2  # between measurements, so that one's background work does not count for the next


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds of single requests."""

    p50: float
    p99: float
    requests: int


class Pair(NamedTuple):
    """What each round measured of two things that are compared."""

    first: list[float]
    second: list[float]

    def ratio(self) -> float:
        """Of the second to the first. The disk's mood lasts for longer than a round: it is in both of a
        pair, not in both medians."""
        return statistics.median(second / first for first, second in zip(*self, strict=True))


def in_turns(rounds: int, first: Callable[[], float], second: Callable[[], float]) -> Pair:
    """Measure both so many times, in pairs, each with the machine's mood of that moment."""
    found = Pair([], [])
    for number in range(rounds):
        pair = list(zip((first, second), found, strict=True))
        # Each goes first as often as the other: what the first leaves behind burdens the second.
        for measure, values in pair if number % 2 else reversed(pair):
            values.append(measure())
            time.sleep(SETTLE_SECONDS)
    return found


def percentiles(seconds: list[float]) -> Latency:
    """p50 and p99 of measured durations."""
    rows = sorted(seconds)
    at = [rows[min(len(rows) - 1, int(len(rows) * share))] * 1e6 for share in (0.50, 0.99)]
    return Latency(at[0], at[1], len(rows))


def produce_megabytes(
    connection: Connection, topic: str, partitions: int, record_bytes: int, seconds: float
) -> tuple[int, float]:
    """Records and MB/s of record values a C client gets acknowledged with acks=all."""
    conf = connection.librdkafka()
    records, elapsed = produce_for(
        conf, topic, partitions=partitions, record_bytes=record_bytes, seconds=seconds
    )
    return records, records * record_bytes / elapsed / 1e6


def fetch_megabytes(
    connection: Connection, topic: str, partitions: int, record_bytes: int, records: int
) -> float:
    """MB/s of record values a C client reads from the beginning."""
    got, elapsed = consume_all(connection.librdkafka(), topic, partitions=partitions, records=records)
    if got < records:
        raise RuntimeError(f"{topic}: only {got} of {records} records could be read")
    return got * record_bytes / elapsed / 1e6


@contextlib.contextmanager
def wire(connection: Connection) -> Iterator[Wire]:
    host, _, port = connection.bootstrap.rpartition(":")
    client = Wire(host, int(port))
    try:
        yield client
    finally:
        client.close()


def request_durations(
    connection: Connection,
    topic: str,
    *,
    partitions: int = 1,
    payload_bytes: int = 100,
    seconds: float = 3.0,
) -> list[float]:
    """Seconds of one acks=all request after another on a plain socket, one record for each partition."""
    request = produce_request(topic, partitions, b"x" * payload_bytes)
    durations: list[float] = []
    with wire(connection) as client:
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline and len(durations) < LATENCY_REQUESTS_MAX:
            started = time.perf_counter()
            answer = client.call(request)
            durations.append(time.perf_counter() - started)
            codes = error_codes(answer, topic, partitions)
            if codes != {0}:
                raise RuntimeError(f"produce was refused: {codes}")
    return durations[len(durations) // 10 :]  # the first tenth warms up


def request_latency(
    connection: Connection, topic: str, *, partitions: int = 1, seconds: float = 3.0
) -> Latency:
    """p50 and p99 of `request_durations`."""
    return percentiles(request_durations(connection, topic, partitions=partitions, seconds=seconds))


def client_latency(connection: Connection, topic: str, seconds: float = 3.0) -> Latency:
    """One record after another through librdkafka: produce and wait for its acknowledgement."""
    settings = {"linger.ms": 0, "acks": "all", "socket.nagle.disable": True}
    producer = Producer(connection.librdkafka() | settings)
    durations: list[float] = []
    payload = b"x" * 100
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline and len(durations) < LATENCY_REQUESTS_MAX:
        started = time.perf_counter()
        producer.produce(topic, payload, partition=0)
        if producer.flush(10):
            raise RuntimeError("a record was not acknowledged within ten seconds")
        durations.append(time.perf_counter() - started)
    return percentiles(durations[len(durations) // 10 :])


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process and its children."""
    total = 0.0
    for each in [pid, *_children(pid)]:
        status = Path(f"/proc/{each}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        total += int(match.group(1)) / 1024 if match else 0.0
    return total


def _children(pid: int) -> list[int]:
    rows: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        rows += [int(text) for text in path.read_text().split()]
    return rows + [grandchild for child in rows for grandchild in _children(child)]


def metric_lines(address: tuple[str, int], name: str) -> list[str]:
    """The lines of one metric as the broker exposes them."""
    host, port = address
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return [line for line in text.splitlines() if line.startswith(name)]


def metric(address: tuple[str, int], name: str) -> float:
    """The value of a metric without labels."""
    [line] = metric_lines(address, name + " ")
    return float(line.split()[-1])


def warm_memory(size: int = 5 << 30) -> None:
    """Take free memory, write to every page of it once, and give it back, just before a measurement.

    A virtual machine's memory gets pages of its host when it is written, and the host takes free ones back
    after some seconds. Filling the page cache with pages that are not there runs at 280 MB/s instead of
    4,000, so that a broker's speed was that of whatever had been freed before it.
    """
    if sys.platform != "linux":
        return
    [free] = re.findall(r"MemFree:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    size = min(size, int(free) * 1024 - (2 << 30))
    if size > 0:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            for position in range(0, size, mmap.PAGESIZE):
                memory[position] = 1


def stolen_seconds() -> float:
    """CPU time of all cores that the hypervisor gave to others since boot: a stall nobody here caused."""
    if sys.platform != "linux":
        return 0.0
    [_, *ticks] = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(ticks[7]) / os.sysconf("SC_CLK_TCK")


def command_seconds(*arguments: str) -> float:
    """Wall time of one `rivven` command."""
    started = time.perf_counter()
    subprocess.run([RIVVEN, *arguments], capture_output=True, check=True, timeout=30)
    return time.perf_counter() - started
