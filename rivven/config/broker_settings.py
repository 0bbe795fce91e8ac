"""The broker settings this node enforces, by Kafka's names, and how they give topics their defaults.

Pure. Ours (without a Kafka name) are max.producer.ids.per.partition, log.dir.reserve.bytes and
log.encryption.enabled. A row with a `file_key` is set by that key of the file and reported under
its Kafka name. The defaults are Kafka's unless the text says why not.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from rivven.config.settings import INT_MAX, Kind, Setting, SettingError, SettingValue, table
from rivven.config.topic_settings import TOPIC_SETTINGS

MS_PER_HOUR = 3_600_000
MS_PER_MINUTE = 60_000


def _fixed(
    name: str,
    kind: Kind,
    default: SettingValue,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    file_key: str | None = None,
) -> Setting:
    """A setting that needs a restart to change."""
    return Setting(
        name=name,
        type=kind,
        default=default,
        doc=doc,
        minimum=minimum,
        maximum=maximum,
        mutable=False,
        file_key=file_key,
    )


_GROUPS = (
    _fixed(
        "offsets.topic.num.partitions",
        Kind.INT,
        50,
        "Partitions of __consumer_offsets; fixed when the data directory is first used.",
        minimum=1,
        maximum=1000,
    ),
    _fixed(
        "offset.metadata.max.bytes",
        Kind.INT,
        4096,
        "The longest text a consumer may store with a committed offset.",
        minimum=0,
        maximum=32_767,
    ),
    _fixed(
        "offsets.retention.minutes",
        Kind.INT,
        10_080,
        "How long offsets are kept after their group became empty.",
        minimum=1,
    ),
    _fixed(
        "offsets.retention.check.interval.ms",
        Kind.LONG,
        600_000,
        "Time between two searches for expired offsets.",
        minimum=1,
    ),
    _fixed(
        "group.min.session.timeout.ms",
        Kind.INT,
        6_000,
        "The shortest session timeout a group member may ask for.",
        minimum=0,
    ),
    _fixed(
        "group.max.session.timeout.ms",
        Kind.INT,
        1_800_000,
        "The longest session timeout a group member may ask for.",
        minimum=1,
    ),
    _fixed(
        "group.initial.rebalance.delay.ms",
        Kind.INT,
        3_000,
        "How long an empty group waits for more members before its first rebalance; 0 in the development "
        "profile.",
        minimum=0,
    ),
    _fixed(
        "group.max.size",
        Kind.INT,
        10_000,
        "Members one group may have; Kafka has no bound here, this broker bounds every list it keeps.",
        minimum=1,
    ),
)

_LOG = (
    _fixed(
        "producer.id.expiration.ms",
        Kind.INT,
        86_400_000,
        "How long the state of an idle idempotent producer is kept.",
        minimum=1,
    ),
    _fixed(
        "producer.id.expiration.check.interval.ms",
        Kind.INT,
        600_000,
        "Time between two searches for expired producers.",
        minimum=1,
    ),
    _fixed(
        "max.producer.ids.per.partition",
        Kind.INT,
        10_000,
        "Idempotent producers remembered per partition; the one idle for longest is forgotten first.",
        minimum=1,
    ),
    _fixed(
        "log.dir.reserve.bytes",
        Kind.LONG,
        268_435_456,
        "Free space below which Produce is refused while reads, deletes and group commits go on.",
        minimum=0,
    ),
    _fixed(
        "log.retention.check.interval.ms",
        Kind.LONG,
        300_000,
        "Time between two searches for segments to delete.",
        minimum=1,
    ),
    _fixed(
        "log.cleaner.dedupe.buffer.size",
        Kind.LONG,
        134_217_728,
        "Memory for the key map of one compaction; more keys take several passes.",
        minimum=1_048_576,
    ),
    _fixed(
        "log.cleaner.backoff.ms",
        Kind.LONG,
        15_000,
        "Pause of the cleaner when there is nothing to clean.",
        minimum=0,
    ),
)

_TOKENS = (
    _fixed(
        "delegation.token.max.lifetime.ms",
        Kind.LONG,
        7 * 86_400_000,
        "The longest life of a token made by Kafka's API 38, renewals included.",
        minimum=1,
        maximum=3_660 * 86_400_000,
    ),
    _fixed(
        "delegation.token.expiry.time.ms",
        Kind.LONG,
        86_400_000,
        "How long a token made or renewed by Kafka's APIs 38 and 39 is valid before it must be renewed.",
        minimum=1,
        maximum=3_660 * 86_400_000,
    ),
)

_NETWORK = (
    _fixed(
        "socket.request.max.bytes",
        Kind.INT,
        104_857_600,
        "The largest request accepted from an authenticated client.",
        minimum=1024,
        file_key="limits.max_batch_size",
    ),
    _fixed(
        "sasl.server.max.receive.size",
        Kind.INT,
        524_288,
        "The largest request accepted before authentication.",
        minimum=1024,
    ),
    _fixed(
        "queued.max.request.bytes",
        Kind.LONG,
        268_435_456,
        "Memory for requests in flight; connections wait when it is used up.",
        minimum=1_048_576,
        file_key="limits.request_memory_bytes",
    ),
    _fixed("fetch.max.bytes", Kind.INT, 57_671_680, "The largest answer to one Fetch.", minimum=1024),
    _fixed(
        "max.connections",
        Kind.INT,
        10_000,
        "Connections open at the same time, over all listeners.",
        minimum=1,
        file_key="limits.max_connections",
    ),
    _fixed(
        "max.connections.per.ip",
        Kind.INT,
        1_000,
        "Connections open at the same time from one address.",
        minimum=1,
        file_key="limits.max_connections_per_ip",
    ),
    _fixed(
        "max.connection.creation.rate",
        Kind.INT,
        INT_MAX,
        "New connections a second, over all listeners; above it they wait to be accepted.",
        minimum=1,
    ),
    _fixed(
        "connections.max.idle.ms",
        Kind.LONG,
        600_000,
        "A connection silent for this long is closed.",
        minimum=1000,
        file_key="limits.idle_timeout_secs",
    ),
    _fixed(
        "connection.failed.authentication.delay.ms",
        Kind.INT,
        100,
        "How long the answer to a failed authentication is held back before the connection is closed.",
        minimum=0,
        maximum=10_000,
    ),
    _fixed(
        "connections.max.reauth.ms",
        Kind.LONG,
        3_600_000,
        "The longest SASL session before a client must authenticate again (KIP-368), or up to a tenth less;"
        " 0: no limit.",
        minimum=0,
    ),
)

_TOPICS = (
    _fixed(
        "auto.create.topics.enable",
        Kind.BOOLEAN,
        True,
        "Whether asking for an unknown topic creates it when the client allows and may create it.",
    ),
    _fixed(
        "num.partitions",
        Kind.INT,
        1,
        "Partitions of a topic created without a count.",
        minimum=1,
        maximum=10_000,
    ),
    _fixed("delete.topic.enable", Kind.BOOLEAN, True, "Whether topics can be deleted."),
)


def _topic_default(topic: Setting) -> Setting:
    """The broker setting that gives a topic setting its default; changeable while the broker runs."""
    assert topic.synonym is not None
    shadowed = topic.synonym in _IN_OTHER_UNITS  # unset by default, so that the coarser names count
    return Setting(
        name=topic.synonym,
        type=topic.type,
        default=None if shadowed else topic.default,
        minimum=topic.minimum,
        maximum=topic.maximum,
        choices=topic.choices,
        doc=f"Default of the topic setting {topic.name}."
        + (" Not set: the next coarser unit counts." * shadowed),
        mutable=topic.name not in _FROM_FILE_ONLY,
        file_key=_KEYS_OF_DEFAULTS.get(topic.name),
    )


_KEYS_OF_DEFAULTS = {
    "max.message.bytes": "limits.max_message_size",
    "encryption.enabled": "storage.encryption.enabled",
}
"""Keys of the configuration file that set the default of a topic setting."""

_FROM_FILE_ONLY = frozenset({"encryption.enabled"})
"""Defaults that no client can change: whoever may alter settings must not turn encryption off for all."""


_IN_OTHER_UNITS: dict[str, tuple[tuple[str, int], ...]] = {
    "log.retention.ms": (("log.retention.minutes", MS_PER_MINUTE), ("log.retention.hours", MS_PER_HOUR)),
    "log.roll.ms": (("log.roll.hours", MS_PER_HOUR),),
}
"""Coarser names of a time in ms, finest first: the first that is set counts (as Kafka)."""

_COARSE = (
    _fixed(
        "log.retention.minutes", Kind.INT, None, "log.retention.ms in minutes; counts when that is not set."
    ),
    _fixed(
        "log.retention.hours", Kind.INT, 168, "log.retention.ms in hours; counts when no finer unit is set."
    ),
    _fixed("log.roll.hours", Kind.INT, 168, "log.roll.ms in hours; counts when that is not set.", minimum=1),
)

BROKER_SETTINGS: dict[str, Setting] = table(
    *sorted(
        (
            *_GROUPS,
            *_LOG,
            *_TOKENS,
            *_NETWORK,
            *_TOPICS,
            *_COARSE,
            *(_topic_default(topic) for topic in TOPIC_SETTINGS.values() if topic.synonym),
        ),
        key=lambda setting: setting.name,
    )
)


def broker_defaults() -> dict[str, SettingValue]:
    """Every broker setting with its built-in default."""
    return {name: setting.default for name, setting in BROKER_SETTINGS.items()}


def parse_broker_settings(texts: Mapping[str, str]) -> dict[str, SettingValue]:
    """Parsed values of Kafka-named texts; raises SettingError for an unknown name or a bad value."""
    values: dict[str, SettingValue] = {}
    for name, text in texts.items():
        setting = BROKER_SETTINGS.get(name)
        if setting is None:
            near = difflib.get_close_matches(name, BROKER_SETTINGS, n=1)
            raise SettingError(
                name, "no such broker setting" + (f"; did you mean {near[0]}?" if near else "")
            )
        try:
            values[name] = setting.parse(text)
        except ValueError as error:
            raise SettingError(name, str(error)) from None
    return values


def topic_defaults(broker: Mapping[str, SettingValue]) -> dict[str, str]:
    """The default of every topic setting, as text by its Kafka name, under these broker values.

    `broker` may hold all settings or only those that are set; missing ones take the built-in default.
    """
    defaults: dict[str, str] = {}
    for topic in TOPIC_SETTINGS.values():
        text = topic.format(_default_value(topic, broker))
        if text is not None:
            defaults[topic.name] = text
    return defaults


def _default_value(topic: Setting, broker: Mapping[str, SettingValue]) -> SettingValue:
    name = topic.synonym
    if name is None:
        return topic.default
    value = broker.get(name)
    if value is not None:
        return value
    for coarse, factor in _IN_OTHER_UNITS.get(name, ()):
        amount = broker.get(coarse, BROKER_SETTINGS[coarse].default)
        if isinstance(amount, int):
            return amount * factor if amount >= 0 else -1
    return topic.default


def synonyms_of(topic_setting: str) -> tuple[str, ...]:
    """The broker settings that can give a topic setting its default, the one that counts first."""
    name = TOPIC_SETTINGS[topic_setting].synonym
    if name is None:
        return ()
    return (name, *(coarse for coarse, _factor in _IN_OTHER_UNITS.get(name, ())))
