"""What the audit trail hears of an API that changes something: a row states it, dispatch tells it.

Before the handler runs `changes` names what the request wants to change (names, never values: a client may
put a secret where a value goes); after it `outcomes` reads from the answer what became of each. Values only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rivven.api.context import RequestContext
from rivven.audit.events import (
    FAILURE,
    INTENT,
    SUCCESS,
    AuditEvent,
    Fact,
    principal_text,
    resource_text,
)
from rivven.audit.requests import CURRENT, current_request_id
from rivven.errors import ErrorCode
from rivven.types import Operation, PatternType, Permission, ResourceType

CHANGES_MAX = 1000
"""Named one by one per request; what is beyond is said as a number. Kafka's tools batch by the hundred."""


class Change(NamedTuple):
    """One thing a request wants to change."""

    resource: str
    details: dict[str, Fact] = {}


class Outcome(NamedTuple):
    """What became of it, as the client hears it."""

    resource: str
    code: int


@dataclass(frozen=True, slots=True)
class Audited:
    """One API's rule. `outcomes` gets the request, the answer and the version."""

    event_type: str
    action: str
    changes: Callable[[Any, int], Sequence[Change]]
    outcomes: Callable[[Any, Any, int], Sequence[Outcome]] = field(repr=False)

    def intents(self, context: RequestContext, request: Any) -> list[AuditEvent]:
        """The events before; empty when the request changes nothing."""
        changes = self.changes(request, context.api_version)
        events = [
            self._event(context, one.resource, INTENT, "", one.details) for one in changes[:CHANGES_MAX]
        ]
        return [*events, *self._rest(context, len(changes), INTENT)]

    def results(self, context: RequestContext, request: Any, response: Any) -> list[AuditEvent]:
        """The events after."""
        outcomes = self.outcomes(request, response, context.api_version)
        events = [
            self._event(context, one.resource, FAILURE if one.code else SUCCESS, _reason(one.code), {})
            for one in outcomes[:CHANGES_MAX]
        ]
        return [*events, *self._rest(context, len(outcomes), "unknown")]

    def abandoned(self, context: RequestContext, request: Any) -> list[AuditEvent]:
        """The events when nobody waited for the answer: what became of the change is not known here."""
        changes = self.changes(request, context.api_version)[:CHANGES_MAX]
        reason = "the connection closed before the answer"
        return [self._event(context, one.resource, "unknown", reason, {}) for one in changes]

    def _rest(self, context: RequestContext, count: int, result: str) -> list[AuditEvent]:
        if count <= CHANGES_MAX:
            return []
        return [self._event(context, "", result, "", {"more": count - CHANGES_MAX})]

    def _event(
        self, context: RequestContext, resource: str, result: str, reason: str, details: dict[str, Fact]
    ) -> AuditEvent:
        return event_of(context, self.event_type, self.action, resource, result, reason, details)


def event_of(
    context: RequestContext,
    event_type: str,
    action: str,
    resource: str,
    result: str,
    reason: str = "",
    details: dict[str, Fact] | None = None,
) -> AuditEvent:
    """An event about what the subject of a request does."""
    subject = context.access.subject
    session = context.session
    return AuditEvent(
        event_type,
        action,
        resource,
        result,
        principal_text(subject.principal) if subject is not None else "",
        reason,
        session.host,
        session.listener.name,
        subject.mechanism if subject is not None else "",
        request_id=context.request_id,
        details={"client_id": context.client_id, **(details or {})},
    )


def first_mention(name: str, result: str, reason: str = "") -> AuditEvent:
    """A topic that the running request makes by naming it (``auto.create.topics.enable``)."""
    request = CURRENT.get()
    subject = request.subject if request is not None else None
    return AuditEvent(
        "topic_create",
        "create",
        f"topic:{name}",
        result,
        principal_text(subject.principal) if subject is not None else "",
        reason,
        subject.host if subject is not None else "",
        subject.listener if subject is not None else "",
        subject.mechanism if subject is not None else "",
        request_id=current_request_id(),
        details={"first_mention": True},
    )


def _reason(code: int) -> str:
    if not code:
        return ""
    return ErrorCode(code).name if code in ErrorCode.__members__.values() else f"error {code}"


def _topic(name: str | None, topic_id: Any = None) -> str:
    return f"topic:{name}" if name is not None else f"topic-id:{topic_id}"


# -- topics --------------------------------------------------------------------------------------------------


def _created(request: Any, _version: int) -> list[Change]:
    if request.validate_only:
        return []
    return [
        Change(
            _topic(one.name),
            {"partitions": one.num_partitions, "configs": [config.name for config in one.configs]},
        )
        for one in request.topics
    ]


