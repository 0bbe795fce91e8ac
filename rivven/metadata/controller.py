"""The metadata machine: every change to the cluster's metadata is decided here.

Pure. It joins the image with the deciding modules (`*_changes`); codes of every failure are Kafka's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rivven.errors import ErrorCode, InvalidRequest, RivvenError
from rivven.machine.state_machine import JournalRecord, Outcome, Wake
from rivven.metadata import acl_changes, config_changes, credential_changes, topic_changes
from rivven.metadata import commands as c
from rivven.metadata import records as r
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.families import FAMILIES
from rivven.metadata.image import MetadataImage
from rivven.metadata.topic_names import ANY_NAME, TopicNameRule

PRODUCER_IDS_PER_BLOCK_MAX = 100_000
"""Ids one reservation may take; a block is lost at every restart, and there are 2^63 ids."""

PRODUCER_ID_MAX = 2**63 - 1

_FAMILY_OF_COMMAND = {command: family for family in FAMILIES for command in family.commands}


class MetadataMachine:
    """Implements `machine.state_machine.StateMachine`."""

    def __init__(self, broker: BrokerValues, node_id: int, topic_names: TopicNameRule = ANY_NAME) -> None:
        self._topic_names = topic_names
        self.image = MetadataImage()
        self._broker = broker
        self._node_id = node_id

    def decide(self, command: Any, ticket: int | None, now_ms: int) -> Outcome:
        """See `StateMachine.decide`; commands are those of `metadata.commands`."""
        if isinstance(command, Wake):
            return Outcome()
        assert ticket is not None
        family = _FAMILY_OF_COMMAND.get(type(command))
        if family is None:
            events, reply = self._decide(command, now_ms)
        else:
            events, reply = self.image.of(family).decide(command, self.image, now_ms)
        return Outcome(events=events, replies=((ticket, reply),))

    def _decide(self, command: Any, now_ms: int) -> tuple[tuple[r.MetadataEvent, ...], Any]:
        image = self.image
        match command:
            case c.CreateTopic():
                problem = None if command.internal else self._topic_names.problem(command.name)
                if problem is not None:
                    raise RivvenError(problem, ErrorCode.INVALID_TOPIC_EXCEPTION)
                dynamic = image.broker_configs
                partitions = self._broker.values(dynamic)["num.partitions"]
                assert isinstance(partitions, int)
                defaults = self._broker.topic_defaults(dynamic)
                return topic_changes.create_topic(image, command, self._node_id, partitions, defaults)
            case c.DeleteTopic():
                return topic_changes.delete_topic(image, command)
            case c.CreatePartitions():
                return topic_changes.create_partitions(image, command, self._node_id)
            case c.AlterTopicConfigs():
                defaults = self._broker.topic_defaults(image.broker_configs)
                return config_changes.alter_topic_configs(image, command, defaults), None
            case c.AlterBrokerConfigs():
                static = self._broker.static
                return config_changes.alter_broker_configs(image, command, self._node_id, static), None
            case c.AlterScram():
                return credential_changes.alter_scram(image, command, now_ms)
            case c.StoreScram():
                return credential_changes.store_scram(image, command), None
            case c.CreateAcls():
                return acl_changes.create_acls(image, command)
            case c.DeleteAcls():
                return acl_changes.delete_acls(image, command)
            case c.ReserveProducerIds(count):
                return self._reserve(count)
            case c.InitialiseCluster(cluster_id):
                if image.cluster_id:
                    return (), image.cluster_id
                return (r.ClusterInitialised(cluster_id),), cluster_id
            case _:
                raise TypeError(f"not a metadata command: {type(command).__name__}")

    def _reserve(self, count: int) -> tuple[tuple[r.MetadataEvent, ...], int]:
        first = self.image.next_producer_id
        if not 0 < count <= PRODUCER_IDS_PER_BLOCK_MAX or first > PRODUCER_ID_MAX - count:
            raise InvalidRequest("producer ids cannot be reserved")
        return (r.ProducerIdsReserved(first + count),), first

    def apply(self, event: Any) -> None:
        """See `StateMachine.apply`."""
        self.image.apply(event)

    def snapshot(self) -> Iterable[Any]:
        """See `StateMachine.snapshot`."""
        return self.image.events()

    def encode(self, event: Any) -> JournalRecord:
        """See `StateMachine.encode`."""
        return r.encode(event)

    def decode(self, record: JournalRecord) -> Any:
        """See `StateMachine.decode`."""
        return r.decode(record)
