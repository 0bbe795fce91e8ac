"""A segment in plain where a sealed one was, put there by who can write the data but not the key store.

Over the shipped command. What is put there is as good as a forger can make it: whole batches, offsets and
checksums that fit, in a file of the same size.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from rivven.errors import ErrorCode
from rivven.log.files import OsFiles
from rivven.records.batch import patch_offset_and_epoch
from rivven.security.keys.key_store import open_key_store
from tests.conformance.client import batch
from tests.conformance.keys_commands import EncryptedPlace
from tests.conformance.process import LogTail, metric

PLAIN = "sasl_plaintext"
VALUES = [b"one", b"two", b"three", b"four"]
FORGED = b"nobody ever sent this"
REFUSED = ErrorCode.KAFKA_STORAGE_ERROR
MARK_SECONDS_MAX = 15.0


class Place(EncryptedPlace):
    """A broker, its disk, and its key store, which a forger cannot write."""

    def filled(self, topic: str, **configs: str) -> UUID:
        """A topic whose second batch is in a second segment, the active one."""
        with self.client() as client:
            client.create_topic(topic, segment_bytes="10000", **configs)
            client.produced(topic, *VALUES[:2], bytes(9_000))
            client.produced(topic, *VALUES[2:], bytes(9_000))
            return client.topic_id(topic)

    def segments(self, topic_id: UUID) -> list[Path]:
        return sorted((self.broker.data / "partitions" / f"{topic_id}-0").glob("*.log"))

    def end(self, kill: bool) -> None:
        if kill:
            self.broker.kill()
        else:
            assert self.broker.stop() == 0

    def forget_mark(self, topic_id: UUID) -> None:
        """As a key store of an earlier version has it. The broker is stopped."""
        cluster = json.loads((self.store / "state").read_bytes()[12:-4])["cluster"]
        store = open_key_store(OsFiles(), str(self.store), cluster, may_create=False)
        stored = store.read_topic(topic_id)
        assert stored is not None and stored.only_sealed, "the control: it was marked"
        store.write_topic(replace(stored, only_sealed=False))
        store.close()

    def may_hold_plain(self, topic: str) -> bool:
        return bool(self.keys.topic(topic)["may_hold_plain"])


def forge(path: Path) -> bytes:
    """Put a plain segment in place of a sealed one; what was there."""
    before = path.read_bytes()
    assert before[:4] == b"RVNS", "the control: it was sealed"
    records = [b"", b"", FORGED]
    filling = len(before) - len(batch(*records))
    while len(made := bytearray(batch(*records[:2], FORGED + bytes(filling)))) > len(before):
        filling -= 1
    assert len(made) == len(before), "the forger has to do better"
    patch_offset_and_epoch(memoryview(made), int(path.stem), 0)
    path.write_bytes(made)
    return before


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One broker for all; each test leaves it running, with topics of its own and nothing offline."""
    made = Place(tmp_path_factory.mktemp("only-sealed"))
    with made.broker:
        yield made


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("which", [0, 1], ids=["closed", "active"])
def test_it_is_refused_and_other_topics_go_on(place: Place, which: int, kill: bool) -> None:
    topic, other = f"t-{which}-{kill}", f"other-{which}-{kill}"
    topic_id = place.filled(topic)
    place.filled(other)
    assert not place.may_hold_plain(topic)
    with place.client() as client:
        whole = client.values(topic)
    place.end(kill)
    path = place.segments(topic_id)[which]
    before = forge(path)
    tail = LogTail(place.broker)
    place.broker.start()
    with place.client() as client:
        offset = int(path.stem)
        assert client.fetch(topic, offset).error_code == REFUSED
        assert client.produce(topic, batch(b"more")).error_code == REFUSED, "it is offline"
        assert len(client.values(other)) == 6 and client.produced(other, b"more") == 6
    [said] = tail.lines(f"partition {topic_id}-0 is offline")
    assert f"{path}, position 0: {path.name} is not sealed, and by the key store" in said
    assert metric(place.broker, "rivven_partitions_offline") == 1
    place.end(kill)
    path.write_bytes(before)
    place.broker.start()
    with place.client() as client:
        assert client.values(topic) == whole
        assert client.produced(topic, b"more") == 6
    assert metric(place.broker, "rivven_partitions_offline") == 0


