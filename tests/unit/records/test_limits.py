"""Records over a limit are named with their index and reason; everything else passes."""

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.errors import InvalidRecord
from rivven.records.batch import Record, build_batch, parse_header
from rivven.records.compression import LZ4, NONE
from rivven.records.limits import NO_LIMITS, RECORD_ERRORS_MAX, RecordLimits
from rivven.records.validation import needs_opening, open_and_validate

HEADERS = (("name", b"value"), ("n", None))


def refused(records: list[Record], limits: RecordLimits, codec: int = NONE) -> tuple[tuple[int, str], ...]:
    data = build_batch(records, codec=codec)
    with pytest.raises(InvalidRecord) as caught:
        open_and_validate(data, False, None, 1 << 20, tuple(limits))
    index, reason = caught.value.record_errors[0]
    assert caught.value.message == f"record {index}: {reason}"
    return caught.value.record_errors


def accepted(records: list[Record], limits: RecordLimits, codec: int = NONE) -> None:
    assert open_and_validate(build_batch(records, codec=codec), False, None, 1 << 20, tuple(limits)) is None


@pytest.mark.parametrize("codec", [NONE, LZ4])
def test_a_key_may_be_as_long_as_the_limit(codec: int) -> None:
    limits = RecordLimits(key_bytes_max=3)
    accepted([Record(0, 0, b"abc", b"x"), Record(1, 0, None, b"x")], limits, codec)
    records = [Record(0, 0, b"abc", b"x"), Record(1, 0, b"abcd", b"x")]
    assert refused(records, limits, codec) == ((1, "the key is longer than 3 bytes"),)


def test_a_required_key_may_be_empty_but_not_null() -> None:
    limits = RecordLimits(key_required=True)
    accepted([Record(0, 0, b"", b"x")], limits)
    [(index, reason)] = refused([Record(0, 0, None, b"x")], limits)
    assert index == 0
    assert "validation.key.required" in reason


@pytest.mark.parametrize(
    ("fits", "exceeded", "reason"),
    [
        (RecordLimits(headers_max=2), RecordLimits(headers_max=1), "more than 1 headers"),
        (
            RecordLimits(header_key_bytes_max=4),
            RecordLimits(header_key_bytes_max=3),
            "a header name is longer than 3 bytes",
        ),
        (
            RecordLimits(header_value_bytes_max=5),
            RecordLimits(header_value_bytes_max=4),
            "a header value is longer than 4 bytes",
        ),
    ],
)
def test_headers_are_counted_and_measured(fits: RecordLimits, exceeded: RecordLimits, reason: str) -> None:
    records = [Record(0, 0, b"k", b"x"), Record(1, 0, b"k", b"x", HEADERS)]
    accepted(records, fits)
    assert refused(records, exceeded) == ((1, reason),)


def test_the_list_of_errors_is_bounded() -> None:
    records = [Record(index, 0, b"long", b"x") for index in range(RECORD_ERRORS_MAX + 5)]
    assert len(refused(records, RecordLimits(key_bytes_max=1))) == RECORD_ERRORS_MAX


def test_only_set_limits_open_a_batch() -> None:
    assert not NO_LIMITS.any
    assert RecordLimits(key_required=True).any
    header = parse_header(build_batch([Record(0, 0, b"k", b"x")]))
    assert not needs_opening(header, TopicConfig())
    assert needs_opening(header, TopicConfig(), RecordLimits(headers_max=1))
