"""What is known of a log before its directory is looked at: the plan that `recovery` opens it by.

Part of `PartitionLog`. It reads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rivven.log.checkpoint import CheckpointEntry
from rivven.log.recovery import OpenPlan

if TYPE_CHECKING:
    from rivven.log.partition_log import PartitionLog


def plan_of(log: PartitionLog, saved: CheckpointEntry, *, synced: bool = False) -> OpenPlan:
    """How to open a log now, `saved` being the checkpoint's word; `synced` as `OpenPlan` has it."""
    host = log.host
    return OpenPlan(
        log.path,
        saved,
        log.config.index_interval_bytes,
        host.limits.producers_per_partition,
        host.clock.now_ms(),
        synced,
        log.config.encryption_enabled,
        host.only_sealed(log.topic_id),
    )