def test_without_the_mark_it_is_believed(place: Place) -> None:
    """The control: what is forged here passes for a segment. So it is with a key store of before, until the
    topic is known to be only sealed."""
    topic_id = place.filled("unmarked")
    place.end(kill=False)
    place.forget_mark(topic_id)
    before = forge(place.segments(topic_id)[0])
    place.broker.start()
    with place.client() as client:
        assert FORGED in b"".join(value or b"" for value in client.values("unmarked"))
    time.sleep(0.5)  # the look after the start: it must not mark this
    assert place.may_hold_plain("unmarked")
    place.end(kill=False)
    place.segments(topic_id)[0].write_bytes(before)
    place.broker.start()
    deadline = time.monotonic() + MARK_SECONDS_MAX
    while place.may_hold_plain("unmarked"):
        assert time.monotonic() < deadline, "nothing is in plain any more"
        time.sleep(0.05)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_what_a_re_encrypted_topic_was_before_is_refused(place: Place, tmp_path: Path, kill: bool) -> None:
    """The plain files were genuine once, and nobody can tell them from forged ones."""
    topic = f"rewritten-{kill}"
    topic_id = place.filled(topic, encryption_enabled="false")
    with place.client() as client:
        whole = client.values(topic)
    for path in place.segments(topic_id):
        shutil.copy(path, tmp_path)
    assert place.may_hold_plain(topic)
    place.keys.encrypt(topic)
    assert place.may_hold_plain(topic), "two segments are plain"
    assert place.keys.json("reencrypt", "--topic", topic, "--follow")["finished"]
    assert not place.may_hold_plain(topic)
    place.end(kill)
    first = place.segments(topic_id)[0]
    sealed = first.read_bytes()
    plain = (tmp_path / first.name).read_bytes()
    assert plain[:4] != b"RVNS" and VALUES[0] in plain
    first.write_bytes(plain)
    place.broker.start()
    with place.client() as client:
        assert client.fetch(topic, 0).error_code == REFUSED
    if kill:  # a clean end leaves the sizes of files, which are others
        believed_when_told_so(place, topic, whole)
    place.end(kill)
    first.write_bytes(sealed)
    place.broker.start()
    with place.client() as client:
        assert client.values(topic) == whole


def believed_when_told_so(place: Place, topic: str, whole: list[bytes | None]) -> None:
    """The operator knows better: it is a genuine copy."""
    assert place.keys.run("topic", "alter", topic, "--set", "encryption.enabled=false").returncode == 0
    place.end(kill=True)
    place.broker.start()
    place.keys.encrypt(topic)
    with place.client() as client:
        assert client.values(topic) == whole
    assert place.may_hold_plain(topic)


def test_switched_off_plain_segments_count_again_and_not_before_the_key_store_says_so(place: Place) -> None:
    topic_id = place.filled("off")
    blocked = place.store / "topics" / f"{topic_id}.keys.tmp"
    blocked.mkdir()
    assert place.keys.run("topic", "alter", "off", "--set", "encryption.enabled=false").returncode == 0
    with place.client() as client:
        deadline = time.monotonic() + MARK_SECONDS_MAX
        while (code := client.produce("off", batch(b"in plain")).error_code) != REFUSED:
            assert code == 0 and time.monotonic() < deadline
        assert all(path.read_bytes()[:4] in (b"RVNS", b"") for path in place.segments(topic_id))
        place.end(kill=True)
    place.broker.start()
    with place.client() as client:
        assert client.produce("off", batch(b"in plain")).error_code == REFUSED
        blocked.rmdir()
        while client.produce("off", batch(b"in plain")).error_code == REFUSED:
            assert time.monotonic() < deadline + MARK_SECONDS_MAX
            time.sleep(0.05)
        whole = client.values("off")
    assert whole[-1] == b"in plain" and place.may_hold_plain("off")
    assert b"in plain" in place.segments(topic_id)[-1].read_bytes()
    for kill in (True, False):
        place.end(kill)
        place.broker.start()
        with place.client() as client:
            assert client.values("off") == whole
    place.keys.encrypt("off")
    assert place.keys.json("reencrypt", "--topic", "off", "--follow")["finished"]
    assert not place.may_hold_plain("off")
    with place.client() as client:
        assert client.values("off") == whole


def test_offsets_of_groups_are_not_forged_so_either(place: Place) -> None:
    place.filled("grouped")
    with place.client() as client:
        assert client.commit("forgers", "grouped", 1) == 0
        internal = client.topic_id("__consumer_offsets")
    assert not place.may_hold_plain("__consumer_offsets")
    place.end(kill=False)
    files = (place.broker.data / "partitions").glob(f"{internal}-*/*.log")
    held = [path for path in files if path.stat().st_size]
    before = {path: forge(path) for path in held}
    assert before
    place.broker.start()
    assert metric(place.broker, "rivven_partitions_offline") == len(held)
    with place.client() as client:
        assert len(client.values("grouped")) == 6, "other topics go on"
    place.end(kill=False)
    for path, content in before.items():
        path.write_bytes(content)
    place.broker.start()
    with place.client() as client:
        assert client.committed("forgers", "grouped").committed_offset == 1