def _deleted(request: Any, version: int) -> list[Change]:
    if version < 6:
        return [Change(_topic(name)) for name in request.topic_names]
    return [Change(_topic(one.name, one.topic_id)) for one in request.topics]


def _grown(request: Any, _version: int) -> list[Change]:
    if request.validate_only:
        return []
    return [Change(_topic(one.name), {"partitions": one.count}) for one in request.topics]


def _emptied(request: Any, _version: int) -> list[Change]:
    return [
        Change(_topic(one.name), {"below": [f"{p.partition_index}:{p.offset}" for p in one.partitions]})
        for one in request.topics
    ]


def _worst(entries: Sequence[Any]) -> int:
    """The first error of a list; several partitions are one change of one topic."""
    return next((int(one.error_code) for one in entries if one.error_code), 0)


CREATE_TOPICS = Audited(
    "topic_create",
    "create",
    _created,
    lambda _request, response, _version: [
        Outcome(_topic(one.name), int(one.error_code)) for one in response.topics
    ],
)
DELETE_TOPICS = Audited(
    "topic_delete",
    "delete",
    _deleted,
    lambda _request, response, _version: [
        Outcome(_topic(one.name, one.topic_id), int(one.error_code)) for one in response.responses
    ],
)
CREATE_PARTITIONS = Audited(
    "topic_alter",
    "alter",
    _grown,
    lambda _request, response, _version: [
        Outcome(_topic(one.name), int(one.error_code)) for one in response.results
    ],
)
DELETE_RECORDS = Audited(
    "records_delete",
    "delete",
    _emptied,
    lambda _request, response, _version: [
        Outcome(_topic(one.name), _worst(one.partitions)) for one in response.topics
    ],
)


# -- settings ------------------------------------------------------------------------------------------------


_CONFIGURED = {2: "topic", 4: "broker", 8: "broker-logger", 16: "client-metrics", 32: "group"}
"""Wire codes of the config APIs, as in `configs.ConfigResource`."""


def _configured(kind: int, name: str) -> str:
    return f"{_CONFIGURED.get(kind, f'resource-{kind}')}:{name}"


def _configs(request: Any, _version: int) -> list[Change]:
    if request.validate_only:
        return []
    return [
        Change(
            _configured(one.resource_type, one.resource_name),
            {"configs": [config.name for config in one.configs]},
        )
        for one in request.resources
    ]


def _configs_outcomes(_request: Any, response: Any, _version: int) -> list[Outcome]:
    return [
        Outcome(_configured(one.resource_type, one.resource_name), int(one.error_code))
        for one in response.responses
    ]


ALTER_CONFIGS = Audited("config_change", "alter-configs", _configs, _configs_outcomes)


# -- rules and users -----------------------------------------------------------------------------------------


def _word(kind: Any, code: int) -> str:
    try:
        return str(kind(code).name.lower())
    except ValueError:
        return str(code)


def _rule(kind: int, name: str | None) -> str:
    try:
        return resource_text(ResourceType(kind), "*" if name is None else name)
    except ValueError:
        return f"resource-{kind}:{name}"


def _new_rules(request: Any, _version: int) -> list[Change]:
    return [
        Change(
            _rule(one.resource_type, one.resource_name),
            {
                "pattern": _word(PatternType, one.resource_pattern_type),
                "rule_principal": one.principal,
                "host": one.host,
                "operation": _word(Operation, one.operation),
                "permission": _word(Permission, one.permission_type),
            },
        )
        for one in request.creations
    ]


def _rule_filters(request: Any, _version: int) -> list[Change]:
    return [
        Change(
            _rule(one.resource_type_filter, one.resource_name_filter),
            {
                "pattern": _word(PatternType, one.pattern_type_filter),
                "rule_principal": one.principal_filter,
                "host": one.host_filter,
                "operation": _word(Operation, one.operation),
                "permission": _word(Permission, one.permission_type),
            },
        )
        for one in request.filters
    ]


def _rules_created(request: Any, response: Any, _version: int) -> list[Outcome]:
    return [
        Outcome(_rule(asked.resource_type, asked.resource_name), int(one.error_code))
        for asked, one in zip(request.creations, response.results, strict=False)
    ]


def _rules_deleted(request: Any, response: Any, _version: int) -> list[Outcome]:
    outcomes = []
    for asked, one in zip(request.filters, response.filter_results, strict=False):
        if one.error_code or not one.matching_acls:
            outcomes.append(
                Outcome(_rule(asked.resource_type_filter, asked.resource_name_filter), int(one.error_code))
            )
        outcomes += [
            Outcome(_rule(gone.resource_type, gone.resource_name), int(gone.error_code))
            for gone in one.matching_acls
        ]
    return outcomes


