"""The API keys we know, the version range offered for each, and where flexible versions start.

A range is listed here only when every version in it can be parsed and written. The ranges and the two odd
minimums are explained in docs/adr/0002-own-codec.md: Produce 0-2 are offered because old librdkafka reads
compression support off them (KAFKA-18659) but are never decodable; JoinGroup starts at 0 (KAFKA-19444).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple


class ApiKey(IntEnum):
    """Kafka's API keys (request header, int16)."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    DESCRIBE_ACLS = 29
    CREATE_ACLS = 30
    DELETE_ACLS = 31
    DESCRIBE_CONFIGS = 32
    ALTER_CONFIGS = 33
    DESCRIBE_LOG_DIRS = 35
    SASL_AUTHENTICATE = 36
    CREATE_PARTITIONS = 37
    CREATE_DELEGATION_TOKEN = 38
    RENEW_DELEGATION_TOKEN = 39
    EXPIRE_DELEGATION_TOKEN = 40
    DESCRIBE_DELEGATION_TOKEN = 41
    DELETE_GROUPS = 42
    ELECT_LEADERS = 43
    INCREMENTAL_ALTER_CONFIGS = 44
    ALTER_PARTITION_REASSIGNMENTS = 45
    LIST_PARTITION_REASSIGNMENTS = 46
    OFFSET_DELETE = 47
    DESCRIBE_CLIENT_QUOTAS = 48
    ALTER_CLIENT_QUOTAS = 49
    DESCRIBE_USER_SCRAM_CREDENTIALS = 50
    ALTER_USER_SCRAM_CREDENTIALS = 51
    DESCRIBE_CLUSTER = 60
    DESCRIBE_PRODUCERS = 61
    LIST_CONFIG_RESOURCES = 74
    DESCRIBE_TOPIC_PARTITIONS = 75


class Api(NamedTuple):
    """What is offered for one key. `min`..`max` is what ApiVersions lists; `decodable_from` may be higher."""

    min: int
    max: int
    flexible_from: int | None
    decodable_from: int


def _api(low: int, high: int, flexible_from: int | None, decodable_from: int | None = None) -> Api:
    return Api(low, high, flexible_from, low if decodable_from is None else decodable_from)


APIS: Final[dict[ApiKey, Api]] = {
    ApiKey.PRODUCE: _api(0, 11, 9, decodable_from=3),
    ApiKey.FETCH: _api(4, 12, 12),
    ApiKey.LIST_OFFSETS: _api(1, 10, 6),
    ApiKey.METADATA: _api(0, 13, 9),
    ApiKey.OFFSET_COMMIT: _api(2, 9, 8),
    ApiKey.OFFSET_FETCH: _api(1, 9, 6),
    ApiKey.FIND_COORDINATOR: _api(0, 5, 3),
    ApiKey.JOIN_GROUP: _api(0, 9, 6),
    ApiKey.HEARTBEAT: _api(0, 4, 4),
    ApiKey.LEAVE_GROUP: _api(0, 5, 4),
    ApiKey.SYNC_GROUP: _api(0, 5, 4),
    ApiKey.DESCRIBE_GROUPS: _api(0, 6, 5),
    ApiKey.LIST_GROUPS: _api(0, 5, 3),
    ApiKey.SASL_HANDSHAKE: _api(0, 1, None),
    ApiKey.API_VERSIONS: _api(0, 4, 3),
    ApiKey.CREATE_TOPICS: _api(2, 7, 5),
    ApiKey.DELETE_TOPICS: _api(1, 6, 4),
    ApiKey.DELETE_RECORDS: _api(0, 2, 2),
    ApiKey.INIT_PRODUCER_ID: _api(0, 5, 2),
    ApiKey.OFFSET_FOR_LEADER_EPOCH: _api(2, 4, 4),
    ApiKey.DESCRIBE_ACLS: _api(1, 3, 2),
    ApiKey.CREATE_ACLS: _api(1, 3, 2),
    ApiKey.DELETE_ACLS: _api(1, 3, 2),
    ApiKey.DESCRIBE_CONFIGS: _api(1, 4, 4),
    ApiKey.ALTER_CONFIGS: _api(0, 2, 2),
    ApiKey.DESCRIBE_LOG_DIRS: _api(1, 4, 2),
    ApiKey.SASL_AUTHENTICATE: _api(0, 2, 2),
    ApiKey.CREATE_PARTITIONS: _api(0, 3, 2),
    ApiKey.CREATE_DELEGATION_TOKEN: _api(1, 3, 2),
    ApiKey.RENEW_DELEGATION_TOKEN: _api(1, 2, 2),
    ApiKey.EXPIRE_DELEGATION_TOKEN: _api(1, 2, 2),
    ApiKey.DESCRIBE_DELEGATION_TOKEN: _api(1, 3, 2),
    ApiKey.DELETE_GROUPS: _api(0, 2, 2),
    ApiKey.ELECT_LEADERS: _api(0, 2, 2),
    ApiKey.INCREMENTAL_ALTER_CONFIGS: _api(0, 1, 1),
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: _api(0, 0, 0),
    ApiKey.LIST_PARTITION_REASSIGNMENTS: _api(0, 0, 0),
    ApiKey.OFFSET_DELETE: _api(0, 0, None),
    ApiKey.DESCRIBE_CLIENT_QUOTAS: _api(0, 1, 1),
    ApiKey.ALTER_CLIENT_QUOTAS: _api(0, 1, 1),
    ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS: _api(0, 0, 0),
    ApiKey.ALTER_USER_SCRAM_CREDENTIALS: _api(0, 0, 0),
    ApiKey.DESCRIBE_CLUSTER: _api(0, 1, 0),
    ApiKey.DESCRIBE_PRODUCERS: _api(0, 0, 0),
    ApiKey.LIST_CONFIG_RESOURCES: _api(0, 1, 0),
    ApiKey.DESCRIBE_TOPIC_PARTITIONS: _api(0, 0, 0),
}
"""Every API this broker can decode, with the range of the first release."""

API_RANGES: Final[dict[ApiKey, tuple[int, int]]] = {key: (api.min, api.max) for key, api in APIS.items()}
"""What ApiVersions may list: key -> (lowest, highest version)."""


_API_VERSIONS: Final = int(ApiKey.API_VERSIONS)

OFFERED: Final[dict[tuple[int, int], bool]] = {
    (int(key), version): api.flexible_from is not None and version >= api.flexible_from
    for key, api in APIS.items()
    for version in range(api.decodable_from, api.max + 1)
}
"""Every (key, version) that can be decoded -> whether it is flexible: compact lengths, tagged fields
(KIP-482)."""


def is_flexible(api_key: int, version: int) -> bool:
    """Whether a version of a known API is flexible; False for versions that are not offered."""
    return OFFERED.get((api_key, version), False)


def response_header_version(api_key: int, version: int) -> int:
    """0 for classic, 1 for flexible versions; an ApiVersions answer is always 0 (KIP-511)."""
    return 1 if OFFERED.get((api_key, version), False) and api_key != _API_VERSIONS else 0
