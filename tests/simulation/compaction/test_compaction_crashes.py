"""Compaction and re-encryption under crashes: whatever happens when, the log says what a model says.

A partition is a directory of closed segments in `CrashFiles`, plain, encrypted or some of both. Histories of
keys, values and tombstones grow between compactions and new keys; power is cut at chosen operations of a
rewrite, of its swaps and of the recovery after it. After every recovery the invariants of `Partition.check`
must hold. Failures print their seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log import compaction_swap
from rivven.log.compaction import CleanableView, ClosedSegment, group_segments, plan_cleaning
from rivven.log.compaction_map import ENTRY_BYTES
from rivven.log.compaction_pass import CompactionPass, PassSettings
from rivven.log.compaction_swap import PreparedSegment
from rivven.log.reencryption_jobs import copy_part
from rivven.log.rewriting import Source, Target, read_batches
from rivven.log.rewriting_keys import plain_target, read_segment_header, sealed_target, source_fields
from rivven.log.sealing import seal_batch as seal_frame
from rivven.records.batch import (
    Record,
    RecordsUnreadable,
    build_batch,
    iterate_batches,
    parse_header,
    patch_log_append_time,
    read_records,
    seal_batch,
)
from rivven.testing.files import CrashFiles, PowerCut
from rivven.testing.segment_keys import StaticSegmentKeys

SEEDS = int(os.environ.get("RIVVEN_SIM_SEEDS", "150"))
DIRECTORY = "/log/partition"
TOPIC = UUID(int=7)
KEY = b"customer-"
"""Of every record; three letters would be found in ciphertext by chance."""
PART_BYTES = 700
"""Of re-encryption: several parts for a segment."""
RETENTION_MS = 1000
CONFIG = TopicConfig(
    cleanup_policy=frozenset({"compact"}),
    min_cleanable_dirty_ratio=0.0,
    delete_retention_ms=RETENTION_MS,
    segment_bytes=1500,
)


@dataclass
class Model:
    """What was written: the truth that the log is compared with."""

    records: dict[int, Record] = field(default_factory=dict)
    verbatim: dict[int, bytes] = field(default_factory=dict)
    """Batches by base offset that must stay byte for byte: control and unreadable ones."""
    producers: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    """Producer id to (last offset, epoch, base sequence, last offset delta) of its last batch."""
    end_offset: int = 0
    cleaned_at: dict[int, int] = field(default_factory=dict)
    """When a pass has first rewritten the group an offset is in."""

    def live(self) -> dict[bytes, bytes]:
        state: dict[bytes, bytes] = {}
        for offset in sorted(self.records):
            record = self.records[offset]
            assert record.key is not None
            if record.value is None:
                state.pop(record.key, None)
            else:
                state[record.key] = record.value
        return state

    def last_of_key(self) -> dict[bytes, int]:
        return {self.records[o].key: o for o in sorted(self.records)}  # type: ignore[misc]


@dataclass(frozen=True)
class Mode:
    """Whether new segments of a history are encrypted."""

    name: str
    encrypts: Callable[[random.Random], bool]


PLAIN = Mode("plain", lambda _: False)
ENCRYPTED = Mode("encrypted", lambda _: True)
MIXED = Mode("switched on and off", lambda random_: random_.random() < 0.6)
MODES = (PLAIN, ENCRYPTED, MIXED)


class Partition:
    """The closed part of one log on a crashable disk."""

    def __init__(self, random_: random.Random, mode: Mode = PLAIN) -> None:
        self.random = random_
        self.mode = mode
        self.keys = StaticSegmentKeys()
        self.files = CrashFiles()
        self.files.make_directory("/log")
        self.files.sync_directory("/")
        self.files.make_directory(DIRECTORY)
        self.files.sync_directory("/log")
        self.model = Model()
        self.now_ms = 10_000
        self.sequences: dict[int, int] = {}

    # -- writing ---------------------------------------------------------------------------------------------

    def write_segment(self, batches: int) -> None:
        """One more sealed, synced segment with its index files."""
        base = self.model.end_offset
        content = self._stored([self._batch() for _ in range(batches)])
        for suffix, data in (("log", content), ("index", b"i"), ("timeindex", b"t")):
            file = self.files.open(f"{DIRECTORY}/{base:020d}.{suffix}", "new")
            file.write((data,), 0)
            file.sync()
        self.files.sync_directory(DIRECTORY)

    def _stored(self, batches: Sequence[bytes]) -> bytes:
        """A segment's content as appends make it."""
        if not self.mode.encrypts(self.random):
            return b"".join(batches)
        header, sealer = self.keys.create(TOPIC, 0)
        content = bytearray(header.encode())
        for batch in batches:
            content += seal_frame(sealer, header, len(content), memoryview(batch))
        return bytes(content)

    def _batch(self) -> bytes:
        random_, base = self.random, self.model.end_offset
        kind = random_.random()
        if kind < 0.05:
            return self._keep(build_batch([Record(base, self.now_ms, b"\0\0\0\1", b"\0" * 6)], control=True))
        if kind < 0.10:
            header = parse_header(build_batch([Record(base, self.now_ms, b"k", b"v")]))
            return self._keep(seal_batch(header, b"\xff" * 20))
        records = []
        offset = base
        for _ in range(random_.randrange(1, 6)):
            value = None if random_.random() < 0.3 else random_.randbytes(random_.randrange(30))
            time = self.now_ms + random_.randrange(-50, 50)
            records.append(Record(offset, time, KEY + b"%d" % random_.randrange(12), value, [("h", b"x")]))
            offset += 1
        producer = random_.choice([-1, 1, 2, 3])
        sequence = self.sequences.get(producer, 0) if producer >= 0 else -1
        batch = build_batch(
            records,
            codec=random_.randrange(5),
            producer_id=producer,
            producer_epoch=0 if producer >= 0 else -1,
            base_sequence=sequence,
        )
        if random_.random() < 0.15:
            patch_log_append_time(batch, self.now_ms)
        if producer >= 0:
            self.sequences[producer] = sequence + len(records)
            self.model.producers[producer] = (offset - 1, 0, sequence, len(records) - 1)
        for record in read_records(batch, 0, parse_header(batch)):
            self.model.records[record.offset] = record
        self.model.end_offset = offset
        return bytes(batch)

    def _keep(self, batch: bytearray) -> bytes:
        self.model.verbatim[self.model.end_offset] = bytes(batch)
        self.model.end_offset += 1
        return bytes(batch)

    # -- compacting ------------------------------------------------------------------------------------------

    def segments(self) -> tuple[ClosedSegment, ...]:
        bases = sorted(
            int(name.split(".")[0]) for name in self.files.list(DIRECTORY) if name.endswith(".log")
        )
        ends = [*bases[1:], self.model.end_offset]
        paths = [f"{DIRECTORY}/{base:020d}.log" for base in bases]
        return tuple(
            ClosedSegment(base, end, path, self.files.size(path))
            for base, end, path in zip(bases, ends, paths, strict=True)
        )

    def compact(self, map_slots: int = 1000) -> bool:
        """One pass to its end, as the compactor and the log do it together. False: nothing is due."""
        producers = {producer: last[0] for producer, last in self.model.producers.items()}
        view = CleanableView(DIRECTORY, self.segments(), CONFIG, producers)
        first_dirty = compaction_swap.load_first_dirty_offset(self.files, DIRECTORY)
        plan = plan_cleaning(view, first_dirty, self.now_ms)
        if plan is None:
            return False
        settings = PassSettings(self.now_ms, RETENTION_MS, map_slots * ENTRY_BYTES, producers, b"s" * 16)
        compaction = CompactionPass(self.files, settings)
        mapped = compaction.map_keys(self.sources(plan.segments), first_dirty, plan.end_offset)
        tag = f"{self.random.getrandbits(32):x}"
        for group in group_segments(plan.segments, CONFIG.segment_bytes, mapped.end_offset):
            base, end = group[0].base_offset, group[-1].end_offset
            target = self._target(group, compaction_swap.cleaned_path(DIRECTORY, base, tag))
            done = compaction.rewrite(self.sources(group), target)
            self._note_cleaned(base, min(end, mapped.end_offset))  # a cut may let it happen or not
            if not done.changed:
                continue
            self._place(PreparedSegment(base, end, done.size_bytes, done.max_timestamp, target.path))
        compaction_swap.store_first_dirty_offset(self.files, DIRECTORY, mapped.end_offset)
        compaction.close()
        return True

    def _target(self, group: Sequence[ClosedSegment], path: str) -> Target:
        """As the compactor decides it: what was encrypted stays so."""
        encrypted = any(source.key is not None for source in self.sources(group))
        if encrypted or self.mode.encrypts(self.random):
            return Target(*sealed_target(self.keys, TOPIC, 0, path))
        return Target(*plain_target(path))

    def _place(self, prepared: PreparedSegment) -> None:
        compaction_swap.commit(self.files, DIRECTORY, prepared)
        compaction_swap.finish(self.files, DIRECTORY, prepared.base_offset, prepared.end_offset)

    def sources(self, segments: Sequence[ClosedSegment]) -> list[Source]:
        fields = source_fields(self.files, self.keys, TOPIC, 0, segments)
        return [Source(*one) for one in fields]

    # -- re-encrypting ---------------------------------------------------------------------------------------

    def stale(self) -> list[ClosedSegment]:
        """Segments with batches that are not under the newest key."""
        headers = [(s, read_segment_header(self.files, s, TOPIC, 0)) for s in self.segments()]
        newest = self.keys.newest(TOPIC)
        return [s for s, h in headers if s.size_bytes and (h is None or h.topic_key_id != newest)]

    def reencrypt(self) -> None:
        """Every segment that needs it, as the re-encryption task and the log do it together."""
        for segment in self.stale():
            tag = f"{self.random.getrandbits(32):x}"
            path = compaction_swap.cleaned_path(DIRECTORY, segment.base_offset, tag)
            target = Target(*sealed_target(self.keys, TOPIC, 0, path))
            (source,) = self.sources([segment])
            position = written = 0
            while position < source.size_bytes:
                position, written = copy_part(self.files, source, position, target, written, PART_BYTES)
            self._place(PreparedSegment(segment.base_offset, segment.end_offset, written, -1, path))

    # -- both ------------------------------------------------------------------------------------------------

    def _note_cleaned(self, base: int, end: int) -> None:
        for offset in range(base, end):
            self.model.cleaned_at.setdefault(offset, self.now_ms)

    def recover(self) -> None:
        compaction_swap.recover(self.files, DIRECTORY)

    # -- checking --------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Everything that must hold after an opening of the partition."""
        names = self.files.list(DIRECTORY)
        assert not compaction_swap.pending(names), names
        model = self.model
        found: dict[int, Record] = {}
        verbatim: dict[int, bytes] = {}
        last_batches: dict[int, tuple[int, int, int, int]] = {}
        for segment, source in zip(self.segments(), self.sources(self.segments()), strict=True):
            expected = segment.base_offset
            for batch, header, _ in read_batches(self.files.open(source.path, "read"), source):
                assert expected <= header.base_offset <= header.last_offset < segment.end_offset
                expected = header.last_offset + 1
                raw = bytes(batch)
                if header.producer_id >= 0:
                    last_batches[header.producer_id] = (
                        header.last_offset,
                        header.producer_epoch,
                        header.base_sequence,
                        header.last_offset_delta,
                    )
                try:
                    records = list(read_records(batch, 0, header))
                except RecordsUnreadable:
                    verbatim[header.base_offset] = raw
                    continue
                if header.is_control:
                    verbatim[header.base_offset] = raw
                    continue
                found.update((record.offset, record) for record in records)
        assert verbatim == model.verbatim
        assert last_batches == model.producers
        for offset, record in found.items():
            assert record == model.records[offset]
        self._check_state(found)
        if self.mode is ENCRYPTED:
            for name in names:
                content = self.files.content(f"{DIRECTORY}/{name}")
                assert KEY not in content, f"{name} shows a key"

    def _check_state(self, found: dict[int, Record]) -> None:
        model = self.model
        replayed: dict[bytes, bytes] = {}
        for offset in sorted(found):
            key, value = found[offset].key, found[offset].value
            assert key is not None
            if value is None:
                replayed.pop(key, None)
            else:
                replayed[key] = value
        assert replayed == model.live()
        for key, offset in model.last_of_key().items():
            if offset in found:
                continue
            assert model.records[offset].value is None, (key, offset)
            first = model.cleaned_at.get(offset)
            assert first is not None, f"the tombstone of {key!r} at {offset} went before its first cleaning"
            assert self.now_ms >= first + RETENTION_MS, f"the tombstone of {key!r} at {offset} went too early"


