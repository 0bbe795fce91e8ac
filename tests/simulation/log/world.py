"""A log directory on a disk that forgets, driven by one seed, beside a ledger of what was promised."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import random
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

from rivven.config.topic_settings import TopicConfig
from rivven.errors import ErrorCode, RivvenError
from rivven.log.directory import LogDirectory
from rivven.log.host import LogLimits
from rivven.log.partition_log import PartitionLog
from rivven.log.verify import verify
from rivven.records.batch import Record, build_batch, iterate_batches, parse_header
from rivven.testing.files import CrashFiles, Fault, PowerCut
from rivven.testing.segment_keys import StaticSegmentKeys
from rivven.testing.threads import StepThreads

T = TypeVar("T")
TOPIC = UUID("0a0b0c0d-0000-4000-8000-000000000001")
ROOT = "/data"
PRODUCERS = (7, 8)


class SimulatedClock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class Ledger:
    """What one partition was given, and what it has promised to keep."""

    def __init__(self) -> None:
        self.attempts: dict[int, list[bytes]] = {}
        self.promised: dict[int, bytes] = {}
        self.waiting: list[tuple[int, int, bytes]] = []
        self.promised_end = 0
        self.start_promised = 0
        self.start_requested = 0
        self.sequences: dict[int, int] = {}
        self.epoch = 0
        self.cut = ""

    def acknowledged(self, end: int) -> None:
        while self.waiting and self.waiting[0][1] < end:
            base, last, content = self.waiting.pop(0)
            self.promised[base] = content
            self.promised_end = last + 1


class World:
    def __init__(self, seed: int, partitions: int = 2) -> None:
        self.random = random.Random(seed)
        self.keys = StaticSegmentKeys(seed, self.random.choice((1, 2)))
        self.sealing = self.random.choice(("never", "always", "always", "at times"))
        self.files = CrashFiles()
        self.files.syncfs = self.random.random() < 0.5
        self.clock = SimulatedClock()
        self.threads = StepThreads(self.random)
        self.loop = asyncio.new_event_loop()
        self.partitions = partitions
        self.ledgers = [Ledger() for _ in range(partitions)]
        self.logs: list[PartitionLog] = []
        self.directory: LogDirectory | None = None
        self.config = TopicConfig(
            segment_bytes=self.random.choice((600, 3000, 20_000)),
            index_interval_bytes=self.random.choice((0, 200, 4096)),
            message_timestamp_type=self.random.choice(("CreateTime", "CreateTime", "LogAppendTime")),
            retention_ms=-1,
            file_delete_delay_ms=self.random.choice((0, 5000)),
        )
        self.offline = False
        self.crashes = 0

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    # -- driving ---------------------------------------------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, T], steps_max: int = 100_000) -> T:
        """Drive the loop and the threads until the coroutine ends."""
        task = self.loop.create_task(coroutine)
        for _ in range(steps_max):
            self.loop.run_until_complete(asyncio.sleep(0))
            if task.done():
                return task.result()
            self.threads.step()
        raise AssertionError("a coroutine never ended")

    def open(self) -> None:
        """Start: open the directory and all partitions, and check them against the ledgers."""
        self.threads = StepThreads(self.random)
        self.offline = False
        self.keys.available = True
        self.directory = LogDirectory.open(
            ROOT,
            self.files,
            self.threads,
            self.clock,
            node_id=1,
            limits=LogLimits(
                open_files=self.random.choice((2, 100)),
                producers_per_partition=100,
                thread_write_bytes=self.random.choice((1, 3000, 20_000)),
            ),
            keys=self.keys,
            entropy=self.random.randbytes,
        )
        self._choose_sealing()
        was_clean = self.directory.was_clean
        opening = self.directory.open_partitions(TOPIC, range(self.partitions), self.config)
        self.logs = self.run(opening)
        for number, log in enumerate(self.logs):
            self._check(number, log, was_clean)
            log.progress_listener = lambda log, number=number: self._progressed(number, log)
            log.failure_listener = lambda log, offset, error, number=number: self._taken_back(
                number, log, offset
            )

    def _taken_back(self, number: int, log: PartitionLog, offset: int) -> None:
        """Appends from `offset` on could not be written; clients send the same sequences again."""
        ledger = self.ledgers[number]
        ledger.waiting = [entry for entry in ledger.waiting if entry[0] < offset]
        self._learn_sequences(log, ledger)

    def _learn_sequences(self, log: PartitionLog, ledger: Ledger) -> None:
        for producer_id in PRODUCERS:
            entry = log.usable().producers.get(producer_id)
            ledger.sequences[producer_id] = 0 if entry is None else entry.batches[-1].last_sequence + 1

    def _progressed(self, number: int, log: PartitionLog) -> None:
        if log.online:
            self.ledgers[number].acknowledged(log.acknowledgeable_end)
        else:
            self.offline = True

    # -- what a broker does ----------------------------------------------------------------------------------

    def _choose_sealing(self) -> None:
        sealed = {"never": False, "always": True}.get(self.sealing, self.random.random() < 0.5)
        self.config = dataclasses.replace(self.config, encryption_enabled=sealed)

    def change_keys(self) -> None:
        """A topic gets a new key, sealing is switched on or off, the provider goes away or comes back."""
        choice = self.random.random()
        if choice < 0.3:
            self.keys.renew(TOPIC)
        elif choice < 0.6:
            self._choose_sealing()
            for log in self.logs:
                log.update_config(self.config)
        else:
            self.keys.available = choice < 0.9

    def read_back(self) -> None:
        """What consumers get while batches are kept open is what the files hold."""
        self.keys.available = True
        for log in self.logs:
            try:
                recent = self.contents(log)
                if log.hot_tail is not None:
                    log.hot_tail.clear()
                assert self.contents(log).items() >= recent.items()
            except RivvenError:
                assert self.offline or self.files.faults

    def append(self) -> None:
        number = self.random.randrange(self.partitions)
        log, ledger = self.logs[number], self.ledgers[number]
        producer_id = self.random.choice((-1, -1, *PRODUCERS))
        count = self.random.randint(1, 3)
        size = self.random.choice((10, 100, 1000, 4096, 5000))
        self.clock.ms += self.random.randint(0, 50)
        records = [
            Record(index, self.clock.ms, None, self.random.randbytes(size // count), ())
            for index in range(count)
        ]
        sequence = ledger.sequences.get(producer_id, 0)
        batch = build_batch(
            records,
            producer_id=producer_id,
            producer_epoch=0 if producer_id >= 0 else -1,
            base_sequence=sequence if producer_id >= 0 else -1,
        )
        view = memoryview(batch)
        ledger.attempts.setdefault(log.log_end_offset, []).append(bytes(batch))
        try:
            appended = log.append(view, parse_header(view), self.clock.ms)
        except RivvenError as error:
            assert error.code == ErrorCode.KAFKA_STORAGE_ERROR, error
            return
        assert not appended.duplicate
        if producer_id >= 0:
            ledger.sequences[producer_id] = sequence + count
        ledger.waiting.append((appended.base_offset, appended.last_offset, bytes(batch)))
        ledger.acknowledged(log.acknowledgeable_end)

    def step(self) -> None:
        for _ in range(self.random.randint(1, 20)):
            self.threads.step()
            self.loop.run_until_complete(asyncio.sleep(0))

    def let_time_pass(self) -> None:
        self.clock.ms += 11_000
        self.threads.advance(11)

    def delete_records(self) -> None:
        number = self.random.randrange(self.partitions)
        log, ledger = self.logs[number], self.ledgers[number]
        if log.acknowledgeable_end <= log.log_start_offset:
            return
        offset = self.random.randint(log.log_start_offset, log.acknowledgeable_end)
        ledger.start_requested = max(ledger.start_requested, offset)
        try:
            start = self.run(log.delete_records_before(offset))
        except RivvenError:
            return
        assert start >= offset
        ledger.start_promised = max(ledger.start_promised, start)

    def break_something(self) -> None:
        operation = self.random.choice(("write", "write", "write", "sync", "truncate", "open", "sync_all"))
        # A short write of the checkpoint is written to its end by whoever writes it.
        places = (
            ("partitions", "partitions", "log-checkpoint")
            if operation in ("write", "open")
            else ("partitions",)
        )
        self.files.faults.append(
            Fault(
                operation,
                self.random.choice((errno.ENOSPC, errno.ENOSPC, errno.EIO, 0))
                if operation == "write"
                else (errno.EMFILE if operation == "open" else errno.EIO),
                path="" if operation == "sync_all" else self.random.choice(places),
                skip=self.random.randint(0, 3),
                written=self.random.randint(0, 3000),
            )
        )

    def stop_cleanly(self) -> None:
        assert self.directory is not None
        self.run(self.directory.close())
        self.files.restart()
        report = verify(self.files, ROOT)
        # A snapshot or index that a crash has torn may lie about: it is noticed when it is used.
        assert not report.damaged, report.findings
        self.files.restart()

    def crash(self) -> None:
        """Power loss or kill -9."""
        self.crashes += 1
        if self.random.random() < 0.7 or not self.files.powered:
            self.files.crash(self.random)
        else:
            self.files.restart()

    def reopen(self) -> None:
        """Start again, with the power going again while recovering now and then."""
        while True:
            if self.random.random() < 0.3:
                self.files.cut_power_at = self.files.operations + self.random.randint(1, 30)
            try:
                self.open()
                self.files.cut_power_at = None
                return
            except PowerCut:
                self.crash()

    # -- what must be true -----------------------------------------------------------------------------------

    def _check(self, number: int, log: PartitionLog, was_clean: bool) -> None:
        ledger = self.ledgers[number]
        found = self.contents(log)
        assert log.online, log.offline_reason
        assert ledger.start_promised <= log.log_start_offset <= ledger.start_requested
        assert log.log_end_offset >= ledger.promised_end, "an acknowledged batch is missing at the end"
        for base, content in ledger.promised.items():
            if base >= log.log_start_offset:
                assert found.get(base) == content, f"the acknowledged batch at {base} is gone or changed"
        for base, content in found.items():
            attempts = ledger.attempts.get(base, [])
            same = [attempt for attempt in attempts if attempt[61:] == content[61:]]
            assert same, f"the batch at {base} was never sent"
        assert log.leader_epoch >= ledger.epoch
        cut = max((name for name in self.files.list(log.path) if name.startswith("cut-")), default="")
        if cut > ledger.cut:
            assert log.leader_epoch > ledger.epoch and not was_clean
        ledger.cut = cut
        ledger.epoch = log.leader_epoch
        ledger.attempts = {base: [content] for base, content in found.items()}
        ledger.promised = dict(found)
        ledger.promised_end = log.log_end_offset
        ledger.start_promised = ledger.start_requested = log.log_start_offset
        ledger.waiting.clear()
        if self.sealing == "always" and not cut:
            assert not log.plaintext_history or not log.log_end_offset
        self._check_producers(log, ledger, found)
        self._check_times(log, found)

    def _check_times(self, log: PartitionLog, found: dict[int, bytes]) -> None:
        """Lookups by time find what a walk over the records finds."""
        times = {base: parse_header(content).max_timestamp for base, content in found.items()}
        for target in {0, *self.random.sample(sorted(times.values()), min(2, len(times)))}:
            later = [(base, time) for base, time in times.items() if time >= target]
            expected = None
            if later:
                offset = max(later[0][0], log.log_start_offset)
                expected = offset, later[0][1], log.epoch_for_offset(offset)
            assert self.run(log.offset_for_timestamp(target, log.acknowledgeable_end)) == expected
        latest = self.run(log.max_timestamp(log.acknowledgeable_end))
        assert (latest is None) == (not times)
        assert latest is None or latest[1] == max(times.values())

    def contents(self, log: PartitionLog) -> dict[int, bytes]:
        """Base offset -> batch, read as a consumer would, from the log's start."""
        found: dict[int, bytes] = {}
        offset = log.log_start_offset
        end = log.acknowledgeable_end
        while offset < end:
            max_bytes = self.random.choice((1, 500, 100_000))
            result = log.read(offset, max_bytes, end, at_least_one=True)
            if result is None or self.random.random() < 0.1:
                result = self.run(log.read_cold(offset, max_bytes, end, at_least_one=True))
            assert result.next_offset > offset, f"nothing at {offset}, the log ends at {end}"
            data = b"".join(bytes(buffer) for buffer in result.buffers)
            assert len(data) == result.size
            assert found or result.first_offset <= offset
            for position, header in iterate_batches(data):
                found[header.base_offset] = data[position : position + header.size_bytes]
                assert header.last_offset < end
                assert offset <= header.last_offset, "offsets go back"
                assert not found or header.base_offset <= offset, "offsets are missing"
                offset = header.last_offset + 1
            assert offset == result.next_offset
        return found

    def _check_producers(self, log: PartitionLog, ledger: Ledger, found: dict[int, bytes]) -> None:
        """What was recovered is recognised as a duplicate, and the next sequence is what follows it."""
        latest: dict[int, tuple[int, int]] = {}
        for base, content in found.items():
            header = parse_header(content)
            if header.producer_id >= 0:
                latest[header.producer_id] = (header.last_sequence + 1, base)
        for producer_id, (following, base) in latest.items():
            copy = memoryview(bytearray(found[base]))
            repeated = log.append(copy, parse_header(copy), self.clock.ms)
            assert repeated.duplicate and repeated.base_offset == base
            entry = log.usable().producers.get(producer_id)
            assert entry is not None and entry.batches[-1].last_sequence + 1 == following
        self._learn_sequences(log, ledger)