def _credentials(request: Any, _version: int) -> list[Change]:
    return [
        *(Change(f"user:{one.name}", {"change": "delete credential"}) for one in request.deletions),
        *(Change(f"user:{one.name}", {"change": "set credential"}) for one in request.upsertions),
    ]


CREATE_ACLS = Audited("acl_change", "create", _new_rules, _rules_created)
DELETE_ACLS = Audited("acl_change", "delete", _rule_filters, _rules_deleted)


ALTER_USER_SCRAM_CREDENTIALS = Audited(
    "user_change",
    "alter",
    _credentials,
    lambda _request, response, _version: [
        Outcome(f"user:{one.user}", int(one.error_code)) for one in response.results
    ],
)


# -- groups and the cluster ----------------------------------------------------------------------------------


def _reassigned(request: Any, _version: int) -> list[Change]:
    return [
        Change(_topic(one.name), {"partitions": [str(p.partition_index) for p in one.partitions]})
        for one in request.topics or ()
    ]


DELETE_GROUPS = Audited(
    "group_change",
    "delete",
    lambda request, _version: [Change(f"group:{name}") for name in request.groups_names],
    lambda _request, response, _version: [
        Outcome(f"group:{one.group_id}", int(one.error_code)) for one in response.results
    ],
)
OFFSET_DELETE = Audited(
    "group_change",
    "delete-offsets",
    lambda request, _version: [
        Change(f"group:{request.group_id}", {"topics": [one.name for one in request.topics]})
    ],
    lambda request, response, _version: [
        Outcome(
            f"group:{request.group_id}",
            int(response.error_code)
            or next(filter(None, (_worst(t.partitions) for t in response.topics)), 0),
        )
    ],
)
ELECT_LEADERS = Audited(
    "cluster_change",
    "elect-leaders",
    lambda request, _version: (
        [Change(_topic(one.topic)) for one in request.topic_partitions or ()] or [Change("cluster")]
    ),
    lambda request, response, _version: (
        [
            Outcome(_topic(one.topic), _worst(one.partition_result))
            for one in response.replica_election_results
        ]
        or [Outcome("cluster", int(response.error_code))]
    ),
)
ALTER_PARTITION_REASSIGNMENTS = Audited(
    "cluster_change",
    "reassign",
    _reassigned,
    lambda _request, response, _version: (
        [Outcome(_topic(one.name), _worst(one.partitions)) for one in response.responses]
        or [Outcome("cluster", int(response.error_code))]
    ),
)


# -- tokens and quotas ---------------------------------------------------------------------------------------


def _token_owner(request: Any, _version: int) -> list[Change]:
    kind, name = request.owner_principal_type, request.owner_principal_name
    owner = f"{kind.lower()}:{name}" if kind and name else ""
    return [Change("delegation-token:new", {"owner": owner or "the requester"})]


CREATE_DELEGATION_TOKEN = Audited(
    "token_change",
    "create",
    _token_owner,
    lambda _request, response, _version: [
        Outcome(f"delegation-token:{response.token_id or 'new'}", int(response.error_code))
    ],
)


def token_by_secret(action: str, id_of: Callable[[bytes], str | None]) -> Audited:
    """RenewDelegationToken and ExpireDelegationToken name a token by its secret, which must not be here:
    `id_of` finds the id, None for a secret nobody has."""

    def named(secret: bytes) -> str:
        return f"delegation-token:{id_of(secret) or 'unknown'}"

    return Audited(
        "token_change",
        action,
        lambda request, _version: [Change(named(request.hmac))],
        lambda request, response, _version: [Outcome(named(request.hmac), int(response.error_code))],
    )


def _entity(parts: Sequence[Any]) -> str:
    return "quota:" + ",".join(
        f"{one.entity_type}={'<default>' if one.entity_name is None else one.entity_name}" for one in parts
    )


ALTER_CLIENT_QUOTAS = Audited(
    "quota_change",
    "alter",
    lambda request, _version: (
        []
        if request.validate_only
        else [
            Change(
                _entity(entry.entity),
                {"quotas": [f"{op.key}={'removed' if op.remove else op.value}" for op in entry.ops]},
            )
            for entry in request.entries
        ]
    ),
    lambda _request, response, _version: [
        Outcome(_entity(entry.entity), int(entry.error_code)) for entry in response.entries
    ],
)
