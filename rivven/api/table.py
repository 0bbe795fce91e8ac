"""The API table's row type and its checks: what cannot state its authorisation rule cannot be registered.

The rows themselves are built in `catalogue` from the handlers that `app` constructed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from rivven.api.audited import Audited
from rivven.api.context import RequestContext
from rivven.api.rules import Filter, Open, Require, Rule, Split
from rivven.errors import ErrorCode
from rivven.protocol.api import APIS, ApiKey
from rivven.protocol.messages import RESPONSES

Handler = Callable[[RequestContext, Any], Awaitable[Any]]
Respond = Callable[[Any], None]
Starter = Callable[[RequestContext, Any, Respond], None]
Failure = Callable[[Any, int, ErrorCode], Any]


UNAUDITED = frozenset(
    {
        ApiKey.API_VERSIONS,
        ApiKey.SASL_HANDSHAKE,
        ApiKey.SASL_AUTHENTICATE,
        ApiKey.PRODUCE,
        ApiKey.FETCH,
        ApiKey.LIST_OFFSETS,
        ApiKey.OFFSET_FOR_LEADER_EPOCH,
        ApiKey.METADATA,
        ApiKey.FIND_COORDINATOR,
        ApiKey.JOIN_GROUP,
        ApiKey.SYNC_GROUP,
        ApiKey.HEARTBEAT,
        ApiKey.LEAVE_GROUP,
        ApiKey.DESCRIBE_GROUPS,
        ApiKey.LIST_GROUPS,
        ApiKey.OFFSET_COMMIT,
        ApiKey.OFFSET_FETCH,
        ApiKey.DESCRIBE_TOPIC_PARTITIONS,
        ApiKey.INIT_PRODUCER_ID,
        ApiKey.DESCRIBE_PRODUCERS,
        ApiKey.DESCRIBE_CONFIGS,
        ApiKey.LIST_CONFIG_RESOURCES,
        ApiKey.DESCRIBE_ACLS,
        ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS,
        ApiKey.DESCRIBE_CLUSTER,
        ApiKey.DESCRIBE_LOG_DIRS,
        ApiKey.LIST_PARTITION_REASSIGNMENTS,
        ApiKey.DESCRIBE_DELEGATION_TOKEN,
        ApiKey.DESCRIBE_CLIENT_QUOTAS,
    }
)
"""What reads, and what clients do with their own data and groups: their decisions are recorded, and the
topics that Metadata makes on first mention by whoever makes them. Everything else is an administrative
change."""


@dataclass(frozen=True, slots=True)
class Row:
    """One API: its rules in order and its handler.

    `start` replaces `handler` for Produce, whose appends happen in arrival order while their waits overlap:
    it is called synchronously and answers through a callback (None = no response, acks=0).
    `failed` builds the answer to an unexpected error where no rule already knows how to. `audited` says what
    the audit trail hears of a change, before and after; None only for what `UNAUDITED` lists.
    """

    key: ApiKey
    rules: tuple[Rule, ...]
    handler: Handler | None = None
    start: Starter | None = None
    failed: Failure | None = None
    audited: Audited | None = None

    def failure(self, request: Any, version: int, code: ErrorCode) -> Any:
        """The response of this API that says `code` about everything that was asked."""
        if self.failed is not None:
            return self.failed(request, version, code)
        for rule in self.rules:
            if isinstance(rule, Require):
                return rule.denied(request, version, code)
        response = RESPONSES[self.key]()
        for rule in self.rules:
            if isinstance(rule, Split):
                for _, item in rule.items(request, version):
                    rule.deny(response, item, version, code)
        return response


class Table:
    """All rows by API key. Raises ValueError for a row without rules, handler or failure answer."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows: dict[int, Row] = {}
        for row in rows:
            if not row.rules:
                raise ValueError(f"{row.key.name} states no authorisation rule")
            if (row.handler is None) == (row.start is None):
                raise ValueError(f"{row.key.name} needs exactly one of handler and start")
            if row.failed is None and all(isinstance(rule, Filter | Open) for rule in row.rules):
                raise ValueError(f"{row.key.name} does not say how it fails")
            if row.key in self.rows:
                raise ValueError(f"{row.key.name} is registered twice")
            if row.key not in APIS:
                raise ValueError(f"{row.key.name} has no version range")
            self.rows[row.key] = row
