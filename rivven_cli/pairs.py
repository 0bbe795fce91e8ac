"""Reading name=value arguments and points in time from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

import click

_AGO = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def name_values(texts: Iterable[str], option: str) -> dict[str, str]:
    """``name=value`` arguments as a mapping; raises UsageError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} wants NAME=VALUE, not {text!r}.")
        if name in found:
            raise click.UsageError(f"{option} {name} is given twice.")
        found[name] = value
    return found


def point_in_time(text: str, now_ms: int) -> int:
    """Milliseconds since 1970 for ``15m`` (ago), ``1767225600000`` or ``2026-01-01T00:00:00Z``; raises
    UsageError."""
    ago = _AGO.fullmatch(text)
    if ago:
        return now_ms - int(ago[1]) * _UNIT_MS[ago[2]]
    if re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"{text!r} is no time: write 15m, 2026-01-31T12:00:00Z or milliseconds."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
