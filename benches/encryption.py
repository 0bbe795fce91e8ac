"""What encryption at rest costs: every figure beside the same one without it, taken in turns.

One broker with two topics that differ in `encryption.enabled` alone, so that the machine's moods meet both.
Reading and opening of cold segments is measured without a socket, in this process, through the log itself.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from confluent_kafka import Producer

from benches import measures
from benches.brokers import RELAXED, Rivven
from benches.librdkafka import produce_for
from benches.measures import Pair
from benches.report import Report
from rivven.app.process import bound_allocator
from rivven.clock import SystemClock
from rivven.config.topic_settings import TopicConfig
from rivven.log.directory import LogDirectory
from rivven.log.files import OsFiles
from rivven.log.host import LogLimits
from rivven.log.partition_log import PartitionLog
from rivven.log.sealing import ALGORITHMS
from rivven.log.threads import LoopThreads
from rivven.records.batch import Record, build_batch, parse_header
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.shipped.connection import Connection

CONFIG = {"storage": {"encryption": {"enabled": True}}}
ROUNDS = 8  # of every pair, in turns; the medians count, and for the cost that of the pairs' ratios
BATCHES = {"64 KiB": 65_536, "1 MB": 1_000_000}  # batch.size; the largest batch the broker takes by default
RECORD_BYTES = 1024
PARTITIONS = 4
THROUGHPUT_LOSS_MAX = 10.0  # percent
LATENCY_LOSS_MAX = 1000.0  # microseconds
FETCH_LOSS_MAX = 5.0  # percent
HOT_BYTES = 40_000_000  # less than hot_tail_bytes keeps
COLD_BYTES = 192 << 20
COLD_SPEED_MIN = 400.0  # MB/s of one core
READ_BYTES = 1 << 20
BATCH_RECORDS = 64  # of 1 KiB: batches of 64 KiB
FLUSH_RECORDS = 64 * BATCH_RECORDS  # what waits for the disk while it is written stays in memory
PLAIN, SEALED = "plain", "encrypted"  # differ in their first letter, which names topics
TOPIC = UUID(int=1)


class EncryptionBench:
    """`seconds` is how long one throughput measurement lasts."""

    def __init__(self, report: Report, rivven: Rivven, seconds: float) -> None:
        self._report, self._rivven, self._seconds = report, rivven, seconds
        self._number = 0

    def run(self) -> None:
        """Everything that needs the broker."""
        for name, size in BATCHES.items():
            self._produce(f"{name} batches, sasl_ssl, fsync", size, {}, target=THROUGHPUT_LOSS_MAX)
            self._produce(f"{name} batches, sasl_ssl, os-flush", size, RELAXED, target=None)
        self._single()
        self._fetch()

    def _produce(self, case: str, batch_bytes: int, config: dict[str, str], target: float | None) -> None:
        """MB/s of record values that librdkafka gets acknowledged with acks=all."""
        connection = self._rivven.connection("sasl_ssl")
        conf = connection.librdkafka() | {"batch.size": batch_bytes, "linger.ms": 20}

        def measure(topic: str) -> float:
            records, elapsed = produce_for(
                conf, topic, partitions=PARTITIONS, record_bytes=RECORD_BYTES, seconds=self._seconds
            )
            return records * RECORD_BYTES / elapsed / 1e6

        self._speeds(f"produce, {case}", self._in_turns(measure, PARTITIONS, config), target)

    def _single(self) -> None:
        """p99 of one record after another, durable."""
        connection = self._rivven.connection("plaintext")

        def measure(topic: str) -> float:
            return measures.request_latency(connection, topic, seconds=self._seconds).p99

        plain, sealed = (statistics.median(found) for found in self._in_turns(measure, 1, {}))
        self._report.add("encryption", PLAIN, "single produce, fsync", plain, "us p99")
        self._report.add("encryption", SEALED, "single produce, fsync", sealed, "us p99")
        target = f"<= {LATENCY_LOSS_MAX:.0f}"
        self._report.add("encryption", "cost", "single produce, fsync", sealed - plain, "us p99", target)

    def _fetch(self) -> None:
        """Reading again what was just written: kept decrypted, or in the page cache."""
        records = HOT_BYTES // RECORD_BYTES
        connection = self._rivven.connection("sasl_ssl")
        self._number += 1
        # The encrypted one is filled last: its end is what is kept.
        plain, sealed = (self._topic(kind, {}, 1) for kind in (PLAIN, SEALED))
        for topic in (plain, sealed):
            _fill(connection, topic, records)

        def speed_of(topic: str) -> float:
            return measures.fetch_megabytes(connection, topic, 1, RECORD_BYTES, records)

        pair = measures.in_turns(ROUNDS, lambda: speed_of(plain), lambda: speed_of(sealed))
        self._speeds("fetch of the hot tail, sasl_ssl", pair, FETCH_LOSS_MAX)

    def _in_turns(self, measure: Callable[[str], float], partitions: int, config: dict[str, str]) -> Pair:
        """What was measured without and with encryption, each time with a topic of its own."""

        def measured(kind: str) -> float:
            self._number += 1
            topic = self._topic(kind, config, partitions)
            measures.warm_memory()
            value = measure(topic)
            self._rivven.drop_topic(topic)
            return value

        return measures.in_turns(ROUNDS, lambda: measured(PLAIN), lambda: measured(SEALED))

    def _topic(self, kind: str, config: dict[str, str], partitions: int) -> str:
        """A new topic. All names are equally long: librdkafka lays out its requests by it, so that a name
        of 11 characters can cost twice the TLS records of one of 7, and a quarter of the speed."""
        name = f"{kind[0]}-{self._number:03d}"
        enabled = "true" if kind == SEALED else "false"
        self._rivven.make_topic(name, partitions, config | {"encryption.enabled": enabled})
        return name

    def _speeds(self, case: str, pair: Pair, target: float | None) -> None:
        self._report.add("encryption", PLAIN, case, statistics.median(pair.first), "MB/s")
        self._report.add("encryption", SEALED, case, statistics.median(pair.second), "MB/s")
        wanted = "" if target is None else f"<= {target:.0f}"
        self._report.add("encryption", "cost", case, 100 * (1 - pair.ratio()), "%", wanted)


def _fill(connection: Connection, topic: str, records: int) -> None:
    """Exactly so many records, in batches of 64 KiB."""
    producer = Producer(connection.librdkafka() | {"batch.size": 65_536, "linger.ms": 20})
    value = b"x" * RECORD_BYTES
    for _ in range(records):
        while True:
            try:
                producer.produce(topic, value, partition=0)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(60):
        raise RuntimeError("the topic could not be filled")


class ColdSpeed(NamedTuple):
    """MB/s of plain bytes: of one core's time, and of the clock's."""

    core: float
    wall: float


def cold_reads(report: Report, directory: Path) -> None:
    """Reading segments that no cache holds and opening them, through the log but without a socket."""
    bound_allocator()  # as the broker does
    logs = [_ColdLog(directory, name) for name in (None, *ALGORITHMS)]
    for log in logs:
        asyncio.run(_write(log.path, log.keys, log.config))
    for _ in range(ROUNDS):
        for log in logs:
            for file in log.path.rglob("*.log"):
                OsFiles().open(str(file), "read").forget_cached(0)
            measures.warm_memory()
            log.speeds.append(asyncio.run(_read(log.path, log.keys, log.config)))
    for log in logs:
        core, wall = (statistics.median(values) for values in zip(*log.speeds, strict=True))
        opened = "" if log.algorithm is None else f" and opened, {log.algorithm}"
        broker = PLAIN if log.algorithm is None else SEALED
        target = "" if log.algorithm is None else f">= {COLD_SPEED_MIN:.0f}"
        report.add("encryption", broker, f"cold segments, read{opened}", core, "MB/s/core", target)
        report.add("encryption", broker, f"cold segments, read{opened}", wall, "MB/s")


class _ColdLog:
    """A directory with one partition, sealed with an algorithm or not."""

    def __init__(self, parent: Path, algorithm: str | None) -> None:
        self.algorithm = algorithm
        self.path = parent / (algorithm or PLAIN)
        self.path.mkdir(mode=0o700)
        self.keys = StaticSegmentKeys(1, ALGORITHMS[algorithm or "aes-256-gcm"])
        self.config = TopicConfig(segment_bytes=64 << 20, encryption_enabled=algorithm is not None)
        self.speeds: list[ColdSpeed] = []


async def _write(path: Path, keys: StaticSegmentKeys, config: TopicConfig) -> None:
    directory = _opened(path, keys)
    log = await directory.open_partition(TOPIC, 0, replace(config, flush_messages=2**62))
    for batch in _batches(COLD_BYTES):
        log.append(memoryview(batch), parse_header(batch), 0)
        if log.log_end_offset % FLUSH_RECORDS == 0:
            await log.flush()
    await log.flush()
    await directory.close()


async def _read(path: Path, keys: StaticSegmentKeys, config: TopicConfig) -> ColdSpeed:
    directory = _opened(path, keys)
    log = await directory.open_partition(TOPIC, 0, config)
    wall, core = time.perf_counter(), time.process_time()
    got = await _read_all(log)
    wall, core = time.perf_counter() - wall, time.process_time() - core
    await directory.close()
    return ColdSpeed(got / core / 1e6, got / wall / 1e6)


def _opened(path: Path, keys: StaticSegmentKeys) -> LogDirectory:
    threads = LoopThreads(asyncio.get_running_loop())
    limits = LogLimits(hot_tail_bytes=0)
    return LogDirectory.open(
        str(path), OsFiles(), threads, SystemClock(), node_id=1, keys=keys, limits=limits
    )


def _batches(total: int) -> Iterator[bytearray]:
    """Batches of 64 KiB whose content does not compress."""
    value = os.urandom(RECORD_BYTES)
    records = [Record(n, 0, None, value, []) for n in range(BATCH_RECORDS)]
    made = build_batch(records)
    for _ in range(total // len(made)):
        yield bytearray(made)


async def _read_all(log: PartitionLog) -> int:
    offset, end, got = 0, log.log_end_offset, 0
    while offset < end:
        result = await log.read_cold(offset, READ_BYTES, end, at_least_one=True)
        got += result.size
        offset = result.next_offset
    return got
