"""The durable events of the metadata machine and their bytes in the journal.

Pure. A record's value is one version byte and a JSON object; its key names what the event is about, for
people who read a dump. Additions to a version are new optional members; anything else is a new version byte.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from rivven.machine.state_machine import JournalRecord
from rivven.metadata.families import FAMILIES
from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.types import AclBinding, Operation, PatternType, Permission, ResourceType

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ClusterInitialised:
    """The first event of a cluster. `cluster_id` is 22 characters of base64url, as Kafka's."""

    cluster_id: str


@dataclass(frozen=True, slots=True)
class TopicCreated:
    """A topic came to be; `configs` are its own settings, as text by Kafka name."""

    name: str
    topic_id: UUID
    partitions: int
    configs: Mapping[str, str]
    internal: bool


@dataclass(frozen=True, slots=True)
class TopicDeleted:
    """A topic ceased to be; its id never returns."""

    topic_id: UUID


@dataclass(frozen=True, slots=True)
class PartitionsAdded:
    """A topic has grown to `partitions` in total."""

    topic_id: UUID
    partitions: int


@dataclass(frozen=True, slots=True)
class TopicConfigsChanged:
    """All settings a topic has of its own, after the change."""

    topic_id: UUID
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BrokerConfigsChanged:
    """All dynamic broker settings of one scope after the change; scope "" is the whole cluster, else a node
    id.
    """

    scope: str
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ScramUpserted:
    """A user got or changed the credential of one mechanism."""

    user: str
    verifier: ScramVerifier


@dataclass(frozen=True, slots=True)
class ScramDeleted:
    """A user lost the credential of one mechanism."""

    user: str
    mechanism: ScramMechanism


@dataclass(frozen=True, slots=True)
class AclsAdded:
    """Rules that now hold."""

    bindings: tuple[AclBinding, ...]


@dataclass(frozen=True, slots=True)
class AclsRemoved:
    """Rules that no longer hold."""

    bindings: tuple[AclBinding, ...]


@dataclass(frozen=True, slots=True)
class ProducerIdsReserved:
    """Producer ids below `next_id` may be in use and are never given out again."""

    next_id: int


MetadataEvent = (
    ClusterInitialised
    | TopicCreated
    | TopicDeleted
    | PartitionsAdded
    | TopicConfigsChanged
    | BrokerConfigsChanged
    | ScramUpserted
    | ScramDeleted
    | AclsAdded
    | AclsRemoved
    | ProducerIdsReserved
)
"""The events of the core; those of `families` come beside them and are typed Any where both are meant."""

_FAMILY_CODECS = {codec.event: codec for family in FAMILIES for codec in family.codecs}


def encode(event: Any) -> JournalRecord:
    """The event as a journal record."""
    codec = _FAMILY_CODECS.get(type(event))
    if codec is None:
        kind, key, members = _members(event)
    else:
        kind, key, members = codec.kind, codec.key(event), codec.members(event)
    document = {"kind": kind, **members}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return JournalRecord(f"{kind}/{key}".encode(), bytes((FORMAT_VERSION,)) + text.encode())


def decode(record: JournalRecord) -> Any:
    """The event of a record. Raises ValueError for a newer version, an unknown kind or a malformed value."""
    value = record.value
    if not value:
        raise ValueError("an empty metadata record")
    if value[0] != FORMAT_VERSION:
        raise ValueError(f"metadata record version {value[0]}, this broker reads {FORMAT_VERSION}")
    try:
        document = json.loads(value[1:])
        return _DECODERS[document["kind"]](document)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"unreadable metadata record: {error!r}") from error


