"""Quotas in the metadata: what may be set for whom, and that one bad change spoils no other."""

import pytest

from rivven.errors import ErrorCode
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.quotas import AlterQuotas, QuotaAlteration, QuotaFamily
from rivven.types import QuotaEntity

ALICE: QuotaEntity = (("user", "alice"),)
ANY_CLIENT: QuotaEntity = (("client-id", None), ("user", "alice"))


class Stored:
    def __init__(self) -> None:
        self.machine = MetadataMachine(BrokerValues(1, {}), 1)

    @property
    def family(self) -> QuotaFamily:
        return self.machine.image.of(QuotaFamily)

    def alter(self, *changes: QuotaAlteration, validate_only: bool = False) -> list[ErrorCode]:
        outcome = self.machine.decide(AlterQuotas(changes, validate_only), 1, now_ms=0)
        for event in outcome.events:
            self.machine.apply(self.machine.decode(self.machine.encode(event)))
        [(_, replies)] = outcome.replies
        return [ErrorCode.NONE if error is None else error.code for error in replies]

    def set(self, entity: QuotaEntity, **values: float | None) -> ErrorCode:
        [code] = self.alter(QuotaAlteration(entity, tuple(values.items())))
        return code


def test_quotas_are_set_changed_and_removed_one_by_one() -> None:
    stored = Stored()
    assert stored.set(ALICE, producer_byte_rate=1000, request_percentage=12.5) is ErrorCode.NONE
    assert stored.set(ANY_CLIENT, consumer_byte_rate=5) is ErrorCode.NONE
    assert stored.family.values[ALICE] == {"producer_byte_rate": 1000.0, "request_percentage": 12.5}
    version = stored.family.version
    assert stored.set(ALICE, producer_byte_rate=2000, request_percentage=None) is ErrorCode.NONE
    assert stored.family.values[ALICE] == {"producer_byte_rate": 2000.0}
    assert stored.family.version > version
    assert stored.set(ALICE, producer_byte_rate=None) is ErrorCode.NONE
    assert ALICE not in stored.family.values
    assert list(stored.family.values) == [ANY_CLIENT]


def test_a_change_that_changes_nothing_writes_nothing() -> None:
    stored = Stored()
    stored.set(ALICE, producer_byte_rate=1000)
    version = stored.family.version
    stored.set(ALICE, producer_byte_rate=1000)
    assert stored.set((("user", "bob"),), producer_byte_rate=None) is ErrorCode.NONE
    assert stored.family.version == version


def test_validate_only_judges_and_changes_nothing() -> None:
    stored = Stored()
    good = QuotaAlteration(ALICE, (("producer_byte_rate", 1.0),))
    bad = QuotaAlteration(ALICE, (("producer_byte_rate", -1.0),))
    assert stored.alter(good, bad, validate_only=True) == [ErrorCode.NONE, ErrorCode.INVALID_REQUEST]
    assert not stored.family.values


def test_a_refused_change_does_not_spoil_the_others() -> None:
    stored = Stored()
    bad = QuotaAlteration(ALICE, (("producer_byte_rate", 1.0), ("nonsense", 1.0)))
    good = QuotaAlteration((("topic", "orders"),), (("consumer_byte_rate", 7.0),))
    assert stored.alter(bad, good) == [ErrorCode.INVALID_REQUEST, ErrorCode.NONE]
    assert list(stored.family.values) == [(("topic", "orders"),)]


@pytest.mark.parametrize(
    ("entity", "key", "value"),
    [
        (ALICE, "producer_byte_rate", 0),
        (ALICE, "producer_byte_rate", 1.5),
        (ALICE, "producer_byte_rate", float("nan")),
        (ALICE, "request_percentage", float("inf")),
        (ALICE, "connection_creation_rate", 5),
        ((("ip", "10.0.0.1"),), "producer_byte_rate", 5),
        ((("ip", "not an address"),), "connection_creation_rate", 5),
        ((("ip", "10.0.0.1"), ("user", "alice")), "connection_creation_rate", 5),
        ((("topic", "t"),), "request_percentage", 5),
        ((("user", ""),), "producer_byte_rate", 5),
        ((("user", "x" * 300),), "producer_byte_rate", 5),
        ((("planet", "earth"),), "producer_byte_rate", 5),
        ((), "producer_byte_rate", 5),
    ],
)
def test_what_makes_no_sense_is_refused(entity: QuotaEntity, key: str, value: float) -> None:
    stored = Stored()
    assert stored.set(entity, **{key: value}) is ErrorCode.INVALID_REQUEST
    assert not stored.family.values


def test_an_address_may_be_kept_out_by_a_rate_of_zero_and_defaults_have_no_name() -> None:
    stored = Stored()
    assert stored.set((("ip", "::1"),), connection_creation_rate=0) is ErrorCode.NONE
    assert stored.set((("ip", None),), connection_creation_rate=3) is ErrorCode.NONE
    assert stored.set((("client-id", None), ("user", None)), request_percentage=0.5) is ErrorCode.NONE


def test_a_snapshot_holds_every_quota() -> None:
    stored = Stored()
    stored.set(ALICE, producer_byte_rate=1)
    stored.set(ANY_CLIENT, consumer_byte_rate=2)
    other = QuotaFamily()
    for event in stored.family.events():
        other.apply(event, 1)
    assert other.values == stored.family.values
