"""Which partition of `__consumer_offsets` a group belongs to, as every Kafka broker computes it. Pure."""

from __future__ import annotations

_INT32_MIN = -(1 << 31)


def java_string_hash(text: str) -> int:
    """Java's String.hashCode: over UTF-16 code units, wrapping at 32 bits, signed."""
    units = text.encode("utf-16-le", "surrogatepass")
    value = 0
    for index in range(0, len(units), 2):
        value = (value * 31 + units[index] + (units[index + 1] << 8)) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def shard_of(group_id: str, count: int) -> int:
    """abs(hash) modulo the partition count; the one number without an absolute value counts as 0."""
    value = java_string_hash(group_id)
    return 0 if value == _INT32_MIN else abs(value) % count
