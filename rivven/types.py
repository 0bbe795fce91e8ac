"""The vocabulary every layer shares: Kafka's resource, operation and principal terms.

Lowest layer: imports nothing of the product, holds no behaviour beyond naming.
Numeric codes are the wire codes of the ACL APIs (keys 29-31).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class ResourceType(IntEnum):
    """What a permission is about (ACL wire codes)."""

    UNKNOWN = 0
    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class PatternType(IntEnum):
    """How a resource name is matched; ANY and MATCH only occur in filters (KIP-290)."""

    UNKNOWN = 0
    ANY = 1
    MATCH = 2
    LITERAL = 3
    PREFIXED = 4


class Operation(IntEnum):
    """What a subject wants to do (ACL wire codes)."""

    UNKNOWN = 0
    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class Permission(IntEnum):
    """Whether a rule grants or refuses (ACL wire codes)."""

    UNKNOWN = 0
    ANY = 1
    DENY = 2
    ALLOW = 3


CLUSTER_NAME = "kafka-cluster"
"""The one resource name of type CLUSTER."""

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a session acts as, written ``Type:name``; only the first colon splits."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Principal:
        """Parse ``Type:name``; raises ValueError when there is no colon or either half is empty."""
        kind, colon, name = text.partition(":")
        if not colon or not kind or not name:
            raise ValueError(f"principal {text!r} is not of the form Type:name")
        return cls(kind, name)


ANONYMOUS = Principal("User", "ANONYMOUS")


@dataclass(frozen=True, slots=True)
class AclBinding:
    """One stored rule. ``host`` is ``*`` or an exact IP; ``principal`` is ``User:name`` or ``User:*``."""

    resource_type: ResourceType
    resource_name: str
    pattern_type: PatternType
    principal: str
    host: str
    operation: Operation
    permission: Permission


@dataclass(frozen=True, slots=True)
class AclFilter:
    """A filter of the ACL APIs; None matches anything."""

    resource_type: ResourceType = ResourceType.ANY
    resource_name: str | None = None
    pattern_type: PatternType = PatternType.ANY
    principal: str | None = None
    host: str | None = None
    operation: Operation = Operation.ANY
    permission: Permission = Permission.ANY


class TopicPartition(NamedTuple):
    """A partition by topic name."""

    topic: str
    partition: int


QuotaEntity = tuple[tuple[str, str | None], ...]
"""Whom a quota is for: sorted pairs of entity type and name; the name None means every one without its own
(KIP-546). Types are user, client-id, ip and, beyond Kafka, topic."""