def crash_and_recover(partition: Partition, random_: random.Random) -> None:
    """Lose power, then recover, perhaps losing power during that as well."""
    partition.files.crash(random_)
    for _ in range(random_.randrange(3)):
        partition.files.cut_power_at = partition.files.operations + random_.randrange(1, 6)
        try:
            partition.recover()
        except PowerCut:
            partition.files.crash(random_)
    partition.files.cut_power_at = None
    partition.recover()
    partition.check()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_histories_with_crashes(seed: int) -> None:
    print(f"seed {seed}")
    random_ = random.Random(seed)
    partition = Partition(random_, MODES[seed % len(MODES)])
    for _ in range(random_.randrange(2, 6)):
        for _ in range(random_.randrange(1, 5)):
            partition.write_segment(random_.randrange(1, 8))
        partition.now_ms += random_.choice([1, 400, 1500])
        for _ in range(random_.randrange(1, 4)):
            if random_.random() < 0.7:
                partition.files.cut_power_at = partition.files.operations + random_.randrange(1, 40)
            try:
                rewrite_somehow(partition, random_)
            except PowerCut:
                crash_and_recover(partition, random_)
            partition.files.cut_power_at = None
            partition.check()
            partition.now_ms += random_.choice([1, 400, 1500])


def rewrite_somehow(partition: Partition, random_: random.Random) -> None:
    """A compaction, or what was encrypted so far under a new key."""
    if partition.mode is not PLAIN and random_.random() < 0.4:
        if random_.random() < 0.7:  # else: goes on with what a crash has interrupted
            partition.keys.renew(TOPIC)
        partition.reencrypt()
        assert not partition.stale()
    else:
        partition.compact(map_slots=random_.choice([16, 16, 24, 1000]))


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("seed", range(3))
def test_power_cut_at_every_operation(seed: int, mode: Mode) -> None:
    """The same history again and again, the power going one operation later each time."""
    cut, finished = 0, False
    while not finished:
        cut += 1
        random_ = random.Random(seed)
        partition = Partition(random_, mode)
        for _ in range(3):
            partition.write_segment(4)
        assert partition.compact()
        partition.now_ms += 2 * RETENTION_MS
        partition.write_segment(4)
        partition.files.cut_power_at = partition.files.operations + cut
        try:
            partition.compact()
            finished = True
            partition.files.cut_power_at = None
        except PowerCut:
            crash_and_recover(partition, random.Random(f"{seed}/{cut}"))
        partition.check()
        while partition.compact():
            partition.check()
    assert cut > 10


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("seed", range(2))
def test_power_cut_at_every_operation_of_a_re_encryption(seed: int, mode: Mode) -> None:
    """A plain log becomes an encrypted one, or a key gives way to the next; done is what was swapped."""
    cut, finished = 0, False
    while not finished:
        cut += 1
        random_ = random.Random(seed)
        partition = Partition(random_, mode)
        for _ in range(4):
            partition.write_segment(6)
        partition.keys.renew(TOPIC)
        before = len(partition.stale())
        partition.files.cut_power_at = partition.files.operations + cut
        try:
            partition.reencrypt()
            finished = True
            partition.files.cut_power_at = None
        except PowerCut:
            crash_and_recover(partition, random.Random(f"{seed}/{cut}"))
        partition.check()
        assert len(partition.stale()) <= before
        partition.reencrypt()
        assert not partition.stale()
        partition.check()
        for segment in partition.segments():
            assert partition.files.content(segment.path)[:4] in (b"RVNS", b""), f"{segment.path} is plain"
    assert cut > 20


