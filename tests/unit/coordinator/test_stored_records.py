"""The bytes of `__consumer_offsets` are Kafka's: pinned here, and every event comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.coordinator.events import (
    CommittedOffset,
    GroupRemoved,
    GroupStored,
    OffsetRemoved,
    OffsetStored,
    StoredMember,
)
from rivven.coordinator.stored_records import decode, encode
from rivven.machine.state_machine import JournalRecord

OFFSET = OffsetStored("grp", "top", 7, CommittedOffset(300, 4, "note", 1_700_000_000_000))
OFFSET_KEY = bytes.fromhex("000100036772700003746f7000000007")
OFFSET_VALUE = bytes.fromhex("0003000000000000012c0000000400046e6f74650000018bcfe56800")
MEMBER = StoredMember("m-1", None, "cli", "/h", 300_000, 45_000, b"sub", b"asg")
GROUP = GroupStored("grp", "consumer", 5, "range", "m-1", 1_700_000_000_000, (MEMBER,))
GROUP_KEY = bytes.fromhex("00020003677270")
GROUP_VALUE = (
    bytes.fromhex("0003" "0008") + b"consumer" + bytes.fromhex("00000005" "0005") + b"range"
    + bytes.fromhex("0003") + b"m-1" + bytes.fromhex("0000018bcfe56800" "00000001")
    + bytes.fromhex("0003") + b"m-1" + bytes.fromhex("ffff" "0003") + b"cli" + bytes.fromhex("0002") + b"/h"
    + bytes.fromhex("000493e0" "0000afc8" "00000003") + b"sub" + bytes.fromhex("00000003") + b"asg"
)  # fmt: skip


def test_the_bytes_are_kafkas() -> None:
    assert encode(OFFSET) == (OFFSET_KEY, OFFSET_VALUE)
    assert encode(GROUP) == (GROUP_KEY, GROUP_VALUE)
    assert encode(OffsetRemoved("grp", "top", 7)) == (OFFSET_KEY, None)
    assert encode(GroupRemoved("grp")) == (GROUP_KEY, None)


def test_an_expiry_chosen_by_the_client_needs_the_old_layout() -> None:
    event = OffsetStored("grp", "top", 7, CommittedOffset(300, -1, "note", 1_000, 2_000))
    record = encode(event)
    expected = "0001000000000000012c00046e6f746500000000000003e800000000000007d0"
    assert record.value == bytes.fromhex(expected)
    assert decode(record) == event


def test_what_other_brokers_wrote_is_read() -> None:
    old_key = JournalRecord(b"\0\0" + OFFSET_KEY[2:], OFFSET_VALUE)
    assert decode(old_key) == OFFSET
    oldest_value = bytes.fromhex("0000000000000000012c000000000000000003e8")
    assert decode(JournalRecord(OFFSET_KEY, oldest_value)) == OffsetStored(
        "grp", "top", 7, CommittedOffset(300, -1, "", 1_000)
    )


def test_records_of_other_group_types_are_left_alone() -> None:
    assert decode(JournalRecord(b"\0\x03\0\x03grp", b"\0\0whatever")) is None


@pytest.mark.parametrize(
    "record",
    [
        JournalRecord(None, b""),
        JournalRecord(b"", b""),
        JournalRecord(OFFSET_KEY[:-1], OFFSET_VALUE),
        JournalRecord(OFFSET_KEY, OFFSET_VALUE[:-1]),
        JournalRecord(OFFSET_KEY, b"\0\x09" + OFFSET_VALUE[2:]),
        JournalRecord(OFFSET_KEY, b""),
        JournalRecord(GROUP_KEY, GROUP_VALUE[:-2]),
    ],
)
def test_damage_is_one_kind_of_error(record: JournalRecord) -> None:
    with pytest.raises(ValueError, match="__consumer_offsets"):
        decode(record)


@given(st.binary(max_size=40), st.none() | st.binary(max_size=60))
def test_random_bytes_raise_nothing_else(key: bytes, value: bytes | None) -> None:
    try:
        decode(JournalRecord(key, value))
    except ValueError:
        pass


names = st.text(max_size=8)
members = st.builds(
    StoredMember, names, st.none() | names, names, names, st.integers(0, 2**31 - 1),
    st.integers(0, 2**31 - 1), st.binary(max_size=9), st.binary(max_size=9),
)  # fmt: skip
kept = st.builds(
    CommittedOffset, st.integers(-1, 2**63 - 1), st.integers(-1, 2**31 - 1), names, st.integers(0, 2**50),
    st.just(-1),
)  # fmt: skip
kept_as_asked = st.builds(
    CommittedOffset, st.integers(-1, 2**63 - 1), st.just(-1), names, st.integers(0, 2**50),
    st.integers(0, 2**63 - 1),
)  # fmt: skip
events = (
    st.builds(OffsetStored, names, names, st.integers(0, 2**31 - 1), kept | kept_as_asked)
    | st.builds(OffsetRemoved, names, names, st.integers(0, 2**31 - 1))
    | st.builds(GroupRemoved, names)
    | st.builds(
        GroupStored, names, names, st.integers(0, 2**31 - 1), st.none() | names, st.none() | names,
        st.integers(-1, 2**50), st.lists(members, max_size=3).map(tuple),
    )
)  # fmt: skip


@given(events)
def test_every_event_comes_back(event: object) -> None:
    assert decode(encode(event)) == event  # type: ignore[arg-type]
