"""A family is stored, snapshotted, decided and read back like the core's own events."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from rivven.metadata import controller, image, records
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.family import EventCodec


@dataclass(frozen=True)
class Painted:
    colour: str


@dataclass(frozen=True)
class Paint:
    colour: str


class Paints:
    codecs: ClassVar = (
        EventCodec(
            Painted,
            "painted",
            lambda event: event.colour,
            lambda event: {"colour": event.colour},
            lambda document: Painted(document["colour"]),
        ),
    )
    commands: ClassVar = (Paint,)

    def __init__(self) -> None:
        self.version = 0
        self.colours: list[str] = []

    def decide(self, command: Any, image: Any, now_ms: int) -> tuple[tuple[Any, ...], Any]:
        return (Painted(command.colour),), f"{command.colour} at {now_ms}"

    def apply(self, event: Any, version: int) -> None:
        self.colours.append(event.colour)
        self.version = version

    def events(self) -> Iterator[Any]:
        return (Painted(colour) for colour in self.colours)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> MetadataMachine:
    monkeypatch.setattr(image, "FAMILIES", (Paints,))
    monkeypatch.setattr(controller, "_FAMILY_OF_COMMAND", {Paint: Paints})
    monkeypatch.setattr(records, "_FAMILY_CODECS", {Painted: Paints.codecs[0]})
    monkeypatch.setitem(records._DECODERS, "painted", Paints.codecs[0].build)
    return MetadataMachine(BrokerValues(1, {}), 1)


def test_a_command_of_a_family_is_decided_journaled_and_read_back(machine: MetadataMachine) -> None:
    outcome = machine.decide(Paint("red"), 7, now_ms=42)
    assert outcome.replies == ((7, "red at 42"),)
    [event] = outcome.events
    assert machine.decode(machine.encode(event)) == Painted("red")
    machine.apply(event)
    assert machine.image.of(Paints).colours == ["red"]
    assert machine.image.of(Paints).version == machine.image.version == 1
    assert list(machine.snapshot()) == [Painted("red")]
