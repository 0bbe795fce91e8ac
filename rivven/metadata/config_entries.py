"""What a topic's or the broker's settings are and where each value comes from (KIP-226, KIP-569).

Pure. Every setting of the tables has an entry; sources and the order of synonyms are Kafka's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from rivven.config.broker_settings import BROKER_SETTINGS, synonyms_of
from rivven.config.settings import Setting, SettingValue
from rivven.config.topic_settings import TOPIC_SETTINGS
from rivven.metadata.broker_values import CLUSTER_SCOPE


class ConfigSource(IntEnum):
    """Where a value comes from (wire codes of DescribeConfigs)."""

    DYNAMIC_TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5


@dataclass(frozen=True, slots=True)
class Synonym:
    """One place a value could come from."""

    name: str
    value: str | None
    source: ConfigSource


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One setting. `synonyms` begins with the place that counts."""

    setting: Setting
    value: str | None
    source: ConfigSource
    read_only: bool
    synonyms: tuple[Synonym, ...]


@dataclass(frozen=True, slots=True)
class BrokerLayers:
    """Where broker settings come from, highest first: this node, the cluster, the file, the defaults."""

    node: Mapping[str, str]
    cluster: Mapping[str, str]
    static: Mapping[str, SettingValue]
    explicit: Collection[str]
    """Names of `static` that the configuration file set; the rest of it are defaults."""

    @classmethod
    def of(
        cls,
        dynamic: Mapping[str, Mapping[str, str]],
        node_id: int,
        static: Mapping[str, SettingValue],
        explicit: Collection[str],
    ) -> BrokerLayers:
        """The layers of an image's `broker_configs` over the static settings."""
        return cls(dynamic.get(str(node_id), {}), dynamic.get(CLUSTER_SCOPE, {}), static, explicit)

    def places(self, name: str) -> Iterator[Synonym]:
        """Every place that gives the setting a value, the one that counts first."""
        setting = BROKER_SETTINGS[name]
        if name in self.node:
            yield Synonym(name, self.node[name], ConfigSource.DYNAMIC_BROKER)
        if name in self.cluster:
            yield Synonym(name, self.cluster[name], ConfigSource.DYNAMIC_DEFAULT_BROKER)
        if name in self.explicit:
            yield Synonym(name, setting.format(self.static[name]), ConfigSource.STATIC_BROKER)
        if setting.default is not None:
            yield Synonym(name, setting.format(setting.default), ConfigSource.DEFAULT)


def topic_entries(
    own: Mapping[str, str],
    layers: BrokerLayers,
    defaults: Mapping[str, str],
    wanted: Collection[str] | None = None,
) -> list[ConfigEntry]:
    """Settings of a topic, all or the wanted ones, by name. `defaults` as the broker gives them now."""
    entries = []
    for name in _names(TOPIC_SETTINGS, wanted):
        places = list(_topic_places(name, own, layers))
        source = places[0].source if places else ConfigSource.DEFAULT
        value = own.get(name, defaults.get(name))
        entries.append(ConfigEntry(TOPIC_SETTINGS[name], value, source, False, tuple(places)))
    return entries


def _topic_places(name: str, own: Mapping[str, str], layers: BrokerLayers) -> Iterator[Synonym]:
    if name in own:
        yield Synonym(name, own[name], ConfigSource.DYNAMIC_TOPIC)
    for broker_name in synonyms_of(name):
        yield from layers.places(broker_name)


def broker_entries(layers: BrokerLayers, wanted: Collection[str] | None = None) -> list[ConfigEntry]:
    """Settings of this broker, all or the wanted ones, by name."""
    entries = []
    for name in _names(BROKER_SETTINGS, wanted):
        setting = BROKER_SETTINGS[name]
        places = tuple(layers.places(name))
        value = places[0].value if places else None
        source = places[0].source if places else ConfigSource.DEFAULT
        entries.append(ConfigEntry(setting, value, source, not setting.mutable, places))
    return entries


def cluster_entries(layers: BrokerLayers, wanted: Collection[str] | None = None) -> list[ConfigEntry]:
    """The dynamic settings of all brokers (resource name ""): only what is set."""
    entries = []
    for name in _names(layers.cluster, wanted):
        value = layers.cluster[name]
        places = (Synonym(name, value, ConfigSource.DYNAMIC_DEFAULT_BROKER),)
        entries.append(
            ConfigEntry(BROKER_SETTINGS[name], value, ConfigSource.DYNAMIC_DEFAULT_BROKER, False, places)
        )
    return entries


def _names(table: Iterable[str], wanted: Collection[str] | None) -> list[str]:
    names = sorted(table)
    return names if wanted is None else [name for name in names if name in wanted]
