"""What the metadata machine can be asked. Each names its reply; failures are RivvenErrors.

Values only. Entropy (topic ids, cluster id, salts) is chosen by whoever sends the command.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from uuid import UUID

from rivven.protocol.scram import ScramVerifier
from rivven.types import AclBinding, AclFilter

DEFAULT = -1
"""As partition count or replication factor: what the broker's settings say (KIP-464)."""


@dataclass(frozen=True, slots=True)
class InitialiseCluster:
    """Give the cluster its id unless it has one. Reply: the id it has."""

    cluster_id: str


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Create a topic. Reply: the `Topic`, also (but not created) under `validate_only`.

    `assignments` are (partition, replicas) pairs; `configs` as sent, values may be None.
    """

    name: str
    topic_id: UUID
    partitions: int = DEFAULT
    replication_factor: int = DEFAULT
    assignments: tuple[tuple[int, tuple[int, ...]], ...] = ()
    configs: tuple[tuple[str, str | None], ...] = ()
    validate_only: bool = False
    internal: bool = False
    """Set by the broker itself, for its own topics."""


@dataclass(frozen=True, slots=True)
class DeleteTopic:
    """Delete the topic with this id. Reply: the `Topic` that was."""

    topic_id: UUID


@dataclass(frozen=True, slots=True)
class CreatePartitions:
    """Grow a topic to `count` partitions. Reply: the `Topic` as it becomes."""

    name: str
    count: int
    assignments: tuple[tuple[int, ...], ...] | None = None
    validate_only: bool = False


class ConfigOperation(IntEnum):
    """What to do with a setting (wire codes of IncrementalAlterConfigs, KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One change of one setting; `operation` is the wire code, known or not."""

    name: str
    operation: int
    value: str | None


@dataclass(frozen=True, slots=True)
class AlterTopicConfigs:
    """Change a topic's own settings; `replace` forgets all that are not named. Reply: None."""

    name: str
    changes: tuple[ConfigChange, ...]
    replace: bool = False
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class AlterBrokerConfigs:
    """Change dynamic broker settings of a scope ("" or a node id as text). Reply: None."""

    scope: str
    changes: tuple[ConfigChange, ...]
    replace: bool = False
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class ScramUpsertion:
    """Set a credential as KIP-554 carries it; `mechanism` is the wire code."""

    user: str
    mechanism: int
    iterations: int
    salt: bytes = field(repr=False)
    salted_password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ScramDeletion:
    """Remove a credential; `mechanism` is the wire code."""

    user: str
    mechanism: int


@dataclass(frozen=True, slots=True)
class AlterScram:
    """Change credentials (KIP-554). Reply: dict of user -> RivvenError or None, in order of first mention.

    All changes of one user happen or none.
    """

    deletions: tuple[ScramDeletion, ...] = ()
    upsertions: tuple[ScramUpsertion, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreScram:
    """Store verifiers the broker made itself (first start, offline tool, Admin API). Reply: None.

    A `new` user begins in `groups`, in the same step; it is refused with DUPLICATE_RESOURCE when there is a
    user of that name.
    """

    user: str
    verifiers: tuple[ScramVerifier, ...]
    new: bool = False
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateAcls:
    """Add rules. Reply: a list with a RivvenError or None for each."""

    bindings: tuple[AclBinding, ...]


@dataclass(frozen=True, slots=True)
class DeleteAcls:
    """Remove the rules filters match. Reply: for each filter a RivvenError or the list of what it matched."""

    filters: tuple[AclFilter, ...]


@dataclass(frozen=True, slots=True)
class ReserveProducerIds:
    """Take `count` producer ids out of circulation. Reply: the first of them."""

    count: int
