"""One kind of thing in the metadata - tokens, roles, quotas - with its events, decisions and share of
the image.

Pure. A family is a class with the members of `Family`; `families.FAMILIES` lists them, and the image, the
journal codec and the machine do the rest. A family must not know another family's insides: what it needs of
the rest it reads from the image it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from rivven.metadata.image import MetadataImage


@dataclass(frozen=True, slots=True)
class EventCodec:
    """How one type of event is written in the journal.

    `kind` names it for ever; `key` says in a dump what the event is about; `members` and `build` are each
    other's inverse over JSON values. Later versions of an event may add optional members, never change one.
    """

    event: type
    kind: str
    key: Callable[[Any], str]
    members: Callable[[Any], dict[str, Any]]
    build: Callable[[dict[str, Any]], Any]


class Family(Protocol):
    """`version` is the image's version at the last change, so that caches can key on it."""

    codecs: ClassVar[tuple[EventCodec, ...]]
    commands: ClassVar[tuple[type, ...]]
    version: int

    def decide(self, command: Any, image: MetadataImage, now_ms: int) -> tuple[tuple[Any, ...], Any]:
        """The events of a command and its reply. Raises RivvenError when it is refused. Changes nothing."""
        ...

    def apply(self, event: Any, version: int) -> None:
        """Take over one of the family's events."""
        ...

    def events(self) -> Iterator[Any]:
        """Events that make an empty family equal to this one."""
        ...
