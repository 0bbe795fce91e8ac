"""What each API checks (kafka.md 2.8), as a table that the matrix of `test_deny_all` is compared with."""

from __future__ import annotations

from rivven.errors import ErrorCode as E
from rivven.protocol.api import ApiKey
from rivven.types import Operation, ResourceType

OPEN = {ApiKey.API_VERSIONS, ApiKey.DESCRIBE_CLUSTER}
"""What everybody may ask: what the broker speaks, and where its nodes are."""

OF_ONESELF = {
    ApiKey.CREATE_DELEGATION_TOKEN,
    ApiKey.RENEW_DELEGATION_TOKEN,
    ApiKey.EXPIRE_DELEGATION_TOKEN,
    ApiKey.DESCRIBE_DELEGATION_TOKEN,
}
"""What everybody may do with tokens of their own; tokens of others are `test_delegation_tokens`'."""

AUTHORIZATION_CODES = {
    E.TOPIC_AUTHORIZATION_FAILED,
    E.GROUP_AUTHORIZATION_FAILED,
    E.CLUSTER_AUTHORIZATION_FAILED,
    E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    E.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
}

TOPIC, GROUP, CLUSTER = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER
Grant = tuple[ResourceType, Operation]
T_READ, T_WRITE, T_CREATE = (TOPIC, Operation.READ), (TOPIC, Operation.WRITE), (TOPIC, Operation.CREATE)
T_DELETE, T_ALTER = (TOPIC, Operation.DELETE), (TOPIC, Operation.ALTER)
T_DESCRIBE = (TOPIC, Operation.DESCRIBE)
T_CONFIGS, T_SET_CONFIGS = (TOPIC, Operation.DESCRIBE_CONFIGS), (TOPIC, Operation.ALTER_CONFIGS)
G_READ, G_DELETE, G_DESCRIBE = (
    (GROUP, Operation.READ),
    (GROUP, Operation.DELETE),
    (GROUP, Operation.DESCRIBE),
)
C_CREATE, C_ALTER, C_DESCRIBE = (
    (CLUSTER, Operation.CREATE),
    (CLUSTER, Operation.ALTER),
    (CLUSTER, Operation.DESCRIBE),
)
C_ACTION, C_IDEMPOTENT = (CLUSTER, Operation.CLUSTER_ACTION), (CLUSTER, Operation.IDEMPOTENT_WRITE)
C_CONFIGS, C_SET_CONFIGS = (CLUSTER, Operation.DESCRIBE_CONFIGS), (CLUSTER, Operation.ALTER_CONFIGS)

SINGLE_GRANTS: list[Grant] = [
    T_READ,
    T_WRITE,
    T_CREATE,
    T_DELETE,
    T_ALTER,
    T_DESCRIBE,
    T_CONFIGS,
    T_SET_CONFIGS,
    G_READ,
    G_DELETE,
    G_DESCRIBE,
    C_CREATE,
    C_ALTER,
    C_DESCRIBE,
    C_ACTION,
    C_IDEMPOTENT,
    C_CONFIGS,
    C_SET_CONFIGS,
]

