"""Settings of topics and of the broker: operations, refusals, defaults underneath."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import pytest

from rivven.config.broker_settings import broker_defaults
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.commands import AlterBrokerConfigs, AlterTopicConfigs, ConfigChange, CreateTopic
from rivven.metadata.controller import MetadataMachine

SET, DELETE, APPEND, SUBTRACT = range(4)


def do(machine: MetadataMachine, command: object) -> int:
    """Decide and apply; the number of events."""
    outcome = machine.decide(command, 1, 0)
    for event in outcome.events:
        machine.apply(event)
    return len(outcome.events)


@pytest.fixture
def machine() -> MetadataMachine:
    machine = MetadataMachine(BrokerValues(1, broker_defaults()), 1)
    do(machine, CreateTopic("orders", UUID(int=5), configs=(("retention.ms", "1000"),)))
    do(
        machine,
        CreateTopic(
            "__consumer_offsets", UUID(int=6), configs=(("cleanup.policy", "compact"),), internal=True
        ),
    )
    return machine


def configs(machine: MetadataMachine) -> Mapping[str, str]:
    return machine.image.topics["orders"].configs


def alter(*changes: tuple[str, int, str | None], **more: bool) -> AlterTopicConfigs:
    return AlterTopicConfigs("orders", tuple(ConfigChange(*change) for change in changes), **more)


def test_set_delete_append_subtract(machine: MetadataMachine) -> None:
    do(machine, alter(("retention.ms", SET, "2000"), ("segment.bytes", SET, " 4096 ")))
    assert configs(machine) == {"retention.ms": "2000", "segment.bytes": "4096"}
    do(machine, alter(("retention.ms", DELETE, None)))
    assert configs(machine) == {"segment.bytes": "4096"}
    do(machine, alter(("cleanup.policy", APPEND, "compact")))
    assert configs(machine)["cleanup.policy"] == "delete,compact"  # onto the default
    do(machine, alter(("cleanup.policy", SUBTRACT, "delete")))
    assert configs(machine)["cleanup.policy"] == "compact"


def test_replacing_forgets_what_is_not_named(machine: MetadataMachine) -> None:
    do(machine, alter(("segment.ms", SET, "5"), replace=True))
    assert configs(machine) == {"segment.ms": "5"}
    do(machine, AlterTopicConfigs("orders", (), replace=True))
    assert configs(machine) == {}


def test_nothing_is_journaled_when_nothing_changes_or_it_is_only_validated(machine: MetadataMachine) -> None:
    assert do(machine, alter(("retention.ms", SET, "1000"))) == 0
    assert do(machine, alter(("retention.ms", SET, "3000"), validate_only=True)) == 0
    assert configs(machine) == {"retention.ms": "1000"}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (AlterTopicConfigs("nothing", ()), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (alter(("retention.ms", SET, None)), ErrorCode.INVALID_REQUEST),
        (alter(("retention.ms", 4, "1")), ErrorCode.INVALID_REQUEST),
        (alter(("retention.ms", SET, "1"), ("retention.ms", DELETE, None)), ErrorCode.INVALID_REQUEST),
        (alter(("no.such", SET, "1")), ErrorCode.INVALID_CONFIG),
        (alter(("no.such", DELETE, None)), ErrorCode.INVALID_CONFIG),
        (alter(("retention.ms", APPEND, "1")), ErrorCode.INVALID_CONFIG),
        (alter(("cleanup.policy", APPEND, "shred")), ErrorCode.INVALID_CONFIG),
        (alter(("cleanup.policy", SUBTRACT, "delete")), ErrorCode.INVALID_CONFIG),  # empties the list
        (alter(("unclean.leader.election.enable", SET, "true")), ErrorCode.INVALID_CONFIG),
        (
            alter(("max.compaction.lag.ms", SET, "1"), ("min.compaction.lag.ms", SET, "2")),
            ErrorCode.INVALID_CONFIG,
        ),
        (
            AlterTopicConfigs("__consumer_offsets", (ConfigChange("cleanup.policy", SET, "delete"),)),
            ErrorCode.INVALID_CONFIG,
        ),
        (AlterTopicConfigs("__consumer_offsets", (), replace=True), ErrorCode.INVALID_CONFIG),
        (AlterBrokerConfigs("2", ()), ErrorCode.INVALID_REQUEST),
        (AlterBrokerConfigs("", (ConfigChange("num.partitions", SET, "2"),)), ErrorCode.INVALID_CONFIG),
        (AlterBrokerConfigs("", (ConfigChange("no.such", SET, "2"),)), ErrorCode.INVALID_CONFIG),
        (AlterBrokerConfigs("1", (ConfigChange("log.retention.ms", SET, "x"),)), ErrorCode.INVALID_CONFIG),
    ],
)
def test_refusals(machine: MetadataMachine, command: object, code: ErrorCode) -> None:
    with pytest.raises(RivvenError) as caught:
        machine.decide(command, 1, 0)
    assert caught.value.code is code


def test_the_brokers_own_topic_takes_other_settings(machine: MetadataMachine) -> None:
    do(machine, AlterTopicConfigs("__consumer_offsets", (ConfigChange("segment.bytes", SET, "1048576"),)))
    assert machine.image.topics["__consumer_offsets"].configs["cleanup.policy"] == "compact"


def test_broker_defaults_may_not_contradict_a_topics_own_settings(machine: MetadataMachine) -> None:
    do(machine, alter(("min.compaction.lag.ms", SET, "1000")))
    change = ConfigChange("log.cleaner.max.compaction.lag.ms", SET, "999")
    with pytest.raises(RivvenError) as caught:
        machine.decide(AlterBrokerConfigs("", (change,)), 1, 0)
    assert caught.value.code is ErrorCode.INVALID_CONFIG


def test_appending_to_a_broker_list_starts_from_the_files_value(machine: MetadataMachine) -> None:
    do(machine, AlterBrokerConfigs("", (ConfigChange("log.cleanup.policy", APPEND, "compact"),)))
    assert machine.image.broker_configs == {"": {"log.cleanup.policy": "delete,compact"}}
    do(machine, AlterBrokerConfigs("", (ConfigChange("log.cleanup.policy", DELETE, None),)))
    assert machine.image.broker_configs == {}
