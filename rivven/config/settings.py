"""One row of a settings table: a Kafka-named setting with its type, bounds and documentation.

Pure: text in, values out. It must not know any particular setting, nor import pydantic (worker processes
import it). Names and types are those of Kafka's own configuration; the codes of `Kind` are the ones
DescribeConfigs answers (KIP-569).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import IntEnum

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1

SettingValue = bool | int | float | str | tuple[str, ...] | None
"""A parsed value; lists are tuples of names, None means "not set" (only where the default is None)."""

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)  # 19 digits hold every 64-bit value
_DECIMAL = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?", re.ASCII)


class Kind(IntEnum):
    """The type of a setting, with DescribeConfigs' wire code."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    LONG = 5
    DOUBLE = 6
    LIST = 7


class SettingError(ValueError):
    """A setting that is unknown, does not parse, is out of bounds, or contradicts another one."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting of a topic or of the broker.

    `synonym` of a topic setting is the broker setting that gives its default, None where no broker setting
    does. `maximum` of a text is its number of characters. `mutable` says whether it can
    be changed while the broker runs. `file_key` is the key of the configuration file that sets it when that
    is not the name itself under `broker:` (the Rivven document names it); such a setting has no second place
    in the file.
    """

    name: str
    type: Kind
    default: SettingValue
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    mutable: bool = True
    synonym: str | None = None
    file_key: str | None = None

    def parse(self, text: str) -> SettingValue:
        """The value written as `text`; raises ValueError whose message is the reason, without the name."""
        text = text.strip()
        match self.type:
            case Kind.BOOLEAN:
                return self._boolean(text)
            case Kind.INT | Kind.LONG:
                return self._whole(text)
            case Kind.DOUBLE:
                return self._decimal(text)
            case Kind.LIST:
                return self._list(text)
            case Kind.STRING:
                return self._choice(self._short(text))

    def format(self, value: SettingValue) -> str | None:
        """The text of a value as Kafka writes it; None for a setting that is not set."""
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return ",".join(value)
        return str(value)

    @property
    def bounds(self) -> str:
        """What is accepted, for people: "one of a, b" or "1 to 100" or empty."""
        if self.choices:
            return ("any of " if self.type is Kind.LIST else "one of ") + ", ".join(self.choices)
        if self.type is Kind.STRING:
            return "" if self.maximum is None else f"at most {self.maximum} characters"
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum} to {self.maximum}"
        return f"at least {self.minimum}" if self.minimum is not None else ""

    def _boolean(self, text: str) -> bool:
        lowered = text.lower()
        if lowered not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        self._choice(lowered)
        return lowered == "true"

    def _whole(self, text: str) -> int:
        if not _WHOLE_NUMBER.fullmatch(text):
            raise ValueError(f"{text!r} is not a whole number")
        value = int(text)
        limit = INT_MAX if self.type is Kind.INT else LONG_MAX
        if not -limit - 1 <= value <= limit:
            raise ValueError(f"{text} does not fit into {32 if self.type is Kind.INT else 64} bits")
        self._check_bounds(value)
        return value

    def _decimal(self, text: str) -> float:
        if not _DECIMAL.fullmatch(text):
            raise ValueError(f"{text!r} is not a number")
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text} is too large")
        self._check_bounds(value)
        return value

    def _list(self, text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
        if not text or "" in names:
            raise ValueError("a list needs at least one name and none may be empty")
        for name in names:
            self._choice(name)
        return names

    def _short(self, text: str) -> str:
        if self.maximum is not None and len(text) > self.maximum:
            raise ValueError(f"{len(text)} characters are more than {self.maximum}")
        if not text.isprintable():
            raise ValueError("control characters cannot be in it")
        return text

    def _choice(self, text: str) -> str:
        if self.choices and text not in self.choices:
            raise ValueError(f"{text!r} is not one of {', '.join(self.choices)}")
        return text

    def _check_bounds(self, value: float) -> None:
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"{value} is less than {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"{value} is more than {self.maximum}")


def table(*settings: Setting) -> dict[str, Setting]:
    """The settings by name, in the order given."""
    return {setting.name: setting for setting in settings}
