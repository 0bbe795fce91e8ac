"""The metadata image: what the cluster is, as committed. Applied events in, lookups out.

Pure. Only `apply` changes it. Values it gives out are immutable and carry versions, so caches can key on
them; versions count changes of this process and are not stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

from rivven.metadata import records as r
from rivven.metadata.families import FAMILIES
from rivven.metadata.family import Family
from rivven.metadata.topic_names import collision_key
from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.types import AclBinding

NO_CONFIGS: Mapping[str, str] = MappingProxyType({})
"""Shared by every topic without settings of its own."""

F = TypeVar("F", bound=Family)

ACLS_PER_RECORD = 500
"""Rules per snapshot event, so that one record stays below 100 KB."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `version` changes whenever anything about it does; `configs` are its own settings only."""

    name: str
    topic_id: UUID
    partitions: int
    configs: Mapping[str, str]
    internal: bool
    version: int


class MetadataImage:
    """Everything clustered and small, in memory. Read freely on the event loop; change only by `apply`."""

    __slots__ = (
        "_acl_view",
        "_acls",
        "_collisions",
        "_families",
        "_family_of_event",
        "_scram",
        "_scram_versions",
        "acl_version",
        "broker_configs",
        "broker_configs_version",
        "cluster_id",
        "next_producer_id",
        "partition_count",
        "scram_version",
        "topics",
        "topics_by_id",
        "version",
    )

    def __init__(self) -> None:
        self.version = 0
        """Rises with every event."""
        self.cluster_id = ""
        self.topics: dict[str, Topic] = {}
        self.topics_by_id: dict[UUID, Topic] = {}
        self.partition_count = 0
        self.broker_configs: dict[str, Mapping[str, str]] = {}
        """Dynamic settings by scope: "" for the cluster, a node id as text for one broker."""
        self.broker_configs_version = 0
        self.next_producer_id = 0
        self.acl_version = 0
        self._acls: dict[AclBinding, None] = {}
        self._acl_view: tuple[AclBinding, ...] | None = ()
        self.scram_version = 0
        self._scram: dict[str, dict[ScramMechanism, ScramVerifier]] = {}
        self._scram_versions: dict[str, int] = {}
        self._collisions: dict[str, str] = {}
        self._families: dict[type[Family], Family] = {kind: kind() for kind in FAMILIES}
        self._family_of_event = {
            codec.event: family for family in self._families.values() for codec in family.codecs
        }

    def of(self, family: type[F]) -> F:
        """The image's part that belongs to a family."""
        part = self._families[family]
        assert isinstance(part, family)
        return part

    @property
    def families(self) -> Iterator[Family]:
        return iter(self._families.values())

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def acls(self) -> tuple[int, tuple[AclBinding, ...]]:
        """(version, rules); the version changes whenever the rules do."""
        if self._acl_view is None:
            self._acl_view = tuple(self._acls)
        return self.acl_version, self._acl_view

    def has_acl(self, binding: AclBinding) -> bool:
        """Whether exactly this rule exists."""
        return binding in self._acls

    @property
    def acl_count(self) -> int:
        return len(self._acls)

    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier | None:
        """The stored verifier of a user, if any."""
        credentials = self._scram.get(user)
        return None if credentials is None else credentials.get(mechanism)

    def scram_users(self) -> list[str]:
        """Users with a credential, sorted."""
        return sorted(self._scram)

    def scram_credentials(self, user: str) -> list[ScramVerifier]:
        """All credentials of a user, by mechanism; empty when there is no such user."""
        credentials = self._scram.get(user, {})
        return [credentials[mechanism] for mechanism in sorted(credentials, key=lambda one: one.value)]

    def scram_version_of(self, user: str) -> int:
        """The image's version when the user's credentials last changed, 0 for a user without any."""
        return self._scram_versions.get(user, 0)

    @property
    def has_credentials(self) -> bool:
        """Whether anybody could authenticate."""
        return bool(self._scram)

    @property
    def scram_user_count(self) -> int:
        return len(self._scram)

    def name_in_the_way(self, name: str) -> str | None:
        """The existing topic whose name collides with `name`, which may be `name` itself."""
        return self._collisions.get(collision_key(name))

    # -- changing --------------------------------------------------------------------------------------------

    def apply(self, event: Any) -> None:
        """Take over one durable event."""
        self.version += 1
        family = self._family_of_event.get(type(event))
        if family is not None:
            family.apply(event, self.version)
            return
        match event:
            case r.TopicCreated(name, topic_id, partitions, configs, internal):
                self._put(Topic(name, topic_id, partitions, configs or NO_CONFIGS, internal, self.version))
                self._collisions[collision_key(name)] = name
                self.partition_count += partitions
            case r.TopicDeleted(topic_id):
                topic = self.topics_by_id.pop(topic_id)
                del self.topics[topic.name]
                del self._collisions[collision_key(topic.name)]
                self.partition_count -= topic.partitions
            case r.PartitionsAdded(topic_id, partitions):
                topic = self.topics_by_id[topic_id]
                self.partition_count += partitions - topic.partitions
                self._put(replace(topic, partitions=partitions, version=self.version))
            case r.TopicConfigsChanged(topic_id, configs):
                topic = self.topics_by_id[topic_id]
                self._put(replace(topic, configs=configs or NO_CONFIGS, version=self.version))
            case r.BrokerConfigsChanged(scope, configs):
                if configs:
                    self.broker_configs[scope] = configs
                else:
                    self.broker_configs.pop(scope, None)
                self.broker_configs_version = self.version
            case r.ClusterInitialised(cluster_id):
                self.cluster_id = cluster_id
            case r.ProducerIdsReserved(next_id):
                self.next_producer_id = next_id
            case _:
                self._apply_security(event)

    def _apply_security(self, event: Any) -> None:
        match event:
            case r.ScramUpserted(user, verifier):
                self._scram.setdefault(user, {})[verifier.mechanism] = verifier
                self._scram_versions[user] = self.scram_version = self.version
            case r.ScramDeleted(user, mechanism):
                del self._scram[user][mechanism]
                self._scram_versions[user] = self.scram_version = self.version
                if not self._scram[user]:
                    del self._scram[user]
                    del self._scram_versions[user]
            case r.AclsAdded(bindings):
                self._acls.update(dict.fromkeys(bindings))
                self._acls_changed()
            case r.AclsRemoved(bindings):
                for binding in bindings:
                    del self._acls[binding]
                self._acls_changed()
            case _:
                raise TypeError(f"not a metadata event: {event!r}")

    def _put(self, topic: Topic) -> None:
        self.topics[topic.name] = topic
        self.topics_by_id[topic.topic_id] = topic

    def _acls_changed(self) -> None:
        self._acl_view = None
        self.acl_version = self.version

    def events(self) -> Iterator[Any]:
        """Events that make an empty image equal to this one, versions aside."""
        if self.cluster_id:
            yield r.ClusterInitialised(self.cluster_id)
        for topic in self.topics.values():
            yield r.TopicCreated(topic.name, topic.topic_id, topic.partitions, topic.configs, topic.internal)
        for scope, configs in self.broker_configs.items():
            yield r.BrokerConfigsChanged(scope, configs)
        for user, credentials in self._scram.items():
            for verifier in credentials.values():
                yield r.ScramUpserted(user, verifier)
        bindings = self.acls[1]
        for start in range(0, len(bindings), ACLS_PER_RECORD):
            yield r.AclsAdded(bindings[start : start + ACLS_PER_RECORD])
        if self.next_producer_id:
            yield r.ProducerIdsReserved(self.next_producer_id)
        for family in self._families.values():
            yield from family.events()
