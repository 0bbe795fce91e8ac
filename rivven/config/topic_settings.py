"""The topic settings this broker enforces, and `TopicConfig`, the values one topic runs with.

Pure. The table feeds parsing, DescribeConfigs, AlterConfigs and the documentation; a setting that nothing
enforces must not be added here. Names, types and bounds are Kafka's (TopicConfig of Kafka 4.x), but for
encryption.*, which is ours, and the default of flush.messages: an acknowledgement means durable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from rivven.config.settings import LONG_MAX, Kind, Setting, SettingError, SettingValue, table

TOPIC_SETTINGS: dict[str, Setting] = table(
    Setting(
        name="cleanup.policy",
        type=Kind.LIST,
        default=("delete",),
        choices=("compact", "delete"),
        synonym="log.cleanup.policy",
        doc="What happens to old records: delete whole segments by age or size, compact to the newest "
        "record per key, or both (compact,delete).",
    ),
    Setting(
        name="compression.type",
        type=Kind.STRING,
        default="producer",
        choices=("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
        synonym="compression.type",
        doc="The codec records are stored with; producer keeps what the client chose, any other value makes"
        " the broker recompress batches that differ.",
    ),
    Setting(
        name="delete.retention.ms",
        type=Kind.LONG,
        default=86_400_000,
        minimum=0,
        synonym="log.cleaner.delete.retention.ms",
        doc="How long compaction keeps a record with a null value (a deletion mark) after it was first "
        "cleaned.",
    ),
    Setting(
        name="encryption.enabled",
        type=Kind.BOOLEAN,
        default=False,
        synonym="log.encryption.enabled",
        doc="Whether what is written from now on is encrypted on disk. What is there already stays as it is "
        "until `rivven keys reencrypt`.",
    ),
    Setting(
        name="encryption.key",
        type=Kind.STRING,
        default="",
        maximum=2_048,
        doc="The provider's key that the topic's keys are wrapped with, by the name it has there; empty for "
        "the one of storage.encryption. A change wraps them anew at once and rewrites no data.",
    ),
    Setting(
        name="file.delete.delay.ms",
        type=Kind.LONG,
        default=60_000,
        minimum=0,
        synonym="log.segment.delete.delay.ms",
        doc="How long the files of a removed segment stay on disk before they are unlinked.",
    ),
    Setting(
        name="flush.messages",
        type=Kind.LONG,
        default=1,
        minimum=1,
        synonym="log.flush.interval.messages",
        doc="1: an acknowledgement means the records are on stable storage. A larger number acknowledges "
        "what the operating system has accepted and syncs after that many records: a power failure can "
        "lose acknowledged records.",
    ),
    Setting(
        name="flush.ms",
        type=Kind.LONG,
        default=LONG_MAX,
        minimum=0,
        synonym="log.flush.interval.ms",
        doc="With flush.messages above 1: the longest time records stay unsynced.",
    ),
    Setting(
        name="index.interval.bytes",
        type=Kind.INT,
        default=4096,
        minimum=0,
        synonym="log.index.interval.bytes",
        doc="Bytes of log between two entries of the offset and time index.",
    ),
    Setting(
        name="max.compaction.lag.ms",
        type=Kind.LONG,
        default=LONG_MAX,
        minimum=1,
        synonym="log.cleaner.max.compaction.lag.ms",
        doc="The longest time a record of a compacted topic may stay uncompacted.",
    ),
    Setting(
        name="max.message.bytes",
        type=Kind.INT,
        default=1_048_588,
        minimum=0,
        synonym="message.max.bytes",
        doc="The largest record batch accepted, in bytes, as the client compressed it.",
    ),
    Setting(
        name="message.timestamp.after.max.ms",
        type=Kind.LONG,
        default=3_600_000,
        minimum=0,
        synonym="log.message.timestamp.after.max.ms",
        doc="How far a record's timestamp may lie in the future (message.timestamp.type=CreateTime).",
    ),
    Setting(
        name="message.timestamp.before.max.ms",
        type=Kind.LONG,
        default=LONG_MAX,
        minimum=0,
        synonym="log.message.timestamp.before.max.ms",
        doc="How far a record's timestamp may lie in the past (message.timestamp.type=CreateTime); a bound "
        "opens every batch.",
    ),
    Setting(
        name="message.timestamp.type",
        type=Kind.STRING,
        default="CreateTime",
        choices=("CreateTime", "LogAppendTime"),
        synonym="log.message.timestamp.type",
        doc="Whether a record keeps the producer's time or gets the broker's.",
    ),
    Setting(
        name="min.cleanable.dirty.ratio",
        type=Kind.DOUBLE,
        default=0.5,
        minimum=0,
        maximum=1,
        synonym="log.cleaner.min.cleanable.ratio",
        doc="The share of a compacted log that must be uncleaned before it is cleaned again.",
    ),
    Setting(
        name="min.compaction.lag.ms",
        type=Kind.LONG,
        default=0,
        minimum=0,
        synonym="log.cleaner.min.compaction.lag.ms",
        doc="The shortest time a record of a compacted topic stays uncompacted.",
    ),
    Setting(
        name="min.insync.replicas",
        type=Kind.INT,
        default=1,
        minimum=1,
        synonym="min.insync.replicas",
        doc="Replicas that must be in sync for acks=all to be accepted; a single node has exactly one.",
    ),
    Setting(
        name="preallocate",
        type=Kind.BOOLEAN,
        default=False,
        choices=("false",),
        synonym="log.preallocate",
        doc="Segment files grow as they are written; false is the only value.",
    ),
    Setting(
        name="retention.bytes",
        type=Kind.LONG,
        default=-1,
        minimum=-1,
        synonym="log.retention.bytes",
        doc="Size of a partition above which its oldest segments are deleted (cleanup.policy=delete); -1: "
        "no limit.",
    ),
    Setting(
        name="retention.ms",
        type=Kind.LONG,
        default=604_800_000,
        minimum=-1,
        synonym="log.retention.ms",
        doc="Age above which a segment is deleted (cleanup.policy=delete); -1: no limit.",
    ),
    Setting(
        name="segment.bytes",
        type=Kind.INT,
        default=1_073_741_824,
        minimum=14,
        synonym="log.segment.bytes",
        doc="Size at which a segment file is closed and a new one begins; retention and compaction work on "
        "closed ones.",
    ),
    Setting(
        name="segment.ms",
        type=Kind.LONG,
        default=604_800_000,
        minimum=1,
        synonym="log.roll.ms",
        doc="Age at which a segment is closed even if it is not full.",
    ),
    Setting(
        name="unclean.leader.election.enable",
        type=Kind.BOOLEAN,
        default=False,
        choices=("false",),
        synonym="unclean.leader.election.enable",
        doc="A replica that lacks acknowledged records never leads; false is the only value.",
    ),
)

TOPIC_DEFAULTS: dict[str, str] = {
    name: text
    for name, setting in TOPIC_SETTINGS.items()
    if (text := setting.format(setting.default)) is not None
}
"""Every topic setting's built-in default as text."""


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """The values a topic runs with; field names are the setting names with underscores. Times in ms, sizes
    in bytes."""

    cleanup_policy: frozenset[str] = frozenset({"delete"})
    compression_type: str = "producer"
    delete_retention_ms: int = 86_400_000
    encryption_enabled: bool = False
    encryption_key: str = ""
    file_delete_delay_ms: int = 60_000
    flush_messages: int = 1
    flush_ms: int = LONG_MAX
    index_interval_bytes: int = 4096
    max_compaction_lag_ms: int = LONG_MAX
    max_message_bytes: int = 1_048_588
    message_timestamp_after_max_ms: int = 3_600_000
    message_timestamp_before_max_ms: int = LONG_MAX
    message_timestamp_type: str = "CreateTime"
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    min_insync_replicas: int = 1
    preallocate: bool = False
    retention_bytes: int = -1
    retention_ms: int = 604_800_000
    segment_bytes: int = 1_073_741_824
    segment_ms: int = 604_800_000
    unclean_leader_election_enable: bool = False

    @property
    def compacted(self) -> bool:
        """Whether records are compacted by key."""
        return "compact" in self.cleanup_policy

    @property
    def deletes(self) -> bool:
        """Whether segments are deleted by age and size."""
        return "delete" in self.cleanup_policy

    @property
    def log_append_time(self) -> bool:
        """Whether the broker stamps its own time."""
        return self.message_timestamp_type == "LogAppendTime"

    @property
    def durable(self) -> bool:
        """Whether an acknowledgement waits for stable storage (flush.messages=1)."""
        return self.flush_messages == 1


