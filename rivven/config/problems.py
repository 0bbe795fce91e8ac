"""What is wrong with a configuration: values that say where, which key and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """One problem: the file or environment variable, the key path (may be empty) and the reason."""

    source: str
    key: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


class ConfigError(ValueError):
    """A configuration that is refused; `problems` holds at least one entry."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)

    @classmethod
    def of(cls, source: str, reason: str) -> ConfigError:
        """A single problem; a reason that begins with its key needs no other."""
        return cls([Problem(source, "", reason)])
