"""What the audit trail records: one event, its words, and its line of JSON.

Pure. An event carries names, never payloads or secrets; names come from strangers, so texts and lists are cut
to named lengths. The spelling of a line is drawn in docs/formats.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from rivven.types import CLUSTER_NAME, Operation, Principal, ResourceType

Fact = str | int | bool | None | Sequence[str]
"""What a detail may be."""

TEXT_CHARS_MAX: Final = 1024
"""Per text. Kafka's names end at 249 bytes; principals of certificates are longer."""
DETAILS_MAX: Final = 32
"""Details per event; no event of ours has more than a dozen."""
LIST_ITEMS_MAX: Final = 100
"""Texts per list in a detail; the rest is counted."""
LINE_BYTES_MAX: Final = 65_536
"""Per line. All fields and a full list of short names fit; details that do not are left out, and the line
says so."""

AUTHENTICATION = "authentication"
AUTHORIZATION = "authorization"
SESSION = "session"
LIFECYCLE = "lifecycle"
CHANGES: Final = (
    "topic_create",
    "topic_delete",
    "topic_alter",
    "records_delete",
    "config_change",
    "acl_change",
    "user_change",
    "token_change",
    "role_change",
    "policy_change",
    "key_change",
    "session_change",
    "group_change",
    "quota_change",
    "cluster_change",
)
"""Types of administrative changes: intent before, result after."""
EVENT_TYPES: Final = (AUTHENTICATION, AUTHORIZATION, SESSION, LIFECYCLE, *CHANGES)
"""What `audit.events` can name. The trail's own events (`audit`) cannot be turned off."""
AUDIT = "audit"

ALLOWED, DENIED = "allowed", "denied"
SUCCESS, FAILURE = "success", "failure"
INTENT, UNKNOWN = "intent", "unknown"

_WORDS: Mapping[tuple[ResourceType, Operation], str] = {
    (ResourceType.TOPIC, Operation.WRITE): "produce",
    (ResourceType.TOPIC, Operation.READ): "consume",
    (ResourceType.GROUP, Operation.READ): "join",
}
"""Actions with a word of their own, as in `rivven acl`; the others are Kafka's operations."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened.

    `principal` is ``user:name``, `resource` ``type:name``; `at_ms` (wall clock) is when, None for when the
    trail takes it. `details` are further facts of this type of event. `signed` asks for a signature of its
    own.
    """

    event_type: str
    action: str
    resource: str = ""
    result: str = SUCCESS
    principal: str = ""
    reason: str = ""
    client_ip: str = ""
    listener: str = ""
    mechanism: str = ""
    tenant: str = ""
    request_id: str = ""
    at_ms: int | None = None
    details: Mapping[str, Fact] = field(default_factory=dict)
    signed: bool = False


class Decided(Protocol):
    """What the trail reads of a decision; `security.authz.authorizer.Decision` is one."""

    @property
    def allowed(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def rule(self) -> str: ...


class Asked(Protocol):
    """What the trail reads of an action; `security.authz.authorizer.Action` is one."""

    @property
    def operation(self) -> Operation: ...
    @property
    def resource_type(self) -> ResourceType: ...
    @property
    def resource_name(self) -> str: ...


class Asking(Protocol):
    """What the trail reads of a subject; `security.authz.authorizer.Subject` is one."""

    @property
    def principal(self) -> Principal: ...
    @property
    def host(self) -> str: ...
    @property
    def listener(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def mechanism(self) -> str: ...
    @property
    def tls(self) -> bool: ...
    @property
    def client_id(self) -> str: ...
    @property
    def scope(self) -> tuple[str, ...] | None: ...


def principal_text(principal: Principal) -> str:
    """``user:name``, the spelling of the command line."""
    return f"{principal.kind.lower()}:{principal.name}"


def resource_text(kind: ResourceType, name: str) -> str:
    """``topic:orders``, ``group:shop``, ``cluster`` ..., the spelling of the command line."""
    if kind is ResourceType.CLUSTER and name == CLUSTER_NAME:
        return "cluster"
    return f"{kind.name.lower().replace('_', '-')}:{name}"


def action_word(operation: Operation, kind: ResourceType) -> str:
    """``produce``, ``consume``, ``join``, or Kafka's operation in lower case (``alter-configs``)."""
    return _WORDS.get((kind, operation)) or operation.name.lower().replace("_", "-")


def operation_of(action: str, resource: str) -> tuple[Operation, ResourceType, str]:
    """The question behind an authorisation event's `action` and `resource`; raises ValueError.

    The reverse of `action_word` and `resource_text`, for tools that put recorded decisions to a new rule set.
    """
    kind_word, _, name = resource.partition(":")
    try:
        kind = ResourceType[kind_word.upper().replace("-", "_")]
    except KeyError:
        raise ValueError(f"{resource!r} names no type of resource") from None
    for (of_kind, operation), word in _WORDS.items():
        if of_kind is kind and word == action:
            return operation, kind, name
    try:
        operation = Operation[action.upper().replace("-", "_")]
    except KeyError:
        raise ValueError(f"{action!r} is no action") from None
    return operation, kind, CLUSTER_NAME if kind is ResourceType.CLUSTER and not name else name


def subject_details(subject: Asking) -> dict[str, Fact]:
    """Every attribute of a subject a rule can use and the fixed fields do not hold."""
    return {
        "groups": subject.groups,
        "tls": subject.tls,
        "client_id": subject.client_id,
        "scope": subject.scope,
    }


def timestamp(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def encode(event: AuditEvent, at_ms: int, sequence: int, previous: str) -> bytes:
    """The event's line without a signature and without the newline, at most LINE_BYTES_MAX bytes of ASCII."""
    fields: dict[str, Fact | Mapping[str, Fact]] = {
        "timestamp": timestamp(at_ms),
        "event_type": event.event_type,
        "principal": _text(event.principal),
        "action": _text(event.action),
        "resource": _text(event.resource),
        "result": event.result,
        "client_ip": _text(event.client_ip),
        "request_id": _text(event.request_id),
        "reason": _text(event.reason),
        "listener": _text(event.listener),
        "mechanism": _text(event.mechanism),
        "tenant": _text(event.tenant),
        "sequence": sequence,
        "previous": previous,
    }
    details = {name: _fact(fact) for name, fact in list(event.details.items())[:DETAILS_MAX]}
    line = _dump({**fields, "details": details}) if details else _dump(fields)
    if len(line) > LINE_BYTES_MAX:
        line = _dump({**fields, "details": {"truncated": True}})
    return line


def _dump(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def _text(text: str) -> str | None:
    return text[:TEXT_CHARS_MAX] or None


def _fact(fact: Fact) -> Fact:
    if fact is None or isinstance(fact, bool | int):
        return fact
    if isinstance(fact, str):
        return fact[:TEXT_CHARS_MAX]
    items = [item[:TEXT_CHARS_MAX] for item in fact[:LIST_ITEMS_MAX]]
    return [*items, f"and {len(fact) - LIST_ITEMS_MAX} more"] if len(fact) > LIST_ITEMS_MAX else items
