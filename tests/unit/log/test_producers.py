from __future__ import annotations

import pytest

from rivven.errors import ErrorCode
from rivven.log.framed_file import decode
from rivven.log.producer_snapshots import encode_snapshot
from rivven.log.producers import SNAPSHOT_MAGIC, SNAPSHOT_VERSION, ProducerEntry, Producers, SequenceRefused
from rivven.records.batch import BatchHeader

LAST = 2**31 - 1


def _header(sequence: int, *, count: int = 1, epoch: int = 0, producer_id: int = 1) -> BatchHeader:
    return BatchHeader(
        base_offset=0,
        batch_length=100,
        leader_epoch=0,
        magic=2,
        crc=0,
        attributes=0,
        last_offset_delta=count - 1,
        base_timestamp=0,
        max_timestamp=0,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        record_count=count,
    )


def _producers(*headers: BatchHeader, maximum: int = 10) -> Producers:
    producers = Producers(maximum)
    offset = 100
    for header in headers:
        assert producers.check(header) is None
        producers.record(header, offset, -1, 1000)
        offset += header.last_offset_delta + 1
    return producers


def _refusal(producers: Producers, header: BatchHeader) -> ErrorCode:
    with pytest.raises(SequenceRefused) as refused:
        producers.check(header)
    return refused.value.code


def test_an_unknown_producer_may_begin_with_any_sequence() -> None:
    assert Producers(10).check(_header(77)) is None


def test_the_next_sequence_is_accepted_and_another_is_out_of_order() -> None:
    producers = _producers(_header(0, count=3))
    assert producers.check(_header(3)) is None
    assert _refusal(producers, _header(4)) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert _refusal(producers, _header(2)) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_each_of_the_last_five_batches_is_recognised_and_the_sixth_is_not() -> None:
    producers = _producers(*(_header(number) for number in range(6)))
    for number in range(1, 6):
        sent = producers.check(_header(number))
        assert sent is not None and sent.base_offset == 100 + number
    assert _refusal(producers, _header(0)) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_batch_that_only_overlaps_is_not_a_duplicate() -> None:
    producers = _producers(_header(0, count=3))
    assert _refusal(producers, _header(0, count=2)) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert _refusal(producers, _header(1, count=2)) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_sequences_wrap_after_the_largest() -> None:
    producers = _producers(_header(LAST))
    assert producers.check(_header(0)) is None
    assert _refusal(producers, _header(1)) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_sequences_wrap_within_a_batch() -> None:
    producers = _producers(_header(LAST - 1, count=4))
    assert producers.check(_header(2)) is None
    assert producers.check(_header(LAST - 1, count=4)) is not None


def test_a_lower_epoch_is_fenced_and_a_higher_one_begins_at_zero() -> None:
    producers = _producers(_header(0, epoch=5))
    assert _refusal(producers, _header(1, epoch=4)) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert _refusal(producers, _header(1, epoch=6)) == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert producers.check(_header(0, epoch=6)) is None
    producers.record(_header(0, epoch=6), 200, -1, 1000)
    assert producers.check(_header(1, epoch=6)) is None
    entry = producers.get(1)
    assert entry is not None and len(entry.batches) == 1


def test_the_least_recently_active_gives_way() -> None:
    producers = _producers(*(_header(0, producer_id=number) for number in range(3)), maximum=3)
    producers.record(_header(1, producer_id=0), 200, -1, 1000)
    producers.record(_header(0, producer_id=9), 201, -1, 1000)
    assert [producer_id for producer_id, _ in producers] == [2, 0, 9]


def test_undo_puts_the_old_entry_back() -> None:
    producers = _producers(_header(0))
    before = producers.get(1)
    old = producers.record(_header(1), 101, -1, 2000)
    new = producers.record(_header(0, producer_id=2), 102, -1, 2000)
    producers.undo(2, new)
    producers.undo(1, old)
    assert producers.get(1) == before and producers.get(2) is None


def test_expiry_goes_by_activity() -> None:
    producers = Producers(10)
    producers.record(_header(0, producer_id=1), 0, -1, 1000)
    producers.record(_header(0, producer_id=2), 1, -1, 2000)
    assert producers.expire(2000) == 1
    assert [producer_id for producer_id, _ in producers] == [2]


def test_a_snapshot_restores_the_same_state() -> None:
    producers = _producers(*(_header(n) for n in range(7)), _header(3, producer_id=-5 & 0xFFFF, count=2))
    _, payload = decode("x", encode_snapshot(producers), SNAPSHOT_MAGIC, SNAPSHOT_VERSION)
    restored = Producers(10)
    restored.restore(payload)
    assert list(restored) == list(producers)


@pytest.mark.parametrize("cut", [1, 10, 19, 20, 50])
def test_a_cut_snapshot_is_refused(cut: int) -> None:
    payload = _producers(_header(0), _header(1)).encode()
    with pytest.raises(ValueError, match="cut"):
        Producers(10).restore(payload[:-cut])


def test_the_snapshot_format_is_stable() -> None:
    """Version 1, byte for byte: a file of an earlier release must be read by every later one."""
    producers = Producers(10)
    producers.record(_header(7, count=2, epoch=3, producer_id=258), 1000, -1, 5000)
    assert encode_snapshot(producers).hex() == (
        "52565053"  # magic
        "0001" "0000" "00000033"  # version, flags, payload length
        "0000000000000102" "0003" "0000000000001388" "01"  # producer id, epoch, active ms, batches
        "00000007" "00000008" "00000000000003e8" "00000000000003e9" "ffffffffffffffff"
        "27d37b8b"
    )  # fmt: skip
    assert ProducerEntry(3, 5000, ()) != producers.get(258)
