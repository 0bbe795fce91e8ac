"""What every case of `calls` is made of: the names it is about, and what to look for in any answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

NOT_ASKED = -2147483648
"""Authorized operations that were not asked for (KIP-430)."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the requests are about; `group` has committed offset 1 of `topic`-0, which holds one record."""

    topic: str
    topic_id: UUID
    group: str
    user: str
    member: str = ""
    generation: int = -1
    token: bytes = bytes(32)
    """The secret of a delegation token; nobody's unless a test made one."""


@dataclass(frozen=True, slots=True)
class CallCase:
    """`request(version, names)` and `check(answer, version, names)`, which asserts."""

    request: Callable[[int, Names], Any]
    check: Callable[[Any, int, Names], None]


def error_codes(value: Any) -> Iterator[int]:
    """Every error code anywhere in an answer."""
    for name, inner in _fields(value):
        if name == "error_code":
            yield int(inner)
        for one in inner if isinstance(inner, list) else [inner]:
            if hasattr(type(one), "__slots__") and not isinstance(one, str | bytes | int | UUID):
                yield from error_codes(one)


def _fields(value: Any) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return [(name, getattr(value, name)) for name in getattr(type(value), "__slots__", ())]


def no_errors(answer: Any, _version: int, _names: Names) -> None:
    assert set(error_codes(answer)) <= {0}
