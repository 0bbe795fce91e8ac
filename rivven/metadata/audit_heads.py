"""The family with the newest known head of the audit trail: a second place for it, in another file.

Pure. Whoever cuts the end off the audit log must also cut the metadata journal, which loses more than that;
the next start compares the two. It must not know what a line of the trail looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rivven.errors import InvalidRequest
from rivven.metadata.family import EventCodec

if TYPE_CHECKING:
    from rivven.metadata.image import MetadataImage

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeepAuditHead:
    """Command: the line `sequence` with this hash (hex) is on stable storage. No reply."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditHeadKept:
    """Event: the newest line that is known to have been on stable storage."""

    sequence: int
    hash: str


class AuditHeads:
    """The family; see `family.Family`. One head: the newest is worth all before it."""

    codecs: ClassVar[tuple[EventCodec, ...]] = (
        EventCodec(
            AuditHeadKept,
            "audit-head",
            lambda event: str(event.sequence),
            lambda event: {"sequence": event.sequence, "hash": event.hash},
            lambda document: AuditHeadKept(document["sequence"], document["hash"]),
        ),
    )
    commands: ClassVar[tuple[type, ...]] = (KeepAuditHead,)

    def __init__(self) -> None:
        self.version = 0
        self.head: AuditHeadKept | None = None

    def decide(
        self, command: KeepAuditHead, image: MetadataImage, now_ms: int
    ) -> tuple[tuple[Any, ...], None]:
        """See `family.Family`."""
        if command.sequence < 0 or not _HASH.fullmatch(command.hash):
            raise InvalidRequest("a head is a number and a SHA-256 in hex")
        kept = AuditHeadKept(command.sequence, command.hash)
        return ((), None) if kept == self.head else ((kept,), None)

    def apply(self, event: AuditHeadKept, version: int) -> None:
        """See `family.Family`."""
        self.version = version
        self.head = event

    def events(self) -> Iterator[AuditHeadKept]:
        """See `family.Family`."""
        if self.head is not None:
            yield self.head
