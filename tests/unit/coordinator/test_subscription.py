"""Topics in a consumer's member metadata; anything else is None, never an exception."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.coordinator.subscription import topics_of


def subscription(*topics: str, version: int = 1, rest: bytes = b"\xff\xff\xff\xff") -> bytes:
    names = [topic.encode() for topic in topics]
    body = b"".join(struct.pack(">h", len(name)) + name for name in names)
    return struct.pack(">hi", version, len(names)) + body + rest


def test_topics_of_every_version() -> None:
    assert topics_of(subscription()) == frozenset()
    assert topics_of(subscription("a", "bé", version=0)) == {"a", "bé"}
    assert topics_of(subscription("a", version=3, rest=b"whatever v3 has")) == {"a"}


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\0\1",
        subscription("a")[:8],
        struct.pack(">hi", 1, 2**31 - 1) + b"\0\1a",
        struct.pack(">hi", 1, -1),
        struct.pack(">hi", -1, 0),
        struct.pack(">hih", 1, 1, -5) + b"abc",
        struct.pack(">hih", 1, 1, 0) + b"abc",
        struct.pack(">hih", 1, 1, 2) + b"\xff\xfe",
        struct.pack(">hih", 1, 2, 5) + b"abcde",
    ],
)
def test_other_bytes_are_no_subscription(metadata: bytes) -> None:
    assert topics_of(metadata) is None


@given(st.binary(max_size=60))
def test_random_bytes_never_raise(metadata: bytes) -> None:
    topics_of(metadata)
