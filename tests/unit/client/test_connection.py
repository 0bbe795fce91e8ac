"""Waiting for librdkafka in slices: a refused login is told at once, a slow answer is waited for."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from rivven_client.connection import SLICE_S_MAX, Connection
from rivven_client.failures import ClientFailed, FailureKind
from rivven_client.profile import Profile


class Silent:
    """A blocking client function without an answer; at its last call it gives `last`."""

    def __init__(self, calls: int, last: Exception | str) -> None:
        self.slices: list[float] = []
        self._calls, self._last = calls, last

    def __call__(self, *, timeout: float) -> str:
        self.slices.append(timeout)
        if len(self.slices) < self._calls:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        if isinstance(self._last, str):
            return self._last
        raise self._last


def connection(timeout_s: float = 15.0) -> Connection:
    return Connection(Profile("test", {"bootstrap.servers": "localhost:1"}), timeout_s)


def test_slices_grow_and_the_answer_is_returned() -> None:
    silent = Silent(6, "answer")
    assert connection().call(silent) == "answer"
    assert silent.slices == [0.2, 0.4, 0.8, SLICE_S_MAX, SLICE_S_MAX, SLICE_S_MAX]


def test_no_slice_is_longer_than_the_timeout() -> None:
    silent = Silent(2, "answer")
    assert connection(0.3).call(silent) == "answer"
    assert silent.slices == [0.2, 0.3]


def test_another_error_is_not_waited_for() -> None:
    refused = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    silent = Silent(1, refused)
    with pytest.raises(ClientFailed) as raised:
        connection().call(silent)
    assert raised.value.kind is FailureKind.DENIED
    assert len(silent.slices) == 1


def test_a_refused_login_ends_the_wait_after_the_slice_it_came_in() -> None:
    asked = connection()

    def refused(*, timeout: float) -> str:
        assert timeout < SLICE_S_MAX, "the first slice is short"
        asked._failed(KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"))
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    with pytest.raises(ClientFailed, match="invalid credentials") as raised:
        asked.call(refused)
    assert raised.value.kind is FailureKind.AUTHENTICATION
