"""Broker settings that a key of the file sets: given or not, their values and units."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.config.broker_settings import BROKER_SETTINGS
from rivven.config.models import Config
from rivven.config.topic_settings import topic_config


def config(**sections: Any) -> Config:
    listener = {"name": "one", "bind": "127.0.0.1:0", "protocol": "plaintext"}
    return Config.model_validate({"insecure": True, "listeners": [listener], **sections})


def test_every_key_of_a_setting_exists_and_gives_its_default() -> None:
    values = config().broker
    named = [setting for setting in BROKER_SETTINGS.values() if setting.file_key]
    assert len(named) >= 7
    for setting in named:
        assert values[setting.name] == setting.default, setting.name
    assert config().broker_explicit == frozenset()


def test_a_given_key_is_the_settings_value_in_kafkas_unit() -> None:
    given = config(limits={"idle_timeout_secs": 90, "max_connections": 7})
    assert given.broker["connections.max.idle.ms"] == 90_000
    assert given.broker["max.connections"] == 7
    assert given.broker_explicit == {"connections.max.idle.ms", "max.connections"}


def test_encryption_of_the_broker_is_the_default_of_topics_and_a_topic_may_differ() -> None:
    on = config(storage={"encryption": {"enabled": True}})
    assert on.broker["log.encryption.enabled"] is True
    assert on.broker_explicit == {"log.encryption.enabled"}
    assert topic_config({}, on.topic_defaults).encryption_enabled
    assert not topic_config({"encryption.enabled": "false"}, on.topic_defaults).encryption_enabled
    assert not topic_config({}, config().topic_defaults).encryption_enabled
    assert topic_config({"encryption.key": "customer-7"}).encryption_key == "customer-7"


def test_a_given_section_without_the_key_gives_nothing() -> None:
    assert config(storage={"encryption": {"algorithm": "chacha20-poly1305"}}).broker_explicit == frozenset()


def test_the_setting_has_no_second_place_in_the_file() -> None:
    with pytest.raises(ValueError, match=r"is set by the key storage\.encryption\.enabled"):
        config(broker={"log.encryption.enabled": "true"})
