"""The settings tables: parsing, bounds, and how broker settings give topics their defaults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.config.broker_settings import (
    BROKER_SETTINGS,
    broker_defaults,
    parse_broker_settings,
    synonyms_of,
    topic_defaults,
)
from rivven.config.settings import LONG_MAX, Kind, Setting, SettingError
from rivven.config.topic_settings import TOPIC_DEFAULTS, TOPIC_SETTINGS, TopicConfig, topic_config

EVERY_SETTING = [*TOPIC_SETTINGS.values(), *BROKER_SETTINGS.values()]


@pytest.mark.parametrize("setting", EVERY_SETTING, ids=lambda s: s.name)
def test_every_default_is_valid_and_survives_its_own_text(setting: Setting) -> None:
    text = setting.format(setting.default)
    if text is None:
        assert setting.default is None
    else:
        assert setting.parse(text) == setting.default
    assert setting.doc.endswith(".")


@given(st.text(max_size=40))
def test_parsing_random_text_gives_a_value_in_bounds_or_a_value_error(text: str) -> None:
    for setting in EVERY_SETTING:
        try:
            value = setting.parse(text)
        except ValueError as error:
            assert str(error)
            continue
        again = setting.format(value)
        assert again is not None
        assert setting.parse(again) == value
        if isinstance(value, int | float) and setting.minimum is not None:
            assert value >= setting.minimum


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("retention.ms", "1_000", "not a whole number"),
        ("retention.ms", "-2", "less than -1"),
        ("retention.ms", "", "not a whole number"),
        ("retention.ms", "٣", "not a whole number"),
        ("retention.ms", str(LONG_MAX + 1), "64 bits"),
        ("segment.bytes", str(2**31), "32 bits"),
        ("min.cleanable.dirty.ratio", "1.5", "more than 1"),
        ("min.cleanable.dirty.ratio", "nan", "not a number"),
        ("min.cleanable.dirty.ratio", "1e999", "too large"),
        ("cleanup.policy", "compact,", "none may be empty"),
        ("cleanup.policy", "", "at least one"),
        ("cleanup.policy", "shred", "not one of compact, delete"),
        ("compression.type", "brotli", "not one of"),
        ("unclean.leader.election.enable", "true", "not one of false"),
        ("preallocate", "true", "not one of false"),
        ("preallocate", "yes", "neither true nor false"),
    ],
)
def test_a_bad_value_is_refused_with_its_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TOPIC_SETTINGS[name].parse(text)
    with pytest.raises(SettingError, match=name):
        topic_config({name: text})


def test_the_value_object_has_exactly_the_settings_of_the_table_and_their_defaults() -> None:
    fields = {name.replace(".", "_") for name in TOPIC_SETTINGS}
    assert set(TopicConfig.__dataclass_fields__) == fields
    assert topic_config({}) == TopicConfig()


def test_a_topic_setting_wins_over_the_brokers_default() -> None:
    config = topic_config({"retention.ms": "5"}, {**TOPIC_DEFAULTS, "retention.ms": "9", "segment.ms": "7"})
    assert (config.retention_ms, config.segment_ms) == (5, 7)


def test_equal_configurations_are_one_object() -> None:
    assert topic_config({"retention.ms": "77"}) is topic_config({"retention.ms": "77"})


def test_an_unknown_topic_setting_and_a_contradiction_are_refused() -> None:
    with pytest.raises(SettingError, match="no such topic setting"):
        topic_config({"retention.days": "3"})
    with pytest.raises(
        SettingError, match=r"max\.compaction\.lag\.ms: is less than min\.compaction\.lag\.ms"
    ):
        topic_config({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "9"})


def test_cleanup_policy_is_a_set_with_readable_questions() -> None:
    config = topic_config({"cleanup.policy": "compact, delete", "message.timestamp.type": "LogAppendTime"})
    assert config.compacted
    assert config.deletes
    assert config.log_append_time
    assert not topic_config({"flush.messages": "100"}).durable


def test_broker_defaults_give_the_built_in_topic_defaults() -> None:
    assert topic_defaults(broker_defaults()) == TOPIC_DEFAULTS
    assert topic_defaults({}) == TOPIC_DEFAULTS


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ({"log.retention.hours": "1"}, 3_600_000),
        ({"log.retention.hours": "1", "log.retention.minutes": "2"}, 120_000),
        ({"log.retention.hours": "1", "log.retention.minutes": "2", "log.retention.ms": "3"}, 3),
        ({"log.retention.hours": "-1"}, -1),
    ],
)
def test_the_finest_unit_that_is_set_gives_the_retention_time(broker: dict[str, str], expected: int) -> None:
    assert topic_defaults(parse_broker_settings(broker))["retention.ms"] == str(expected)


def test_every_topic_setting_has_a_broker_setting_that_gives_its_default() -> None:
    without, fixed = {"encryption.key"}, {"encryption.enabled"}
    for name, setting in TOPIC_SETTINGS.items():
        for synonym in synonyms_of(name):
            assert synonym in BROKER_SETTINGS
        assert (setting.synonym is None) is (name in without)
        if setting.synonym is not None:
            assert BROKER_SETTINGS[setting.synonym].mutable is (name not in fixed)


def test_an_unknown_or_bad_broker_setting_is_refused() -> None:
    with pytest.raises(SettingError, match="no such broker setting"):
        parse_broker_settings({"num.partition": "1"})
    with pytest.raises(SettingError, match=r"num\.partitions: 0 is less than 1"):
        parse_broker_settings({"num.partitions": "0"})


def test_bounds_are_told_in_words() -> None:
    assert TOPIC_SETTINGS["min.cleanable.dirty.ratio"].bounds == "0 to 1"
    assert TOPIC_SETTINGS["retention.ms"].bounds == "at least -1"
    assert TOPIC_SETTINGS["cleanup.policy"].bounds == "any of compact, delete"
    assert Setting(name="x", type=Kind.STRING, default="", doc="").bounds == ""


@pytest.mark.parametrize("text", ["x" * 2_049, "two\nlines", "nul\0"])
def test_a_text_is_bounded_and_printable(text: str) -> None:
    with pytest.raises(ValueError, match="characters"):
        TOPIC_SETTINGS["encryption.key"].parse(text)
    assert TOPIC_SETTINGS["encryption.key"].parse("arn:aws:kms:eu:1:key/2") == "arn:aws:kms:eu:1:key/2"
    assert TOPIC_SETTINGS["encryption.key"].bounds == "at most 2048 characters"


def test_a_topic_setting_without_a_broker_setting_has_no_synonym() -> None:
    assert synonyms_of("encryption.key") == ()
    assert "encryption.key" not in BROKER_SETTINGS
    assert not BROKER_SETTINGS["log.encryption.enabled"].mutable
