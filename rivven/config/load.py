"""Reading the configuration: YAML file, then RIVVEN_* environment, then what the command line says;
checked strictly.

Every problem is reported as place (file or environment variable), key path and reason. It never logs,
prints or keeps a secret, and values of refused keys are not repeated where a secret could stand.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError

from rivven.config.broker_settings import BROKER_SETTINGS
from rivven.config.environment import ENVIRONMENT_PREFIX, overrides_from
from rivven.config.models import Config
from rivven.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

CONFIG_BYTES_MAX = (
    1_048_576  # a hundred times the largest sensible file; stops a wrong path from filling memory
)
PROBLEMS_MAX = 20  # more would bury the first

_ELSEWHERE = {
    "server.tls.enabled": "TLS is chosen per listener: protocol: ssl or sasl_ssl",
    "dev": "the development profile is chosen on the command line: rivven server --dev",
}
"""Keys people will try, and what to write instead."""


def load(
    path: Path | None,
    env: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    dev: bool = False,
    dev_port: int | None = None,
) -> Config:
    """The configuration from `path` (None: no file), the RIVVEN_* variables in `env` and `overrides` (by
    top-level key).

    `dev` starts from the development profile instead of from nothing, on `dev_port` if given. Raises
    ConfigError with every problem found.
    """
    source = str(path) if path else "environment"
    # A section whose every line is a comment reads as null; it says as much as one that is not there.
    content = {key: value for key, value in (read_yaml(path) if path else {}).items() if value is not None}
    data = {**_development(content, env, overrides or {}, dev_port), **content} if dev else content
    origins = overrides_from(env, data)
    data.update(overrides or {})
    return validate(data, source, origins, dev=dev)


def validate(
    data: Mapping[str, object], source: str, origins: Mapping[str, str] | None = None, *, dev: bool = False
) -> Config:
    """Check a mapping as the file would hold it; `origins` maps key paths to the variable that set them."""
    if "dev" in data:
        raise ConfigError([Problem(source, "dev", f"unknown key: {_ELSEWHERE['dev']}")])
    try:
        return Config.model_validate({**data, "dev": dev})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    problems = [_problem(detail, source, origins or {}) for detail in details[:PROBLEMS_MAX]]
    raise ConfigError(problems) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds; raises ConfigError when it cannot be read, is too large, or repeats a
    key."""
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), "", error.strerror or str(error))]) from None
    if len(text) > CONFIG_BYTES_MAX:
        raise ConfigError([Problem(str(path), "", f"larger than {CONFIG_BYTES_MAX} bytes")])
    return parse_yaml(text, str(path))


def parse_yaml(text: bytes, source: str) -> dict[str, Any]:
    """The mapping in a YAML text; see `read_yaml`."""
    from rivven.config.strict_yaml import (
        YamlProblem,
        parse_mapping,
    )  # PyYAML is only needed where there is a file

    try:
        return parse_mapping(text)
    except YamlProblem as error:
        raise ConfigError([Problem(source, error.where, error.reason)]) from None


def _development(
    content: Mapping[str, object], env: Mapping[str, str], overrides: Mapping[str, object], port: int | None
) -> dict[str, object]:
    from rivven.config.development import DEV_PORT, development_settings

    # The profile names files below the data directory, so it has to know what will override it.
    from_file = content.get("data_dir", "data")
    data_dir = overrides.get("data_dir", env.get(f"{ENVIRONMENT_PREFIX}DATA_DIR", from_file))
    return development_settings(Path(str(data_dir)), port=DEV_PORT if port is None else port)


def _problem(detail: ErrorDetails, source: str, origins: Mapping[str, str]) -> Problem:
    location = detail["loc"]
    key = _key_path(location)
    reason = _reason(detail, key)
    if not key and ": " in reason:  # cross checks name their key themselves
        key, reason = reason.split(": ", 1)
    variable = next(
        (name for path, name in origins.items() if key == path or key.startswith(path + ".")), None
    )
    return Problem(f"environment variable {variable}" if variable else source, key, reason)


def _key_path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _reason(detail: ErrorDetails, key: str) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(detail["loc"], key)
        case "missing":
            return "is required"
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case "model_type" | "model_attributes_type":
            return "must be a mapping of keys to values"
    return detail["msg"][0].lower() + detail["msg"][1:]


def _unknown_key(location: tuple[int | str, ...], key: str) -> str:
    if key in _ELSEWHERE:
        return f"unknown key: {_ELSEWHERE[key]}"
    known = fields_at(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    if str(location[-1]) in BROKER_SETTINGS:
        return "unknown key; Kafka's settings stand under broker:"
    return f"unknown key; known here: {', '.join(sorted(known))}"


def fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys known below a key path (list indexes are skipped)."""
    model = model_at(location)
    return [info.alias or name for name, info in model.model_fields.items() if name != "dev"] if model else []


def model_at(location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that describes the mapping at a key path; None where there is none."""
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int):
            continue
        info = model.model_fields.get(part)
        inner = _model_in(info.annotation) if info else None
        if inner is None:
            return None
        model = inner
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model inside ``Model``, ``Model | None`` or ``list[Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in cast("tuple[object, ...]", getattr(annotation, "__args__", ())):
        model = _model_in(argument)
        if model is not None:
            return model
    return None


__all__ = ["ENVIRONMENT_PREFIX", "ConfigError", "Problem", "load", "parse_yaml", "read_yaml", "validate"]