# API -> (alternatives, each a set of permissions needed together; the code of the first one that is missing)
CHECKS: dict[ApiKey, tuple[list[list[Grant]], list[E]]] = {
    ApiKey.PRODUCE: ([[T_WRITE]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.FETCH: ([[T_READ]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.LIST_OFFSETS: ([[T_DESCRIBE]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.METADATA: ([[T_DESCRIBE]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.OFFSET_FOR_LEADER_EPOCH: ([[T_DESCRIBE], [C_ACTION]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.DESCRIBE_TOPIC_PARTITIONS: ([[T_DESCRIBE]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.DESCRIBE_PRODUCERS: ([[T_READ]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.OFFSET_COMMIT: (
        [[G_READ, T_READ]],
        [E.GROUP_AUTHORIZATION_FAILED, E.TOPIC_AUTHORIZATION_FAILED],
    ),
    ApiKey.OFFSET_FETCH: (
        [[G_DESCRIBE, T_DESCRIBE]],
        [E.GROUP_AUTHORIZATION_FAILED, E.TOPIC_AUTHORIZATION_FAILED],
    ),
    ApiKey.OFFSET_DELETE: (
        [[G_DELETE, T_READ]],
        [E.GROUP_AUTHORIZATION_FAILED, E.TOPIC_AUTHORIZATION_FAILED],
    ),
    ApiKey.FIND_COORDINATOR: ([[G_DESCRIBE]], [E.GROUP_AUTHORIZATION_FAILED]),
    ApiKey.JOIN_GROUP: ([[G_READ]], [E.GROUP_AUTHORIZATION_FAILED]),
    ApiKey.SYNC_GROUP: ([[G_READ]], [E.GROUP_AUTHORIZATION_FAILED]),
    ApiKey.HEARTBEAT: ([[G_READ]], [E.GROUP_AUTHORIZATION_FAILED]),
    ApiKey.LEAVE_GROUP: ([[G_READ]], [E.GROUP_AUTHORIZATION_FAILED]),
    ApiKey.DESCRIBE_GROUPS: ([[G_DESCRIBE]], [E.GROUP_AUTHORIZATION_FAILED]),
    ApiKey.LIST_GROUPS: ([[C_DESCRIBE], [G_DESCRIBE]], [E.NONE]),
    ApiKey.DELETE_GROUPS: ([[G_DELETE]], [E.GROUP_AUTHORIZATION_FAILED]),
    ApiKey.CREATE_TOPICS: ([[C_CREATE], [T_CREATE]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.DELETE_TOPICS: ([[T_DELETE]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.DELETE_RECORDS: ([[T_DELETE]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.CREATE_PARTITIONS: ([[T_ALTER]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.INIT_PRODUCER_ID: ([[C_IDEMPOTENT], [T_WRITE]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.DESCRIBE_CONFIGS: ([[T_CONFIGS]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.ALTER_CONFIGS: ([[T_SET_CONFIGS]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.INCREMENTAL_ALTER_CONFIGS: ([[T_SET_CONFIGS]], [E.TOPIC_AUTHORIZATION_FAILED]),
    ApiKey.LIST_CONFIG_RESOURCES: ([[C_CONFIGS]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.DESCRIBE_ACLS: ([[C_DESCRIBE]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.CREATE_ACLS: ([[C_ALTER]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.DELETE_ACLS: ([[C_ALTER]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS: ([[C_DESCRIBE]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.ALTER_USER_SCRAM_CREDENTIALS: ([[C_ALTER]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.DESCRIBE_CLIENT_QUOTAS: ([[C_CONFIGS]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.ALTER_CLIENT_QUOTAS: ([[C_SET_CONFIGS]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.DESCRIBE_LOG_DIRS: ([[C_DESCRIBE]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.ELECT_LEADERS: ([[C_ALTER]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: ([[C_ALTER]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    ApiKey.LIST_PARTITION_REASSIGNMENTS: ([[C_DESCRIBE]], [E.CLUSTER_AUTHORIZATION_FAILED]),
    **{key: ([[]], []) for key in OF_ONESELF},
    ApiKey.API_VERSIONS: ([[]], []),
    ApiKey.DESCRIBE_CLUSTER: ([[]], []),
}

_IMPLY_DESCRIBE = {Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER}
REMOVES = {ApiKey.DELETE_TOPICS, ApiKey.DELETE_GROUPS}
"""Asked about a name that does not exist, so that being allowed changes nothing for those who come after."""


def implies(held: Grant, needed: Grant) -> bool:
    """Allowed operations that include another (kafka.md 2.8)."""
    if held[0] is not needed[0]:
        return False
    if held[1] is needed[1]:
        return True
    if needed[1] is Operation.DESCRIBE:
        return held[1] in _IMPLY_DESCRIBE
    return needed[1] is Operation.DESCRIBE_CONFIGS and held[1] is Operation.ALTER_CONFIGS


def first_missing(key: ApiKey, held: list[Grant]) -> E | None:
    """The code a request must be refused with, None when it must succeed."""
    alternatives, codes = CHECKS[key]
    answers = []
    for needed in alternatives:
        lacking = [index for index, one in enumerate(needed) if not any(implies(have, one) for have in held)]
        if not lacking:
            return None
        answers.append(codes[min(lacking[0], len(codes) - 1)])
    return answers[0]