def _members(event: MetadataEvent) -> tuple[str, str, dict[str, Any]]:
    match event:
        case ClusterInitialised(cluster_id):
            return "cluster", cluster_id, {"cluster_id": cluster_id}
        case TopicCreated(name, topic_id, partitions, configs, internal):
            members: dict[str, Any] = {"name": name, "id": topic_id.hex, "partitions": partitions}
            if configs:
                members["configs"] = dict(configs)
            if internal:
                members["internal"] = True
            return "topic", name, members
        case TopicDeleted(topic_id):
            return "topic-deleted", topic_id.hex, {"id": topic_id.hex}
        case PartitionsAdded(topic_id, partitions):
            return "partitions", topic_id.hex, {"id": topic_id.hex, "partitions": partitions}
        case TopicConfigsChanged(topic_id, configs):
            return "topic-configs", topic_id.hex, {"id": topic_id.hex, "configs": dict(configs)}
        case BrokerConfigsChanged(scope, configs):
            return "broker-configs", scope, {"scope": scope, "configs": dict(configs)}
        case ScramUpserted(user, verifier):
            return "scram", user, {"user": user, **_verifier_members(verifier)}
        case ScramDeleted(user, mechanism):
            return "scram-deleted", user, {"user": user, "mechanism": mechanism.value}
        case AclsAdded(bindings):
            return "acls", str(len(bindings)), {"acls": [_acl_members(binding) for binding in bindings]}
        case AclsRemoved(bindings):
            return "acls-removed", str(len(bindings)), {"acls": [_acl_members(one) for one in bindings]}
        case ProducerIdsReserved(next_id):
            return "producer-ids", str(next_id), {"next": next_id}


def _verifier_members(verifier: ScramVerifier) -> dict[str, Any]:
    return {
        "mechanism": verifier.mechanism.value,
        "iterations": verifier.iterations,
        "salt": b64encode(verifier.salt).decode(),
        "stored_key": b64encode(verifier.stored_key).decode(),
        "server_key": b64encode(verifier.server_key).decode(),
    }


def _verifier(document: dict[str, Any]) -> ScramVerifier:
    return ScramVerifier(
        mechanism=ScramMechanism(document["mechanism"]),
        salt=b64decode(document["salt"], validate=True),
        iterations=int(document["iterations"]),
        stored_key=b64decode(document["stored_key"], validate=True),
        server_key=b64decode(document["server_key"], validate=True),
    )


def _acl_members(binding: AclBinding) -> list[Any]:
    return [
        int(binding.resource_type),
        binding.resource_name,
        int(binding.pattern_type),
        binding.principal,
        binding.host,
        int(binding.operation),
        int(binding.permission),
    ]


def _acls(document: dict[str, Any]) -> tuple[AclBinding, ...]:
    return tuple(
        AclBinding(
            ResourceType(resource_type),
            resource_name,
            PatternType(pattern_type),
            principal,
            host,
            Operation(operation),
            Permission(permission),
        )
        for resource_type, resource_name, pattern_type, principal, host, operation, permission in document[
            "acls"
        ]
    )


_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{codec.kind: codec.build for codec in _FAMILY_CODECS.values()},
    "cluster": lambda d: ClusterInitialised(d["cluster_id"]),
    "topic": lambda d: TopicCreated(
        d["name"], UUID(d["id"]), d["partitions"], d.get("configs", {}), d.get("internal", False)
    ),
    "topic-deleted": lambda d: TopicDeleted(UUID(d["id"])),
    "partitions": lambda d: PartitionsAdded(UUID(d["id"]), d["partitions"]),
    "topic-configs": lambda d: TopicConfigsChanged(UUID(d["id"]), d["configs"]),
    "broker-configs": lambda d: BrokerConfigsChanged(d["scope"], d["configs"]),
    "scram": lambda d: ScramUpserted(d["user"], _verifier(d)),
    "scram-deleted": lambda d: ScramDeleted(d["user"], ScramMechanism(d["mechanism"])),
    "acls": lambda d: AclsAdded(_acls(d)),
    "acls-removed": lambda d: AclsRemoved(_acls(d)),
    "producer-ids": lambda d: ProducerIdsReserved(d["next"]),
}
