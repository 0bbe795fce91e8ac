"""No key is ever used twice with the same nonce: over crashes, cuts, failed writes and restored copies.

Restored copies are why a nonce may not come from anything on the disk: the same offsets, positions and
counters come back, with other records and under the same keys.
"""

from __future__ import annotations

import copy
import errno
import random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from rivven.config.topic_settings import TopicConfig
from rivven.errors import RivvenError
from rivven.log.files import Buffer
from rivven.log.sealing import Sealer, SegmentHeader
from rivven.testing.files import CrashFiles, Fault
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import DIRECTORY, LIMITS, ROOT, TOPIC, batch_of, broker

SEALED = TopicConfig(encryption_enabled=True, segment_bytes=1000)


class Recording:
    """A sealer that remembers what it was used with."""

    def __init__(self, sealer: Sealer, key: bytes, used: dict[tuple[bytes, bytes], int]) -> None:
        self._sealer = sealer
        self._key = key
        self._used = used

    def seal(self, nonce: bytes, plain: Buffer, associated: bytes, into: memoryview) -> None:
        place = self._key, bytes(nonce)
        assert place not in self._used, "a nonce was used again"
        self._used[place] = len(self._used)
        self._sealer.seal(nonce, plain, associated, into)

    def open(self, nonce: Buffer, sealed: Buffer, associated: bytes) -> bytes:
        assert (self._key, bytes(nonce)) in self._used
        return self._sealer.open(nonce, sealed, associated)


class RecordingKeys(StaticSegmentKeys):
    """Keys by the wrapped data key, which is what names one in every copy of the disk."""

    def __init__(self) -> None:
        super().__init__(11)
        self.used: dict[tuple[bytes, bytes], int] = {}

    def create(self, topic_id: UUID, partition: int) -> tuple[SegmentHeader, Sealer]:
        header, sealer = super().create(topic_id, partition)
        return header, Recording(sealer, self.export(header), self.used)

    def sealer(self, header: SegmentHeader) -> Sealer:
        return Recording(super().sealer(header), self.export(header), self.used)


def _live(files: CrashFiles, keys: RecordingKeys, seed: int) -> None:
    """A life of a broker: appends, some of which fail, a new key now and then, an end of some kind."""
    chance = random.Random(seed)
    with broker(files, config=SEALED, keys=keys, limits=LIMITS) as b:
        for number in range(chance.randint(1, 8)):
            if chance.random() < 0.2:
                files.faults.append(Fault("write", errno.ENOSPC, path=".log", written=chance.randint(0, 300)))
            if chance.random() < 0.1:
                keys.renew(TOPIC)
            try:
                b.append(batch_of(b"%d" % seed, b"%d" % number * chance.randint(1, 40)))
            except RivvenError:
                continue
            if chance.random() < 0.7:
                b.settle()
        files.faults.clear()
        b.read_all()
        b.stop(clean=chance.random() < 0.3)
    if chance.random() < 0.5:
        files.crash(chance)


def _truncate(files: CrashFiles, seed: int) -> None:
    """Cut the end off, and forget that it was durable."""
    names = [name for name in files.list(DIRECTORY) if name.endswith(".log")]
    if names:
        path = f"{DIRECTORY}/{names[-1]}"
        content = files.content(path)
        files.put(path, content[: random.Random(seed).randint(0, len(content))])
    if files.exists(f"{ROOT}/log-checkpoint"):
        files.remove(f"{ROOT}/log-checkpoint")


@given(
    st.lists(
        st.tuples(st.sampled_from(("live", "truncate", "copy", "restore")), st.integers(0, 1 << 30)),
        max_size=8,
    )
)
def test_no_key_meets_a_nonce_twice(actions: list[tuple[str, int]]) -> None:
    files, keys = CrashFiles(), RecordingKeys()
    _live(files, keys, 0)
    copies: list[CrashFiles] = [copy.deepcopy(files)]
    for action, seed in actions:
        if action == "live":
            _live(files, keys, seed)
        elif action == "truncate":
            _truncate(files, seed)
            _live(files, keys, seed)
        elif action == "copy":
            copies.append(copy.deepcopy(files))
        else:
            files = copy.deepcopy(copies[seed % len(copies)])
            _live(files, keys, seed)
    assert keys.used
