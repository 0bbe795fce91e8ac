"""The chain: every line names the SHA-256 of the line before it, over that line's exact bytes.

Pure. A line's number and the hash in it cannot be changed, nor a line taken out, put in or moved, without
every later line naming another hash. Whoever can rewrite the whole rest of the file can also compute it
anew: that is found by signatures only as long as the key is safe, and against a head kept elsewhere
(docs/security.md).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from rivven.audit.events import AUDIT, AuditEvent, encode

GENESIS: Final = "0" * 64
"""What the first line of a chain names as the line before it."""

SIGNED_PREFIX: Final = b"rivven-audit-line-1\n"
"""Comes before the bytes that are signed, so that no signature of ours means anything elsewhere."""

Sign = Callable[[bytes], bytes]
"""An Ed25519 signature (64 bytes) of some bytes."""


class Line(NamedTuple):
    """A finished line: its number in the chain and its bytes without the newline."""

    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain stands: the number the next line gets, and the hash of the last one in hex."""

    next_sequence: int = 0
    hash: str = GENESIS


def line_hash(data: bytes) -> str:
    """SHA-256 of a line without its newline, in hex."""
    return hashlib.sha256(data).hexdigest()


def with_signature(body: bytes, sign: Sign) -> bytes:
    """The line with a signature over everything else in it, put in as its last field."""
    signature = base64.b64encode(sign(SIGNED_PREFIX + body))
    return body[:-1] + b',"signature":"' + signature + b'"}'


def split_signature(data: bytes) -> tuple[bytes, bytes | None]:
    """(what was signed, signature) of a line; the line itself and None when it has none."""
    start = data.rfind(b',"signature":"')
    if start < 0 or not data.endswith(b'"}'):
        return data, None
    try:
        signature = base64.b64decode(data[start + 14 : -2], validate=True)
    except ValueError:
        return data, None
    return SIGNED_PREFIX + data[:start] + b"}", signature


class Chain:
    """Turns events into lines; holds the head. Belongs to one thread."""

    def __init__(self, head: Head) -> None:
        self.head = head

    def append(self, event: AuditEvent, at_ms: int, sign: Sign | None = None) -> Line:
        """The event's line, numbered, chained and, if asked for and possible, signed."""
        head = self.head
        data = encode(event, at_ms, head.next_sequence, head.hash)
        if event.signed and sign is not None:
            data = with_signature(data, sign)
        self.head = Head(head.next_sequence + 1, line_hash(data))
        return Line(head.next_sequence, data)

    def checkpoint(self, at_ms: int, sign: Sign, key_id: str) -> Line:
        """A signed line; through the hash in it the signature covers everything before."""
        event = AuditEvent(AUDIT, "checkpoint", details={"key": key_id}, signed=True)
        return self.append(event, at_ms, sign)
