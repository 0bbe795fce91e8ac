"""Which operations exist per resource type, what an allowed one implies, and their bit fields.

The bit of an operation is ``1 << code``, as in Kafka's ``*_authorized_operations`` fields (KIP-430).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rivven.types import Operation, ResourceType

VALID_OPERATIONS: Mapping[ResourceType, frozenset[Operation]] = {
    ResourceType.TOPIC: frozenset(
        {
            Operation.READ,
            Operation.WRITE,
            Operation.CREATE,
            Operation.DESCRIBE,
            Operation.DELETE,
            Operation.ALTER,
            Operation.DESCRIBE_CONFIGS,
            Operation.ALTER_CONFIGS,
        }
    ),
    ResourceType.GROUP: frozenset(
        {
            Operation.READ,
            Operation.DESCRIBE,
            Operation.DELETE,
            Operation.DESCRIBE_CONFIGS,
            Operation.ALTER_CONFIGS,
        }
    ),
    ResourceType.CLUSTER: frozenset(
        {
            Operation.CREATE,
            Operation.CLUSTER_ACTION,
            Operation.DESCRIBE_CONFIGS,
            Operation.ALTER_CONFIGS,
            Operation.IDEMPOTENT_WRITE,
            Operation.ALTER,
            Operation.DESCRIBE,
        }
    ),
    ResourceType.TRANSACTIONAL_ID: frozenset(
        {Operation.DESCRIBE, Operation.WRITE, Operation.TWO_PHASE_COMMIT}
    ),
    ResourceType.DELEGATION_TOKEN: frozenset({Operation.DESCRIBE}),
    ResourceType.USER: frozenset({Operation.CREATE_TOKENS, Operation.DESCRIBE_TOKENS}),
}
"""The operations a subject can be asked about, per resource type."""

_IMPLIED_BY_ALLOW: Mapping[Operation, tuple[Operation, ...]] = {
    Operation.READ: (Operation.DESCRIBE,),
    Operation.WRITE: (Operation.DESCRIBE,),
    Operation.DELETE: (Operation.DESCRIBE,),
    Operation.ALTER: (Operation.DESCRIBE,),
    Operation.ALTER_CONFIGS: (Operation.DESCRIBE_CONFIGS,),
}

EVERY_BIT = sum(1 << operation for operation in Operation if operation > Operation.ALL)
"""What ``ALL`` in a rule stands for."""


def bits(operations: Iterable[Operation]) -> int:
    """The bit field of some operations."""
    field = 0
    for operation in operations:
        field |= 1 << operation
    return field


VALID_BITS: Mapping[ResourceType, int] = {kind: bits(valid) for kind, valid in VALID_OPERATIONS.items()}


def bits_denied(operation: Operation) -> int:
    """What a DENY rule for `operation` refuses: itself, or everything for ALL. Deny implies nothing."""
    return EVERY_BIT if operation is Operation.ALL else 1 << operation


def bits_allowed(operation: Operation) -> int:
    """What an ALLOW rule for `operation` grants: itself and what it implies, or everything for ALL."""
    if operation is Operation.ALL:
        return EVERY_BIT
    return 1 << operation | bits(_IMPLIED_BY_ALLOW.get(operation, ()))


ALLOWED_BITS: Mapping[Operation, int] = {operation: bits_allowed(operation) for operation in Operation}
DENIED_BITS: Mapping[Operation, int] = {operation: bits_denied(operation) for operation in Operation}
