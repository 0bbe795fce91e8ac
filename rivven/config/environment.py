"""RIVVEN_* environment variables as configuration keys.

``RIVVEN_LISTENERS__0__BIND`` is ``listeners[0].bind``: levels are separated by two underscores. Below
BROKER a single underscore stands for a dot: ``RIVVEN_BROKER__NUM_PARTITIONS`` is
``broker.num.partitions``. Lists of names are separated by commas. A variable with ``__`` that names no key
is refused; others are left alone, because platforms set such variables for a service called rivven
(RIVVEN_SERVICE_HOST).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rivven.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from pydantic import BaseModel

ENVIRONMENT_PREFIX = "RIVVEN_"
OVERRIDES_MAX = 500  # variables; every key of the file several times over


def overrides_from(env: Mapping[str, str], data: dict[str, Any]) -> dict[str, str]:
    """Write the variables into `data` (nested, in place); returns key path -> variable name for error
    messages.

    Raises ConfigError for a variable that names no key.
    """
    origins: dict[str, str] = {}
    for variable in sorted(env):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        parts = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not _concerns_configuration(parts):
            continue
        if len(origins) >= OVERRIDES_MAX:
            raise ConfigError(
                [Problem("environment", "", f"more than {OVERRIDES_MAX} {ENVIRONMENT_PREFIX} variables")]
            )
        try:
            origins[_insert(data, parts, env[variable])] = variable
        except ValueError as error:
            raise ConfigError([Problem(f"environment variable {variable}", "", str(error))]) from None
    return origins


def _concerns_configuration(parts: list[str]) -> bool:
    from rivven.config.load import fields_at

    return len(parts) > 1 or parts[0] in fields_at(())


def _insert(data: dict[str, Any], parts: list[str], text: str) -> str:
    """Set one key; returns its path. Lists may be extended by one entry at a time."""
    location: list[int | str] = []
    place: Any = data
    if parts[0] == "broker" and len(parts) == 2:
        name = parts[1].replace("_", ".")
        _child(place, "broker", {})[name] = text
        return f"broker.{name}"
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(place, list):
            place = _entry(place, part)
            location.append(int(part))
            if last:
                raise ValueError("names a whole entry; add __KEY")
            continue
        kind = _kind_of(location, part)
        location.append(part)
        if last:
            place[part] = _value(kind, text)
        else:
            place = _child(place, part, [] if kind.startswith("list") else {})
    return _path(location)


def _entry(entries: list[Any], part: str) -> Any:
    if not re.fullmatch(r"[0-9]{1,3}", part):
        raise ValueError(f"{part!r} is not the number of an entry")
    index = int(part)
    if index > len(entries):
        raise ValueError(f"there is no entry {index}; the next one is {len(entries)}")
    if index == len(entries):
        entries.append({})
    if not isinstance(entries[index], dict):
        raise ValueError(f"entry {index} is not a mapping")
    return entries[index]


def _child(place: Any, part: str, empty: Any) -> Any:
    if not isinstance(place, dict):
        raise ValueError(f"there is nothing below {part!r}")
    if place.get(part) is None:
        place[part] = empty
    if type(place[part]) is not type(empty):
        raise ValueError(f"{part!r} is no {'list' if empty == [] else 'mapping'}")
    return place[part]


def _kind_of(location: list[int | str], part: str) -> str:
    """The written type of a key; raises ValueError with the nearest known key for an unknown one."""
    from rivven.config.load import fields_at, model_at

    model: type[BaseModel] | None = model_at(tuple(location))
    known = fields_at(tuple(location))
    if model is None or part not in known:
        near = difflib.get_close_matches(part, known, n=1)
        hint = (
            f"; did you mean {near[0].upper()}?"
            if near
            else f"; known here: {', '.join(known)}"
            if known
            else ""
        )
        raise ValueError(f"no such key: {_path([*location, part])}{hint}")
    annotation = model.model_fields[part].annotation
    return (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else str(annotation)
    )


def _value(kind: str, text: str) -> object:
    """A text as the type the key wants; what does not fit is left for the strict check to refuse."""
    if kind == "bool":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if kind == "int" and re.fullmatch(r"-?[0-9]{1,19}", text.strip(), re.ASCII):
        return int(text)
    if kind == "float" and re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,9})?", text.strip(), re.ASCII):
        return float(text)
    if kind == "list[str]":
        return [part.strip() for part in text.split(",")] if text.strip() else []
    return text


def _path(location: list[int | str]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
