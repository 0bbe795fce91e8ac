"""Java's String.hashCode and the shard it gives."""

from __future__ import annotations

import pytest

from rivven.coordinator.sharding import java_string_hash, shard_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("a", 97),
        ("abc", 96354),
        ("hello world", 1794106052),
        ("polygenelubricants", -(2**31)),
        ("é", 233),
        ("\U0001f600", 0xD83D * 31 + 0xDE00),
    ],
)
def test_hash_code(text: str, value: int) -> None:
    assert java_string_hash(text) == value


def test_shards() -> None:
    assert shard_of("abc", 50) == 96354 % 50
    assert shard_of("polygenelubricants", 50) == 0, "the one number without an absolute value"
    assert java_string_hash("console-consumer") < 0
    assert shard_of("console-consumer", 50) == -java_string_hash("console-consumer") % 50
    assert {shard_of(f"group-{index}", 8) for index in range(200)} == set(range(8))
