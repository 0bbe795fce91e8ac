"""Quotas: how much of what a user, a client, an address or a topic may use (KIP-13, 124, 546, 599, 612).

Pure. It checks and stores; `security.quotas` decides which quota applies to a request, and throttles. Beyond
Kafka there are quotas of topics, with the same keys as those of users.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rivven.errors import InvalidRequest, RivvenError
from rivven.metadata.family import EventCodec
from rivven.types import QuotaEntity

if TYPE_CHECKING:
    from rivven.metadata.image import MetadataImage

ENTITIES_MAX = 10_000
"""Entities with quotas; each is a line of every description."""

NAME_CHARACTERS_MAX = 256
"""As user names and topic names."""

_CLIENT_KEYS = frozenset(
    {"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"}
)
KEYS_OF: Mapping[tuple[str, ...], frozenset[str]] = {
    ("user",): _CLIENT_KEYS,
    ("client-id",): _CLIENT_KEYS,
    ("client-id", "user"): _CLIENT_KEYS,
    ("ip",): frozenset({"connection_creation_rate"}),
    ("topic",): frozenset({"producer_byte_rate", "consumer_byte_rate"}),
}
"""What can be limited, by the entity types that are named together (sorted)."""

ENTITY_TYPES = frozenset(kind for kinds in KEYS_OF for kind in kinds)

_WHOLE = frozenset({"producer_byte_rate", "consumer_byte_rate", "connection_creation_rate"})


@dataclass(frozen=True, slots=True)
class QuotasChanged:
    """All quotas of one entity after a change; none when it has no more."""

    entity: QuotaEntity
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class QuotaAlteration:
    """Changes of one entity: `operations` are (key, value), a value of None removes the quota."""

    entity: QuotaEntity
    operations: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True)
class AlterQuotas:
    """Change quotas. Reply: for each alteration a RivvenError or None; a refused one changes nothing."""

    alterations: tuple[QuotaAlteration, ...]
    validate_only: bool = False


class QuotaFamily:
    """Implements `metadata.family.Family`."""

    codecs: ClassVar[tuple[EventCodec, ...]] = (
        EventCodec(
            QuotasChanged,
            "quotas",
            lambda event: "/".join(f"{kind}={name}" for kind, name in event.entity),
            lambda event: {"entity": [list(pair) for pair in event.entity], "values": dict(event.values)},
            lambda document: QuotasChanged(
                tuple((kind, name) for kind, name in document["entity"]),
                {str(key): float(value) for key, value in document["values"].items()},
            ),
        ),
    )
    commands: ClassVar[tuple[type, ...]] = (AlterQuotas,)

    def __init__(self) -> None:
        self.version = 0
        self._values: dict[QuotaEntity, Mapping[str, float]] = {}

    @property
    def values(self) -> Mapping[QuotaEntity, Mapping[str, float]]:
        """Quotas by entity; treat as read only."""
        return self._values

    def decide(
        self, command: Any, image: MetadataImage, now_ms: int
    ) -> tuple[tuple[Any, ...], list[RivvenError | None]]:
        """See `AlterQuotas`."""
        wanted = dict(self._values)
        touched: dict[QuotaEntity, None] = {}
        replies: list[RivvenError | None] = []
        for alteration in command.alterations:
            try:
                wanted[alteration.entity] = self._altered(wanted, alteration)
                touched[alteration.entity] = None
                replies.append(None)
            except RivvenError as error:
                replies.append(error)
        if command.validate_only:
            return (), replies
        events = tuple(
            QuotasChanged(entity, wanted[entity])
            for entity in touched
            if wanted[entity] != self._values.get(entity, {})
        )
        return events, replies

    def apply(self, event: Any, version: int) -> None:
        """See `Family.apply`."""
        self.version = version
        if event.values:
            self._values[event.entity] = event.values
        else:
            self._values.pop(event.entity, None)

    def events(self) -> Iterator[Any]:
        """See `Family.events`."""
        return (QuotasChanged(entity, values) for entity, values in self._values.items())

    def _altered(
        self, wanted: Mapping[QuotaEntity, Mapping[str, float]], alteration: QuotaAlteration
    ) -> Mapping[str, float]:
        keys = _check_entity(alteration.entity)
        values = dict(wanted.get(alteration.entity, {}))
        for key, value in alteration.operations:
            if key not in keys:
                kinds = " and ".join(kind for kind, _ in alteration.entity)
                raise InvalidRequest(f"{key} is no quota of {kinds}; there are {', '.join(sorted(keys))}")
            if value is None:
                values.pop(key, None)
            else:
                values[key] = _check_value(key, value)
        if values and alteration.entity not in wanted and len(wanted) >= ENTITIES_MAX:
            raise InvalidRequest(f"there can be at most {ENTITIES_MAX} entities with quotas")
        return values


def _check_entity(entity: QuotaEntity) -> frozenset[str]:
    """The keys an entity can have. Raises InvalidRequest."""
    keys = KEYS_OF.get(tuple(kind for kind, _ in entity))
    if keys is None:
        raise InvalidRequest("quotas are for user, client-id, user and client-id, ip, or topic")
    for kind, name in entity:
        if name is None:
            continue
        if not 0 < len(name) <= NAME_CHARACTERS_MAX:
            raise InvalidRequest(f"the {kind} must have 1 to {NAME_CHARACTERS_MAX} characters")
        if kind == "ip":
            _check_address(name)
    return keys


def _check_address(name: str) -> None:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise InvalidRequest(f"{name!r} is not an IP address") from None


def _check_value(key: str, value: float) -> float:
    if not math.isfinite(value) or value < 0 or (value == 0 and key != "connection_creation_rate"):
        raise InvalidRequest(f"{key} must be a number above zero")
    if key in _WHOLE and value != int(value):
        raise InvalidRequest(f"{key} must be a whole number")
    return float(value)
