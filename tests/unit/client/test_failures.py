"""Failures told apart by what a person does about them, and what the package offers."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

import rivven_client
from rivven_client.failures import _KINDS, ClientFailed, FailureKind, from_kafka_error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._ALL_BROKERS_DOWN, FailureKind.UNREACHABLE),
        (KafkaError._AUTHENTICATION, FailureKind.AUTHENTICATION),
        (KafkaError._SSL, FailureKind.TLS),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, FailureKind.DENIED),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, FailureKind.NOT_FOUND),
        (KafkaError.TOPIC_ALREADY_EXISTS, FailureKind.EXISTS),
        (KafkaError._TIMED_OUT, FailureKind.TIMEOUT),
        (KafkaError.INVALID_CONFIG, FailureKind.INVALID),
        (KafkaError._STATE, FailureKind.OTHER),
    ],
)
def test_kinds_of_errors(code: int, kind: FailureKind) -> None:
    assert from_kafka_error(KafkaError(code, "why")).kind is kind


def test_every_named_code_exists_in_librdkafka() -> None:
    for names in _KINDS.values():
        for name in names:
            assert isinstance(getattr(KafkaError, name), int), name


def test_the_reason_says_what_was_asked_for_on_one_line() -> None:
    error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "Broker: no\nsuch topic")
    assert from_kafka_error(error, "orders").reason == "orders: no such topic"
    assert ClientFailed("a\n  b").reason == "a b"


def test_the_package_offers_what_it_lists_and_nothing_else() -> None:
    for name in rivven_client.__all__:
        assert getattr(rivven_client, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute"):
        _ = rivven_client.nothing