def topic_config(overrides: Mapping[str, str], defaults: Mapping[str, str] = TOPIC_DEFAULTS) -> TopicConfig:
    """The configuration of a topic from its own settings over the broker's defaults (both by Kafka name, as
    text).

    Names missing from both take the built-in default. Raises SettingError for an unknown name, a value that
    does not parse, and contradictions between settings. Equal inputs give the same object, so ten thousand
    topics share one.
    """
    merged = {**defaults, **overrides}
    for name in merged:
        if name not in TOPIC_SETTINGS:
            raise SettingError(name, "no such topic setting")
    return _build(tuple(sorted(merged.items())))


_CACHED_CONFIGS = (
    1024  # distinct configurations kept shareable; beyond it topics only stop sharing the object
)


@lru_cache(maxsize=_CACHED_CONFIGS)
def _build(items: tuple[tuple[str, str], ...]) -> TopicConfig:
    fields: dict[str, SettingValue | frozenset[str]] = {}
    for name, text in items:
        try:
            value = TOPIC_SETTINGS[name].parse(text)
        except ValueError as error:
            raise SettingError(name, str(error)) from None
        fields[name.replace(".", "_")] = frozenset(value) if isinstance(value, tuple) else value
    config = TopicConfig(**cast("dict[str, object]", fields))  # type: ignore[arg-type]
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms:
        raise SettingError("max.compaction.lag.ms", "is less than min.compaction.lag.ms")
    return config
