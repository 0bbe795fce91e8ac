"""Topics: names, counts, assignments, deletion, growth - each refusal with Kafka's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from rivven.config.broker_settings import broker_defaults
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata import topic_changes
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.commands import CreatePartitions, CreateTopic, DeleteTopic
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.records import TopicCreated, TopicDeleted
from rivven.metadata.topic_names import GROUP_TOPIC, name_problem

NODE = 7


def identity(number: int) -> UUID:
    return UUID(int=number + (4 << 76))


class Machine:
    """The machine with its decisions applied at once."""

    def __init__(self) -> None:
        self.machine = MetadataMachine(BrokerValues(NODE, {**broker_defaults(), "num.partitions": 3}), NODE)
        self.events: list[Any] = []

    def do(self, command: Any) -> Any:
        outcome = self.machine.decide(command, 1, 0)
        for event in outcome.events:
            self.machine.apply(event)
            self.events.append(event)
        ((ticket, reply),) = outcome.replies
        assert ticket == 1
        return reply

    def refused(self, command: Any) -> ErrorCode:
        before = self.machine.image.version
        with pytest.raises(RivvenError) as caught:
            self.machine.decide(command, 1, 0)
        assert self.machine.image.version == before
        return caught.value.code


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_topic_is_created_with_the_default_count_and_its_own_settings_in_canonical_form(
    machine: Machine,
) -> None:
    topic = machine.do(
        CreateTopic("orders", identity(1), configs=(("retention.ms", " 5000 "), ("preallocate", "FALSE")))
    )
    assert topic.partitions == 3
    assert machine.events == [
        TopicCreated("orders", identity(1), 3, {"retention.ms": "5000", "preallocate": "false"}, False)
    ]
    image = machine.machine.image
    assert image.topics["orders"] is image.topics_by_id[identity(1)]
    assert image.topics["orders"].configs == {"retention.ms": "5000", "preallocate": "false"}
    assert image.partition_count == 3


def test_validate_only_answers_and_changes_nothing(machine: Machine) -> None:
    assert machine.do(CreateTopic("orders", identity(1), 12, 1, validate_only=True)).partitions == 12
    assert machine.events == []
    machine.do(CreateTopic("orders", identity(1), 12, 1))
    assert machine.refused(CreateTopic("orders", identity(2), validate_only=True)) == 36


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "ä", "a\n", "x" * 250, "a:b", "__transaction_state", GROUP_TOPIC]
)
def test_names_that_cannot_be(machine: Machine, name: str) -> None:
    assert machine.refused(CreateTopic(name, identity(1))) is ErrorCode.INVALID_TOPIC_EXCEPTION


@pytest.mark.parametrize("name", ["a", "...", "x" * 249, "A.b_c-9", "__mine"])
def test_names_that_can(machine: Machine, name: str) -> None:
    assert name_problem(name) is None
    assert machine.do(CreateTopic(name, identity(1))).name == name


def test_names_that_differ_only_in_dot_and_underscore_collide_without_naming_the_other(
    machine: Machine,
) -> None:
    machine.do(CreateTopic("secret.plan", identity(1)))
    with pytest.raises(RivvenError) as caught:
        machine.do(CreateTopic("secret_plan", identity(2)))
    assert caught.value.code is ErrorCode.INVALID_TOPIC_EXCEPTION
    assert "secret" not in caught.value.message
    machine.do(DeleteTopic(identity(1)))
    machine.do(CreateTopic("secret_plan", identity(2)))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"partitions": 0}, ErrorCode.INVALID_PARTITIONS),
        ({"partitions": -2}, ErrorCode.INVALID_PARTITIONS),
        ({"partitions": 10_001}, ErrorCode.INVALID_PARTITIONS),
        ({"replication_factor": 0}, ErrorCode.INVALID_REPLICATION_FACTOR),
        ({"replication_factor": -2}, ErrorCode.INVALID_REPLICATION_FACTOR),
        ({"replication_factor": 2}, ErrorCode.INVALID_REPLICATION_FACTOR),
        ({"partitions": 1, "assignments": ((0, (NODE,)),)}, ErrorCode.INVALID_REQUEST),
        ({"replication_factor": 1, "assignments": ((0, (NODE,)),)}, ErrorCode.INVALID_REQUEST),
        ({"assignments": ((1, (NODE,)),)}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({"assignments": ((0, (NODE,)), (0, (NODE,)))}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({"assignments": ((0, ()),)}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({"assignments": ((0, (NODE + 1,)),)}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({"assignments": ((0, (NODE, NODE)),)}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({"configs": (("retention.ms", "soon"),)}, ErrorCode.INVALID_CONFIG),
        ({"configs": (("no.such.setting", "1"),)}, ErrorCode.INVALID_CONFIG),
        ({"configs": (("retention.ms", None),)}, ErrorCode.INVALID_CONFIG),
        ({"configs": (("preallocate", "true"),)}, ErrorCode.INVALID_CONFIG),
        ({"configs": (("retention.ms", "1"), ("retention.ms", "2"))}, ErrorCode.INVALID_REQUEST),
        (
            {"configs": (("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "8"))},
            ErrorCode.INVALID_CONFIG,
        ),
    ],
)
def test_creations_that_are_refused(machine: Machine, change: dict[str, Any], code: ErrorCode) -> None:
    assert machine.refused(CreateTopic("orders", identity(1), **change)) is code


def test_manual_assignments_give_the_count(machine: Machine) -> None:
    assignments = ((1, (NODE,)), (0, (NODE,)))
    assert machine.do(CreateTopic("orders", identity(1), assignments=assignments)).partitions == 2


def test_the_node_is_full_at_some_point(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_changes, "PARTITIONS_TOTAL_MAX", 10)
    machine.do(CreateTopic("a", identity(1), 8))
    assert machine.refused(CreateTopic("b", identity(2), 3)) is ErrorCode.POLICY_VIOLATION
    machine.do(CreateTopic("b", identity(2), 2))
    machine.do(DeleteTopic(identity(1)))
    machine.do(CreateTopic("c", identity(3), 8))


def test_deletion_is_by_id_and_a_new_topic_of_the_name_is_another(machine: Machine) -> None:
    machine.do(CreateTopic("orders", identity(1)))
    assert machine.do(DeleteTopic(identity(1))).name == "orders"
    assert machine.events[-1] == TopicDeleted(identity(1))
    assert machine.refused(DeleteTopic(identity(1))) is ErrorCode.UNKNOWN_TOPIC_ID
    machine.do(CreateTopic("orders", identity(2)))
    assert machine.machine.image.topics["orders"].topic_id == identity(2)


def test_the_brokers_own_topic(machine: Machine) -> None:
    topic = machine.do(
        CreateTopic(GROUP_TOPIC, identity(1), 50, configs=(("cleanup.policy", "compact"),), internal=True)
    )
    assert topic.internal
    assert machine.machine.image.topics[GROUP_TOPIC].internal
    assert machine.refused(DeleteTopic(identity(1))) is ErrorCode.INVALID_TOPIC_EXCEPTION
    assert machine.refused(CreatePartitions(GROUP_TOPIC, 60)) is ErrorCode.INVALID_TOPIC_EXCEPTION
    assert machine.refused(CreateTopic(GROUP_TOPIC, identity(2))) is ErrorCode.TOPIC_ALREADY_EXISTS


def test_growth(machine: Machine) -> None:
    machine.do(CreateTopic("orders", identity(1), 2))
    before = machine.machine.image.topics["orders"].version
    assert machine.do(CreatePartitions("orders", 4, validate_only=True)).partitions == 4
    assert machine.machine.image.topics["orders"].partitions == 2
    assert machine.do(CreatePartitions("orders", 4, ((NODE,), (NODE,)))).partitions == 4
    topic = machine.machine.image.topics["orders"]
    assert (topic.partitions, machine.machine.image.partition_count) == (4, 4)
    assert topic.version > before


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (CreatePartitions("nothing", 3), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (CreatePartitions("orders", 2), ErrorCode.INVALID_PARTITIONS),
        (CreatePartitions("orders", 1), ErrorCode.INVALID_PARTITIONS),
        (CreatePartitions("orders", -1), ErrorCode.INVALID_PARTITIONS),
        (CreatePartitions("orders", 10_001), ErrorCode.INVALID_PARTITIONS),
        (CreatePartitions("orders", 4, ((NODE,),)), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (CreatePartitions("orders", 3, ((NODE, 8),)), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    ],
)
def test_growth_that_is_refused(machine: Machine, command: CreatePartitions, code: ErrorCode) -> None:
    machine.do(CreateTopic("orders", identity(1), 2))
    assert machine.refused(command) is code


def test_a_command_it_does_not_know_is_a_bug(machine: Machine) -> None:
    refused: Callable[[], Any] = lambda: machine.machine.decide(object(), 1, 0)  # noqa: E731
    with pytest.raises(TypeError):
        refused()
