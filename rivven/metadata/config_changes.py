"""Deciding about settings of topics and of the broker: parsing, SET/DELETE/APPEND/SUBTRACT, contradictions.

Pure. The tables in `config` know names, types and bounds; this module knows what may be done with them
(KIP-339). Stored values are canonical texts, so equal settings compare equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rivven.config.broker_settings import BROKER_SETTINGS, topic_defaults
from rivven.config.settings import Kind, Setting, SettingError, SettingValue
from rivven.config.topic_settings import TOPIC_SETTINGS, topic_config
from rivven.errors import ErrorCode, InvalidConfig, InvalidRequest, RivvenError
from rivven.metadata import records as r
from rivven.metadata.broker_values import CLUSTER_SCOPE
from rivven.metadata.commands import AlterBrokerConfigs, AlterTopicConfigs, ConfigChange, ConfigOperation
from rivven.metadata.image import MetadataImage

Events = tuple[r.MetadataEvent, ...]

FIXED_OF_INTERNAL = frozenset({"cleanup.policy"})
"""Settings of the broker's own topics that nobody may change: without compaction groups would be lost."""


def parsed_topic_value(name: str, text: str) -> str:
    """The canonical text of a topic setting's value; raises InvalidConfig."""
    return _canonical(_setting(TOPIC_SETTINGS, name, "topic"), text)


def checked_topic_configs(own: dict[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """`own` if it makes a configuration with these defaults; raises InvalidConfig for contradictions."""
    try:
        topic_config(own, defaults)
    except SettingError as error:
        raise InvalidConfig(str(error)) from None
    return own


def alter_topic_configs(
    image: MetadataImage, command: AlterTopicConfigs, defaults: Mapping[str, str]
) -> Events:
    """See `AlterTopicConfigs`."""
    topic = image.topics.get(command.name)
    if topic is None:
        raise RivvenError("there is no such topic", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    configs = _changed(TOPIC_SETTINGS, "topic", topic.configs, command.changes, command.replace, defaults)
    if topic.internal:
        for name in FIXED_OF_INTERNAL:
            if configs.get(name) != topic.configs.get(name):
                raise InvalidConfig(f"{name} of the broker's own topics is fixed")
    checked_topic_configs(configs, defaults)
    if command.validate_only or configs == topic.configs:
        return ()
    return (r.TopicConfigsChanged(topic.topic_id, configs),)


def alter_broker_configs(
    image: MetadataImage, command: AlterBrokerConfigs, node_id: int, static: Mapping[str, SettingValue]
) -> Events:
    """See `AlterBrokerConfigs`. `static` are the values of the configuration file."""
    if command.scope not in (CLUSTER_SCOPE, str(node_id)):
        raise InvalidRequest("there is no such broker")
    for change in command.changes:
        if not _setting(BROKER_SETTINGS, change.name, "broker").mutable:
            raise InvalidConfig(f"{change.name} cannot be changed while the broker runs")
    current = image.broker_configs.get(command.scope, {})
    defaults = {name: text for name, value in static.items() if (text := _text(name, value)) is not None}
    configs = _changed(BROKER_SETTINGS, "broker", current, command.changes, command.replace, defaults)
    _check_topics_still_work(image, {**image.broker_configs, command.scope: configs}, node_id, static)
    if command.validate_only or configs == current:
        return ()
    return (r.BrokerConfigsChanged(command.scope, configs),)


def _check_topics_still_work(
    image: MetadataImage,
    dynamic: Mapping[str, Mapping[str, str]],
    node_id: int,
    static: Mapping[str, SettingValue],
) -> None:
    """Defaults apply to every topic: refuse one that contradicts what some topic has set itself."""
    values = dict(static)
    for scope in (CLUSTER_SCOPE, str(node_id)):
        for name, text in dynamic.get(scope, {}).items():
            values[name] = BROKER_SETTINGS[name].parse(text)
    defaults = topic_defaults(values)
    checked_topic_configs({}, defaults)
    for topic in image.topics.values():
        if topic.configs:
            try:
                topic_config(topic.configs, defaults)
            except SettingError as error:
                raise InvalidConfig(f"a topic's own settings contradict it: {error.reason}") from None


def _changed(
    table: Mapping[str, Setting],
    noun: str,
    current: Mapping[str, str],
    changes: Sequence[ConfigChange],
    replace: bool,
    defaults: Mapping[str, str],
) -> dict[str, str]:
    names = [change.name for change in changes]
    if len(set(names)) != len(names):
        raise InvalidRequest("a setting is named twice")
    configs = {} if replace else dict(current)
    for change in changes:
        setting = _setting(table, change.name, noun)
        if change.operation == ConfigOperation.DELETE:
            configs.pop(change.name, None)
            continue
        if change.operation not in ConfigOperation.__members__.values():
            raise InvalidRequest(f"{change.operation} is not a known operation")
        if change.value is None:
            raise InvalidRequest(f"{change.name}: a value is missing")
        if change.operation == ConfigOperation.SET:
            configs[change.name] = _canonical(setting, change.value)
        else:
            present = configs.get(change.name, defaults.get(change.name, ""))
            configs[change.name] = _edited_list(setting, present, change.operation, change.value)
    return configs


def _edited_list(setting: Setting, present: str, operation: int, text: str) -> str:
    if setting.type is not Kind.LIST:
        raise InvalidConfig(f"{setting.name} is not a list")
    named = _canonical(setting, text).split(",")
    members = [member for member in present.split(",") if member]
    if operation == ConfigOperation.APPEND:
        members += [member for member in named if member not in members]
    else:
        members = [member for member in members if member not in named]
    return _canonical(setting, ",".join(members))


def _setting(table: Mapping[str, Setting], name: str, noun: str) -> Setting:
    setting = table.get(name)
    if setting is None:
        raise InvalidConfig(f"{name} is not a {noun} setting this broker enforces")
    return setting


def _canonical(setting: Setting, text: str) -> str:
    try:
        formatted = setting.format(setting.parse(text))
    except ValueError as error:
        raise InvalidConfig(f"{setting.name}: {error}") from None
    if formatted is None:
        raise InvalidConfig(f"{setting.name}: a value is missing")
    return formatted


def _text(name: str, value: SettingValue) -> str | None:
    return BROKER_SETTINGS[name].format(value)
