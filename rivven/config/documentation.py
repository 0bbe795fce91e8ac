"""The configuration explained, made from the models and tables themselves: the commented file and the
manual page.

Pure text. `tools/write_docs.py` writes the results into config/ and docs/; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rivven.config.broker_settings import BROKER_SETTINGS, synonyms_of
from rivven.config.listeners import ListenerConfig
from rivven.config.models import Config
from rivven.config.settings import Setting
from rivven.config.topic_settings import TOPIC_SETTINGS

_HEAD = (
    "Rivven: every key with its default. `rivven server --config FILE` refuses unknown keys; "
    "`rivven config check FILE` says what is wrong. A variable overrides a key: "
    "RIVVEN_LISTENERS__0__BIND is listeners[0].bind, RIVVEN_BROKER__NUM_PARTITIONS is "
    "broker.num.partitions. Paths are relative to the directory the broker is started in."
)
_EXAMPLES: dict[str, str] = {
    "listeners.name": "main",
    "listeners.bind": "127.0.0.1:9092",
    "listeners.protocol": "sasl_ssl",
    "listeners.advertised": "broker.example.com:9092",
    "listeners.sasl": "[SCRAM-SHA-256, SCRAM-SHA-512]",
    "server.tls.cert_path": "/etc/rivven/tls/server.crt",
    "server.tls.key_path": "/etc/rivven/tls/server.key",
    "server.tls.key_password": "file:/etc/rivven/tls/key-password",
    "auth.users_file": "/etc/rivven/users.yaml",
    "authorization.super_users": "[User:admin]",
    "rate_limiting.global": "{requests_per_second: 100000, burst: 10000}",
    "rate_limiting.per_client": "{requests_per_second: 10000, burst: 1000}",
    "rate_limiting.per_topic": "{requests_per_second: 50000, burst: 5000}",
}
"""Values for keys without a default that says something."""

_COMMENT_WIDTH = 100


def default_file() -> str:
    """A commented configuration file with every key, its meaning and its default; it can be started once
    the files it names exist."""
    lines = [*_comment(_HEAD, ""), ""]
    for name, info in Config.model_fields.items():
        if name == "dev":
            continue
        key = info.alias or name
        lines += _comment(f"{info.description}", "")
        lines += _section(key, info)
        lines.append("")
    return "\n".join(lines)


def default_values() -> dict[str, Any]:
    """The defaults as data: the keys of the file, the broker settings and the topic settings."""
    file = {
        info.alias or name: _plain(info.get_default(call_default_factory=True))
        for name, info in Config.model_fields.items()
        if name != "dev" and not info.is_required() and info.alias != "broker"
    }
    return {
        "file": file,
        "broker": {name: setting.format(setting.default) for name, setting in BROKER_SETTINGS.items()},
        "topic": {name: setting.format(setting.default) for name, setting in TOPIC_SETTINGS.items()},
    }


def configuration_page() -> str:
    """docs/configuration.md."""
    return "\n".join(
        [
            "# Configuration",
            "",
            "This page is made from the code by `python tools/write_docs.py`; a test checks that "
            "it is up to date.",
            "",
            "One YAML file, given with `rivven server --config FILE`. It is read once and "
            "strictly: an unknown key, a value",
            "of the wrong type and a contradiction are refused with the file, the key and the "
            "reason. `rivven config check",
            "FILE` does only that; `rivven config show FILE` prints what would be in force; "
            "`rivven config defaults` prints",
            "a commented file with every key.",
            "",
            "**Environment.** `RIVVEN_` and the key path in capitals, levels separated by two "
            "underscores, overrides the",
            "file: `RIVVEN_LISTENERS__0__BIND=0.0.0.0:9093`. Below `broker` a single underscore "
            "stands for a dot:",
            "`RIVVEN_BROKER__NUM_PARTITIONS=3`. Lists of names are separated by commas. A "
            "variable with two underscores that",
            "names no key is refused; other `RIVVEN_` variables are left alone, because "
            "Kubernetes sets some for a service",
            "called rivven.",
            "",
            "**Secrets** never stand in the file. Keys that need one take a reference: "
            "`file:PATH` or `env:NAME`.",
            "",
            "## Keys of the file",
            "",
            "| key | default | meaning |",
            "|---|---|---|",
            *_key_rows(),
            "",
            "A listener without authentication (`plaintext`, `ssl`), passwords in the clear "
            "beyond this machine",
            "(`sasl_plaintext` on another address than loopback) and metrics on another address "
            "than loopback are refused",
            "unless the file says `insecure: true`; such a broker lets everybody do everything "
            "and says so at every start.",
            "",
            "## Broker settings",
            "",
            "Under `broker:`, by Kafka's names. A setting marked with a key of the file is set by"
            " that key and only",
            "reported under its Kafka name. Settings that give topics their default can be "
            "changed while the broker runs",
            "(IncrementalAlterConfigs on the broker); all others need a restart.",
            "",
            "| setting | type | default | accepts | set by | meaning |",
            "|---|---|---|---|---|---|",
            *(_setting_row(one, one.file_key or "") for one in BROKER_SETTINGS.values()),
            "",
            "## Topic settings",
            "",
            "Per topic, by CreateTopics, IncrementalAlterConfigs or `rivven topic alter NAME "
            "--set SETTING=VALUE`. Everything",
            "listed is enforced; what is not listed is refused.",
            "",
            "| setting | type | default | accepts | default from | meaning |",
            "|---|---|---|---|---|---|",
            *(_setting_row(one, ", ".join(synonyms_of(one.name))) for one in TOPIC_SETTINGS.values()),
            "",
        ]
    )


def _section(key: str, info: FieldInfo) -> list[str]:
    if key == "listeners":
        return ["listeners:", *_fields(ListenerConfig, "listeners", 4, first="  - ")]
    if key == "broker":
        return ["broker:", *_broker_lines()]
    model = _model_of(info.annotation)
    if model is not None:
        return [f"{key}:", *_fields(model, key, 2)]
    return [f"{key}: {_yaml(info.get_default())}"]


def _fields(model: type[BaseModel], path: str, indent: int, first: str = "") -> list[str]:
    lines: list[str] = []
    margin = " " * indent
    for field_name, info in model.model_fields.items():
        name = info.alias or field_name
        where = f"{path}.{name}"
        inner = _model_of(info.annotation)
        if inner is not None and _left_out(inner, info, where):
            example = _EXAMPLES.get(where) or _needed(inner)
            lines += [*_comment(str(info.description), margin), f"{margin}# {name}: {example}"]
            continue
        lines += _comment(_with_choices(info), margin)
        if inner is not None:
            lines += [f"{margin}{name}:", *_fields(inner, where, indent + 2)]
            continue
        value = _EXAMPLES.get(where, _yaml(info.get_default()))
        off = "" if info.is_required() or where not in _EXAMPLES else "# "
        lines.append(f"{margin}{off}{name}: {value}")
    if first:  # the list dash stands on the first key, behind the comments about it
        index = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
        lines[index] = first + lines[index].lstrip()
    return lines


def _left_out(model: type[BaseModel], info: FieldInfo, where: str) -> bool:
    """Whether a section is absent by default and has keys that only its user can know."""
    if info.is_required() or info.get_default(call_default_factory=True) is not None:
        return False
    if any(example.startswith(f"{where}.") for example in _EXAMPLES):
        return False
    return any(inside.is_required() for inside in model.model_fields.values())


def _needed(model: type[BaseModel]) -> str:
    """The keys such a section must have, in one line."""
    needed = [info.alias or name for name, info in model.model_fields.items() if info.is_required()]
    return "{" + ", ".join(f"{name}: ..." for name in needed) + "}"


def _broker_lines() -> Iterator[str]:
    for setting in BROKER_SETTINGS.values():
        if setting.file_key:
            continue
        bounds = f" Accepts: {setting.bounds}." if setting.bounds else ""
        yield from _comment(setting.doc + bounds, "  ")
        value = setting.format(setting.default)
        yield f"  # {setting.name}: {value if value is not None else ''}".rstrip()


def _key_rows() -> Iterator[str]:
    for name, info in Config.model_fields.items():
        if name == "dev":
            continue
        key = info.alias or name
        model = ListenerConfig if key == "listeners" else _model_of(info.annotation)
        if model is None:
            yield _key_row(key, info)
        else:
            yield from _rows_below(model, "listeners[]" if key == "listeners" else key)


def _rows_below(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, info in model.model_fields.items():
        inner, where = _model_of(info.annotation), f"{path}.{info.alias or name}"
        if inner is None or path == "listeners[]":
            yield _key_row(where, info)
        else:
            yield from _rows_below(inner, where)
        entry = _entry_of(info.annotation)
        if entry is not None:
            yield from _rows_below(entry, f"{where}.NAME" if _by_name(info.annotation) else f"{where}[]")


def _key_row(key: str, info: FieldInfo) -> str:
    default = "required" if info.is_required() else f"`{_yaml(info.get_default())}`"
    if key == "broker":
        default = "none"
    return f"| `{key}` | {default} | {_with_choices(info)} |"


def _setting_row(setting: Setting, place: str) -> str:
    default = setting.format(setting.default)
    shown = f"`{default}`" if default is not None else "not set"
    origin = ", ".join(f"`{name}`" for name in place.split(", ")) if place else ""
    kind = setting.type.name.lower()
    return f"| `{setting.name}` | {kind} | {shown} | {setting.bounds} | {origin} | {setting.doc} |"


def _with_choices(info: FieldInfo) -> str:
    choices = [str(one) for one in get_args(info.annotation) if isinstance(one, str)]
    return f"{info.description} One of: {', '.join(choices)}." if len(choices) > 1 else str(info.description)


def _entry_of(annotation: Any) -> type[BaseModel] | None:
    """The model of the entries of a list, or of a mapping by names; None for what has no such entries."""
    if _by_name(annotation):
        return _model_of(get_args(annotation)[1])
    return _model_of(get_args(annotation)[0]) if get_origin(annotation) is list else None


def _by_name(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (list, dict):  # written in one line, as a value
        return None
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _plain(value: Any) -> Any:
    return (
        value.model_dump(mode="json")
        if isinstance(value, BaseModel)
        else [_plain(one) for one in value]
        if isinstance(value, list)
        else value
        if _simple(value)
        else str(value)
    )


def _simple(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | list | dict)


def _yaml(value: Any) -> str:
    if value is PydanticUndefined or value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str) and value.replace(".", "").isdigit():
        return f'"{value}"'  # "1.2" is a text
    return '""' if value == "" else str(value)


def _comment(text: str, margin: str) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > _COMMENT_WIDTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [f"{margin}# {one}" for one in [*lines, line]]