def test_tombstones_go_after_the_retention_and_not_before() -> None:
    partition = Partition(random.Random(1))
    for value in (b"v", None):
        base = partition.model.end_offset
        record = Record(base, 1, b"key", value, [])
        content = bytes(build_batch([record]))
        partition.files.put(f"{DIRECTORY}/{base:020d}.log", content)
        partition.model.records[base] = record
        partition.model.end_offset += 1
    assert partition.compact()
    partition.check()
    for step, expected in ((RETENTION_MS - 1, 1), (1, 0)):
        partition.now_ms += step
        base = partition.model.end_offset
        record = Record(base, 1, b"other", b"v", [])
        partition.files.put(f"{DIRECTORY}/{base:020d}.log", bytes(build_batch([record])))
        partition.model.records[base] = record
        partition.model.end_offset += 1
        assert partition.compact()
        partition.check()
        (segment,) = partition.segments()
        content = partition.files.content(segment.path)
        keys = [r.key for pos, h in iterate_batches(content) for r in read_records(content, pos, h)]
        assert keys.count(b"key") == expected


def test_a_full_disk_loses_nothing_and_leaves_no_file_behind() -> None:
    partition = Partition(random.Random(5))
    for _ in range(6):
        partition.write_segment(5)
    room = partition.files.free_bytes(DIRECTORY) - partition.files.capacity_bytes
    partition.files.capacity_bytes = 100 - room
    with pytest.raises(OSError, match="space"):
        partition.compact()
    partition.check()
    partition.files.capacity_bytes = 1 << 30
    assert partition.compact()
    partition.check()
