"""The record of an erasure: what it says is what comes back, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.security.keys.erasure import (
    SEGMENTS_LISTED_MAX,
    ErasedSegment,
    FormerlyPlain,
    MalformedErasure,
    Step,
    bounded,
    decode,
    encode,
    partition_of,
    with_formerly_plain,
)
from rivven.security.keys.key_file import KEY_FILE_BYTES_MAX
from tests.unit.security.keys.erasure_samples import an_erasure


@pytest.mark.parametrize("step", list(Step))
def test_a_record_comes_back_as_it_was(step: Step) -> None:
    erasure = replace(an_erasure("k1", "k2", plaintext=True), step=step, topic="bestellungen-ü")
    erasure = erasure.with_destroyed("k2", 1_800_000_000_000)
    assert decode(json.loads(json.dumps(encode(erasure)))) == erasure


def test_a_partition_with_segments_once_in_plain_has_a_plaintext_history() -> None:
    sealed = partition_of(0, False, [ErasedSegment(0, 9, 90, "aa")])
    assert not with_formerly_plain(sealed, (), 0).plaintext_history
    assert with_formerly_plain(sealed, [FormerlyPlain(0, 9, 90, 1)], 0).plaintext_history
    assert with_formerly_plain(sealed, (), 1).plaintext_history


def test_what_is_pending_is_the_last_of_all() -> None:
    erasure = an_erasure("k1", "k2", "k3")
    assert erasure.pending_until_ms is None
    erasure = erasure.with_destroyed("k1", 500).with_destroyed("k2", 900).with_destroyed("k3", None)
    assert erasure.pending_until_ms == 900
    assert [one.done for one in erasure.old_keks] == [True, True, True]


def test_a_record_of_a_later_version_is_refused_by_number() -> None:
    with pytest.raises(MalformedErasure, match="format 2, this version knows erasure 1"):
        decode({**encode(an_erasure()), "version": 2})
    with pytest.raises(MalformedErasure, match="'moving'"):
        decode({**encode(an_erasure()), "kind": "moving"})


def test_a_record_fits_into_the_state_of_a_key_store() -> None:
    segments = [ErasedSegment(10**15 + n, 10**15 + n, 10**9, "ab" * 16) for n in range(SEGMENTS_LISTED_MAX)]
    partitions = tuple(partition_of(n, True, [one]) for n, one in enumerate(segments))
    content = json.dumps(encode(replace(an_erasure(), partitions=bounded(partitions))))
    assert len(content) < KEY_FILE_BYTES_MAX * 3 // 4


@given(st.data())
def test_damaged_records_are_refused(data: st.DataObject) -> None:
    fields = encode(an_erasure())
    name = data.draw(st.sampled_from(sorted(fields)))
    if data.draw(st.booleans()):
        del fields[name]
    else:
        fields[name] = data.draw(st.none() | st.integers() | st.lists(st.integers(), min_size=1))
    try:
        decode(fields)  # another time or principal is still a record; some fields have defaults
    except MalformedErasure as refused:
        assert "erasure" in str(refused)


@pytest.mark.parametrize("content", [{}, {"kind": "erasure"}, {"kind": "erasure", "version": 1}, {"x": []}])
def test_other_operations_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(MalformedErasure):
        decode(content)


def test_a_topic_of_very_many_segments_is_summed_by_partition() -> None:
    few = partition_of(0, False, [ErasedSegment(0, 1, 10, "aa")])
    many = partition_of(1, False, [ErasedSegment(n, n + 1, 10, "aa") for n in range(SEGMENTS_LISTED_MAX)])
    assert bounded([few]) == (few,)
    short = bounded([few, many])
    assert [(one.segment_count, one.stored_bytes, one.segments) for one in short] == [
        (1, 10, ()),
        (SEGMENTS_LISTED_MAX, 10 * SEGMENTS_LISTED_MAX, ()),
    ]
