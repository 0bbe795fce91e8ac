"""What an operator can set about groups, in the units the machine uses, and what nobody can: the limits
that keep every group writable as records of `__consumer_offsets`. Declarations only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MS_PER_MINUTE = 60_000

NAME_BYTES_MAX = 32_000
"""Of group ids, instance ids, client ids, assignors: their length is an int16 in the records, and a member
id is an instance or client id with a suffix."""

MEMBER_BYTES_MAX = 1 << 20
"""Of one member's metadata over all its assignors: kept in memory for as long as it is a member."""

GROUP_BYTES_MAX = 16 << 20
"""Of a group's metadata and assignments together: they are one record, written at once."""


def name_fits(name: str | None) -> bool:
    """Whether a name chosen by a client is short enough to be stored."""
    return name is None or len(name) * 4 <= NAME_BYTES_MAX or len(name.encode()) <= NAME_BYTES_MAX


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Defaults are Kafka's, except `max_size` (see the broker settings table)."""

    session_min_ms: int = 6_000
    session_max_ms: int = 1_800_000
    initial_delay_ms: int = 3_000
    max_size: int = 10_000
    offset_metadata_bytes_max: int = 4_096
    retention_ms: int = 7 * 24 * 60 * MS_PER_MINUTE
    check_interval_ms: int = 10 * MS_PER_MINUTE


def group_settings(broker: Mapping[str, Any]) -> GroupSettings:
    """From the broker settings by their Kafka names; KeyError when one is missing."""
    return GroupSettings(
        session_min_ms=broker["group.min.session.timeout.ms"],
        session_max_ms=broker["group.max.session.timeout.ms"],
        initial_delay_ms=broker["group.initial.rebalance.delay.ms"],
        max_size=broker["group.max.size"],
        offset_metadata_bytes_max=broker["offset.metadata.max.bytes"],
        retention_ms=broker["offsets.retention.minutes"] * MS_PER_MINUTE,
        check_interval_ms=broker["offsets.retention.check.interval.ms"],
    )
