"""Sessions that end (KIP-368): renewed on the live connection, closed when they are over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rivven.errors import ErrorCode
from tests.conformance.client import Client
from tests.conformance.process import LogTail
from tests.conformance.wire import Refused
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

LIFETIME_S = 1.5
SETTINGS = {
    "connection.failed.authentication.delay.ms": 0,
    "connections.max.reauth.ms": int(LIFETIME_S * 1000),
}


def test_a_session_is_renewed_on_the_live_connection(plain: Connection) -> None:
    assert plain.account is not None
    with Client(plain) as client:
        assert 1000 < client.session_lifetime_ms <= LIFETIME_S * 1000
        for _ in range(3):
            time.sleep(1.05)
            client.login(plain.account)
            assert 1000 < client.session_lifetime_ms <= LIFETIME_S * 1000
            assert client.metadata().brokers


@pytest.mark.parametrize("handshake", [0, 1])
def test_at_its_end_the_connection_closes_even_if_nothing_is_asked(
    broker: ShippedBroker, plain: Connection, handshake: int
) -> None:
    assert plain.account is not None
    log = LogTail(broker)
    with Client(plain, login=False) as client:
        started = time.monotonic()
        client.login(plain.account, handshake=handshake)
        assert client.is_closed(LIFETIME_S + 2)
        assert time.monotonic() - started > LIFETIME_S * 0.9
    log.wait_for("session expired")


def test_what_was_begun_before_the_end_is_answered_then_the_connection_closes(plain: Connection) -> None:
    with Client(plain) as client:
        entry = client.fetch(client.create_topic(), 0, max_wait_ms=int(LIFETIME_S * 1000) + 300)
        assert entry.error_code == 0
        assert client.is_closed(2)


def test_renewing_twice_within_a_second_is_illegal_and_harmless(plain: Connection) -> None:
    assert plain.account is not None
    with Client(plain) as client:
        client.login(plain.account)
        with pytest.raises(Refused) as refused:
            client.login(plain.account)
        assert refused.value.code == ErrorCode.ILLEGAL_SASL_STATE
        assert client.metadata().brokers


def test_a_session_without_an_end_is_not_renewed(own_directory: Path) -> None:
    with ShippedBroker(own_directory, settings={"connections.max.reauth.ms": 0}) as broker:
        connection = broker.connection()
        assert connection.account is not None
        with Client(connection) as client:
            assert client.session_lifetime_ms == 0
            with pytest.raises(Refused) as refused:
                client.login(connection.account)
            assert refused.value.code == ErrorCode.ILLEGAL_SASL_STATE
            assert client.metadata().brokers
        assert broker.stop() == 0


def test_renewing_as_another_user_or_mechanism_closes(plain: Connection) -> None:
    assert plain.account is not None
    with Client(plain) as client:
        other = client.create_user()
        with pytest.raises(Refused) as refused:
            client.login(other)
        assert refused.value.code == ErrorCode.SASL_AUTHENTICATION_FAILED
        assert client.is_closed()
    with Client(plain) as client:
        with pytest.raises(Refused) as refused:
            client.login(plain.account, "SCRAM-SHA-512")
        assert refused.value.code == ErrorCode.SASL_AUTHENTICATION_FAILED
        assert client.is_closed()
