"""Reading `auth.oidc.issuers_file`: a YAML file with the key `issuers`, strict as the configuration file.

It reads and checks; following the file while the broker runs is the broker's.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from rivven.config.load import PROBLEMS_MAX, read_yaml
from rivven.config.oidc import ISSUERS_MAX, OidcIssuerConfig
from rivven.config.problems import ConfigError, Problem
from rivven.config.values import Strict


class _IssuersFile(Strict):
    """What stands in the file."""

    issuers: list[OidcIssuerConfig] = Field(default=[], max_length=ISSUERS_MAX)


def read_issuers(path: Path) -> list[OidcIssuerConfig]:
    """The issuers of the file, none for an empty one. Raises ConfigError with every problem."""
    content = read_yaml(path)
    if content.get("issuers", []) is None:  # the key with every line below it commented out
        content = {}
    try:
        return _IssuersFile.model_validate(content).issuers
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    raise ConfigError(
        [
            Problem(str(path), _key(one["loc"]), _reason(one["type"], one["msg"]))
            for one in details[:PROBLEMS_MAX]
        ]
    )


def _key(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _reason(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"unknown key; known here: {', '.join(OidcIssuerConfig.model_fields)}"
    if kind == "missing":
        return "is required"
    return message.removeprefix("Value error, ")
