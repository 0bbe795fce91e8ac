"""Appends to encrypted topics: sealed under the key that is wanted now, or refused with nothing written."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import ErrorCode, RivvenError
from rivven.log import write_queue
from rivven.log.host import LogLimits
from rivven.log.sealing import FRAME_OVERHEAD_BYTES, SEALS_MAX, SEGMENT_HEADER_BYTES, parse_segment_header
from rivven.records.batch import HEADER_BYTES
from rivven.testing.files import CrashFiles, Fault
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import DIRECTORY, LIMITS, TOPIC, Broker, batch_of, broker

SEALED = TopicConfig(encryption_enabled=True)
PLAIN = TopicConfig()
MARKER = b"marker-of-a-value"


def contents(files: CrashFiles) -> dict[str, bytes]:
    return {name: files.content(f"{DIRECTORY}/{name}") for name in files.list(DIRECTORY)}


def logs(files: CrashFiles) -> list[str]:
    return [name for name in files.list(DIRECTORY) if name.endswith(".log")]


def key_of(files: CrashFiles, name: str) -> bytes | None:
    header = parse_segment_header(files.content(f"{DIRECTORY}/{name}"))
    return None if header is None else header.topic_key_id


@pytest.mark.parametrize("algorithm", [1, 2])
@pytest.mark.parametrize("thread_write_bytes", [1, 1 << 20], ids=["thread", "loop"])
def test_what_was_appended_comes_back_and_its_bytes_are_in_no_file(
    algorithm: int, thread_write_bytes: int
) -> None:
    keys = StaticSegmentKeys(1, algorithm)
    limits = replace(LIMITS, thread_write_bytes=thread_write_bytes)
    sent = []
    with broker(config=SEALED, keys=keys, limits=limits) as b:
        for number in range(5):
            batch = batch_of(MARKER, b"%d" % number)
            b.commit(batch)
            sent.append(bytes(batch))
        assert b.read_all() == sent
        files = b.stop()
    assert not any(MARKER in content for content in contents(files).values())
    size = sum(len(batch) + FRAME_OVERHEAD_BYTES for batch in sent) + SEGMENT_HEADER_BYTES
    assert len(files.content(f"{DIRECTORY}/{logs(files)[0]}")) == size
    with broker(files, config=SEALED, keys=keys) as b:
        assert b.directory.was_clean
        assert b.log.size_bytes == size
        assert b.read_all() == sent
    with broker(config=PLAIN) as b:
        b.commit(batch_of(MARKER))
        assert any(MARKER in content for content in contents(b.stop()).values()), "the control finds it"


def test_sizes_of_the_log_are_stored_sizes_and_a_full_segment_rolls_by_them() -> None:
    one = len(batch_of(b"x" * 100)) + FRAME_OVERHEAD_BYTES
    config = replace(SEALED, segment_bytes=SEGMENT_HEADER_BYTES + 2 * one)
    with broker(config=config, keys=StaticSegmentKeys()) as b:
        for _ in range(4):
            b.commit(batch_of(b"x" * 100))
        files = b.stop(clean=False)
    assert [len(files.content(f"{DIRECTORY}/{name}")) for name in logs(files)] == [config.segment_bytes] * 2


def test_a_batch_larger_than_a_segment_is_taken() -> None:
    with broker(config=replace(SEALED, segment_bytes=100), keys=StaticSegmentKeys()) as b:
        b.commit(batch_of(b"x" * 1000), batch_of(b"y" * 1000))
        assert len(b.read_all()) == 2
        assert len(logs(b.files)) == 2


def refused(b: Broker) -> str:
    end, before = b.log.log_end_offset, contents(b.files)
    with pytest.raises(RivvenError) as caught:
        b.append(batch_of(MARKER))
    assert caught.value.code == ErrorCode.KAFKA_STORAGE_ERROR
    b.settle()
    assert contents(b.files) == before
    assert b.log.log_end_offset == end and b.log.online
    return str(caught.value)


def test_without_keys_nothing_is_written() -> None:
    with broker(config=SEALED) as b:
        assert "no keys" in refused(b)
        assert logs(b.files) == []


def test_while_no_key_can_be_had_nothing_is_written_and_afterwards_it_goes_on() -> None:
    keys = StaticSegmentKeys()
    keys.available = False
    with broker(config=SEALED, keys=keys) as b:
        assert "out of reach" in refused(b)
        keys.available = True
        b.commit(batch_of(b"1"))
        keys.available = False
        refused(b)
        keys.available = True
        b.commit(batch_of(b"2"))
        assert len(b.read_all()) == 2


def test_a_broker_that_lost_its_keys_answers_a_storage_error_and_stays_online() -> None:
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"1"))
        files = b.stop()
    for use in (None, keys):
        keys.available = False
        with broker(files, config=SEALED, keys=use) as b:
            with pytest.raises(RivvenError) as caught:
                b.read_all()
            assert caught.value.code == ErrorCode.KAFKA_STORAGE_ERROR
            with pytest.raises(RivvenError):
                b.run(b.log.offset_for_timestamp(0, 1))
            refused(b)
            assert b.log.online
            files = b.stop()
    keys.available = True
    with broker(files, config=SEALED, keys=keys) as b:
        assert len(b.read_all()) == 1


def test_nothing_is_added_behind_what_an_older_key_store_cannot_open() -> None:
    """It has an older key of the topic, which the right key store has dropped."""
    keys = StaticSegmentKeys()
    older = keys.renew(TOPIC)
    newer = keys.renew(TOPIC)
    with broker(config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"1"))
        files = b.stop()
    keys.forget_newest(TOPIC)
    with broker(files, config=SEALED, keys=keys) as b:
        assert "not known" in refused(b)
        b.log.roll(0)
        b.settle()
        b.commit(batch_of(b"2"))
        assert [key_of(b.files, name) for name in logs(b.files)] == [newer, older]
        files = b.stop()
    with broker(files, config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"3"))
        with pytest.raises(RivvenError):
            b.read_all()


def test_a_new_topic_key_begins_a_new_segment() -> None:
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        first = keys.renew(TOPIC)
        b.commit(batch_of(b"1"), batch_of(b"2"))
        second = keys.renew(TOPIC)
        b.commit(batch_of(b"3"))
        assert [key_of(b.files, name) for name in logs(b.files)] == [first, second]
        assert len(b.read_all()) == 3
        kept = [segment.seal is not None for segment in b.log.usable().segments]
        assert kept == [False, True], "the key of a closed segment is not held on to"
        files = b.stop()
    third = keys.renew(TOPIC)
    with broker(files, config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"4"))
        assert [key_of(files, name) for name in logs(files)] == [first, second, third]
        assert len(b.read_all()) == 4


def test_after_a_restart_a_segment_goes_on_under_its_key() -> None:
    keys = StaticSegmentKeys()
    files = None
    for clean in (True, False, True):
        with broker(files, config=SEALED, keys=keys) as b:
            b.commit(batch_of(b"x"), batch_of(b"y"))
            files = b.stop(clean=clean)
    assert files is not None
    assert len(logs(files)) == 1
    with broker(files, config=SEALED, keys=keys) as b:
        assert len(b.read_all()) == 6


def test_switched_on_and_off_the_kinds_are_mixed_and_all_is_read() -> None:
    keys = StaticSegmentKeys()
    files, sent = None, []
    for config in (PLAIN, SEALED, SEALED, PLAIN, SEALED):
        with broker(files, config=config, keys=keys) as b:
            batch = batch_of(b"%d" % len(sent))
            b.commit(batch)
            sent.append(bytes(batch))
            b.log.update_config(SEALED if config is PLAIN else PLAIN)
            batch = batch_of(b"other")
            b.commit(batch)
            sent.append(bytes(batch))
            assert b.read_all() == sent
            for offset in range(len(sent)):
                found = b.run(b.log.read_cold(offset, 1, b.log.durable_end, at_least_one=True))
                assert b"".join(found.buffers) == sent[offset]
            files = b.stop()
    assert files is not None
    kinds = [key_of(files, name) is not None for name in logs(files)]
    assert kinds == [False, True, False, True, False, True, False, True, False, True][: len(kinds)]
    assert len(kinds) > 6


def test_a_key_that_was_used_2_32_times_is_not_used_again() -> None:
    with broker(config=SEALED, keys=StaticSegmentKeys()) as b:
        b.commit(batch_of(b"1"), batch_of(b"2"))
        active = b.log.usable().active
        assert active.seals == 2
        active.seals = SEALS_MAX - 1
        b.commit(batch_of(b"3"))
        assert b.log.usable().active is active
        b.commit(batch_of(b"4"))
        assert b.log.usable().active is not active
        assert len(b.read_all()) == 4


def test_the_uses_of_an_earlier_process_are_counted_by_the_bytes() -> None:
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        b.commit(*(batch_of(b"") for _ in range(20)))
        files = b.stop()
    with broker(files, config=SEALED, keys=keys) as b:
        b.commit(batch_of(b""))
        assert b.log.usable().active.seals >= 21


@pytest.mark.parametrize("written", [0, 5, 128, 140, 250])
@pytest.mark.parametrize("thread_write_bytes", [1, 1 << 20], ids=["thread", "loop"])
def test_a_write_that_fails_leaves_whole_frames(written: int, thread_write_bytes: int) -> None:
    keys = StaticSegmentKeys()
    limits = replace(LIMITS, thread_write_bytes=thread_write_bytes)
    with broker(config=SEALED, keys=keys, limits=limits) as b:
        for first in (True, False):
            b.files.faults.append(Fault("write", errno.ENOSPC, path=".log", written=written))
            if thread_write_bytes == 1:
                b.append(batch_of(b"lost"))
                b.append(batch_of(b"lost too"))
            else:
                with pytest.raises(RivvenError):
                    b.append(batch_of(b"lost"))
            b.settle()
            assert b.log.log_end_offset == (0 if first else 1)
            b.commit(batch_of(b"kept"))
        assert [batch[-9:-1] for batch in b.read_all()] == [bytes(batch_of(b"kept"))[-9:-1]] * 2
        files = b.stop(clean=False)
    with broker(files, config=SEALED, keys=keys) as b:
        assert len(b.read_all()) == 2
        assert b.log.leader_epoch == 0


def test_a_short_write_goes_on_with_the_same_sealed_bytes() -> None:
    keys = StaticSegmentKeys()
    for thread_write_bytes in (1, 1 << 20):
        with broker(config=SEALED, keys=keys, limits=LogLimits(thread_write_bytes=thread_write_bytes)) as b:
            for written in (1, 130, 200):
                b.files.faults.append(Fault("write", 0, path=".log", written=written))
                b.commit(batch_of(b"a" * 300), batch_of(b"b" * 300))
            files = b.stop(clean=False)
        with broker(files, config=SEALED, keys=keys) as b:
            assert len(b.read_all()) == 6


def test_large_amounts_are_sealed_and_written_a_megabyte_at_a_time() -> None:
    with broker(config=SEALED, keys=StaticSegmentKeys()) as b:
        sent = [batch_of(b"%d" % number * 300_000) for number in range(6)]
        for batch in sent:
            b.append(batch)
        b.settle()
        assert b.read_all() == [bytes(batch) for batch in sent]
        assert b.log.written_end == 6


def test_headers_stay_readable_and_nothing_else() -> None:
    with broker(config=SEALED, keys=StaticSegmentKeys()) as b:
        batch = batch_of(MARKER, producer_id=77)
        b.commit(batch)
        stored = b.files.content(f"{DIRECTORY}/{logs(b.files)[0]}")
    clear = bytearray(batch[:HEADER_BYTES])
    assert bytes(clear[17:21]) not in stored, "the CRC of a guessable value would tell it"
    clear[17:21] = bytes(4)
    assert bytes(clear) in stored


SEALED_BATCH = b"x" * 300
SEALED_BYTES = len(batch_of(SEALED_BATCH)) + FRAME_OVERHEAD_BYTES


@pytest.mark.parametrize("room", [0, 2, 100])
@pytest.mark.parametrize("fails", [False, True])
def test_what_waits_for_the_thread_is_sealed_as_far_as_there_is_room(
    room: int, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "SEALED_AHEAD_BYTES_MAX", room * SEALED_BYTES)
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys, limits=replace(LIMITS, thread_write_bytes=1)) as b:
        b.commit(batch_of(SEALED_BATCH))  # the segment's header is written with it
        other = b.open(1)
        b.append(batch_of(SEALED_BATCH), other)
        b.settle()
        for _ in range(4):
            b.append(batch_of(SEALED_BATCH))  # one is under way, three wait for it
        b.append(batch_of(SEALED_BATCH), other)
        assert b.log.host.sealed_ahead_bytes == min(room, 2) * SEALED_BYTES
        if fails:
            b.files.faults.append(Fault("write", errno.ENOSPC, path=".log", written=5))
        b.settle()
        assert b.log.host.sealed_ahead_bytes == 0
        assert b.log.log_end_offset == (1 if fails else 5)
        b.commit(batch_of(SEALED_BATCH))
        assert len(b.read_all()) == b.log.log_end_offset == (2 if fails else 6)
        files = b.stop(clean=False)
    with broker(files, config=SEALED, keys=keys) as b:
        assert len(b.read_all()) == (2 if fails else 6)
