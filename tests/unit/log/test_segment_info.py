"""What listings of keys and erasure are told about a partition's segments."""

from __future__ import annotations

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import ErrorCode, RivvenError
from rivven.log.segment_info import SegmentInfo
from rivven.testing.files import Fault
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import DIRECTORY, TOPIC, batch_of, broker

SEALED = TopicConfig(encryption_enabled=True)


def test_keys_offsets_and_stored_bytes_of_every_segment() -> None:
    keys = StaticSegmentKeys()
    with broker(config=TopicConfig(), keys=keys) as b:
        b.commit(batch_of(b"1"))
        b.log.update_config(SEALED)
        first = keys.renew(TOPIC)
        b.commit(batch_of(b"2"), batch_of(b"3"))
        second = keys.renew(TOPIC)
        b.commit(batch_of(b"4"))
        b.log.roll(b.clock.ms)
        view = b.log.segments_view()
        files = b.stop()
    paths = [f"{DIRECTORY}/{base:020d}.log" for base in (0, 1, 3, 4)]
    sizes = [files.size(path) for path in paths]
    assert view == [
        SegmentInfo(0, 1, paths[0], sizes[0], None),
        SegmentInfo(1, 3, paths[1], sizes[1], first),
        SegmentInfo(3, 4, paths[2], sizes[2], second),
        SegmentInfo(4, 4, paths[3], 0, None),
    ]
    with broker(files, config=SEALED) as b:
        assert b.log.segments_view() == view, "without a key too"


def test_a_file_that_cannot_be_read_is_a_storage_error() -> None:
    keys = StaticSegmentKeys()
    with broker(config=TopicConfig(segment_bytes=100, encryption_enabled=True), keys=keys) as b:
        b.commit(batch_of(b"1"), batch_of(b"2"), batch_of(b"3"))
        files = b.stop()
    with broker(files, config=SEALED, keys=keys) as b:
        b.log.usable()
        files.faults.append(Fault("read", path=".log"))
        with pytest.raises(RivvenError) as caught:
            b.log.segments_view()
        assert caught.value.code == ErrorCode.KAFKA_STORAGE_ERROR
        assert len(b.log.segments_view()) == 3
