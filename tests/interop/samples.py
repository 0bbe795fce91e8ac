"""The records every client sends and must get back unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
FIRST_TIMESTAMP_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One record as a client sees it; the timestamp is milliseconds since the Unix epoch."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int

    def to_json(self) -> dict[str, Any]:
        """For clients in other languages; all texts are UTF-8."""
        return {
            "key": _text(self.key),
            "value": _text(self.value),
            "headers": [[name, _text(value)] for name, value in self.headers],
            "timestamp": self.timestamp,
        }

    @staticmethod
    def from_json(row: dict[str, Any]) -> Sample:
        headers = tuple((name, _bytes(value)) for name, value in row["headers"])
        return Sample(_bytes(row["key"]), _bytes(row["value"]), headers, int(row["timestamp"]))


def samples(count: int = 60, *, corner_cases: bool = False, null_header: bool = True) -> list[Sample]:
    """Compressible records with and without keys and headers.

    `corner_cases` adds what some clients cannot express: null values, repeated headers, empty texts, and with
    `null_header` a header without a value.
    """
    rows = [_plain(index) for index in range(count)]
    if corner_cases:
        first = ("null", None if null_header else b"")
        rows += [
            Sample(b"deleted", None, (), FIRST_TIMESTAMP_MS + count),
            Sample(b"", b"", (("empty", b""),), FIRST_TIMESTAMP_MS + count + 1),
            Sample(None, b"\x00\xff", (first, ("twice", b"1"), ("twice", b"2")), FIRST_TIMESTAMP_MS),
        ]
    return rows


def _plain(index: int) -> Sample:
    key = None if index % 5 == 0 else f"key-{index % 7}".encode()
    value = f"{index}: " + "the same words over and over, żółć " * 6
    headers = (("trace", f"id-{index}".encode()), ("kind", "größe".encode())) if index % 3 else ()
    return Sample(key, value.encode(), headers, FIRST_TIMESTAMP_MS + index)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()
