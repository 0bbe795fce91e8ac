"""Broker settings that a key of the configuration file sets: whether the file has it, and its value. Pure."""

from __future__ import annotations

from pydantic import BaseModel

from rivven.config.settings import Setting


def is_given(config: BaseModel, setting: Setting) -> bool:
    """Whether the file or the environment has the key of this setting."""
    section: object = config
    for key in (setting.file_key or "").split("."):
        if not isinstance(section, BaseModel) or key not in section.model_fields_set:
            return False
        section = getattr(section, key)
    return True


def value_of(config: BaseModel, setting: Setting) -> bool | int:
    """The value of the setting's key, in Kafka's unit."""
    value: object = config
    path = setting.file_key or ""
    for key in path.split("."):
        value = getattr(value, key)
    assert isinstance(value, int | float), path
    if isinstance(value, bool):
        return value
    return round(value * 1000) if path.endswith("_secs") else int(value)
