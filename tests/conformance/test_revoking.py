"""What is taken away ends live connections within a second; what is only forbidden does not end them."""

from __future__ import annotations

import time

import pytest

from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.types import Operation, ResourceType
from tests.conformance.client import Client, batch, fetch_request
from tests.conformance.live import KINDS, PROMISED_S, Live
from tests.conformance.process import LogTail
from tests.conformance.wire import Closed, Refused
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection
from tests.shipped.running_time import running_time

SETTINGS = {"connection.failed.authentication.delay.ms": 0}


@pytest.fixture
def topic(admin: Client, user: Account) -> str:
    """One that the user may write and read."""
    name = admin.create_topic()
    for operation in (Operation.READ, Operation.WRITE):
        admin.allow(user.user, operation, ResourceType.TOPIC, name)
    return name


def forget(admin: Client, user: str) -> None:
    """Delete every credential of a user."""
    for code in (1, 2):
        one = m.AlterUserScramCredentialsRequest.ScramCredentialDeletion(name=user, mechanism=code)
        request = m.AlterUserScramCredentialsRequest(deletions=[one])
        assert admin.call(ApiKey.ALTER_USER_SCRAM_CREDENTIALS, 0, request).results[0].error_code == 0


@pytest.mark.parametrize("protocol", ["sasl_plaintext", "sasl_ssl"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_user_is_gone_within_a_second(
    broker: ShippedBroker, admin: Client, user: Account, topic: str, kind: str, protocol: str
) -> None:
    with Client(broker.connection(protocol, user)) as client:
        live = Live(client, kind, topic)
        forget(admin, user.user)
        assert live.closed_after(running_time()) <= PROMISED_S
    with pytest.raises(Refused):
        Client(broker.connection(protocol, user))


def test_a_peer_that_takes_no_answers_is_gone_as_well(
    broker: ShippedBroker, plain: Connection, admin: Client, user: Account, topic: str
) -> None:
    for _ in range(8):
        admin.produced(topic, b"v" * 900_000)
    with Client(plain.as_user(user), receive_buffer=4096) as client:
        client.send(ApiKey.FETCH, 12, fetch_request(topic, 0))
        time.sleep(0.3)  # the answer is larger than all buffers on the way
        log = LogTail(broker)
        forget(admin, user.user)
        moment = running_time()
        log.wait_for("closed sasl_plaintext")
        assert running_time() - moment <= PROMISED_S
        with pytest.raises((Closed, TimeoutError)):
            client.receive_frame(2)


def test_a_changed_password_ends_what_the_old_one_began(
    plain: Connection, admin: Client, user: Account, topic: str
) -> None:
    with Client(plain.as_user(user)) as client:
        live = Live(client, "idle", topic)
        admin.create_user(user.user, "Another word 42!")
        assert live.closed_after(running_time()) <= PROMISED_S


def test_others_stay(plain: Connection, admin: Client, user: Account, topic: str) -> None:
    other = admin.create_user()
    with Client(plain.as_user(other)) as client:
        forget(admin, user.user)
        assert client.metadata().brokers
        assert admin.metadata().brokers


def test_a_revoked_grant_denies_the_next_request_and_what_is_parked(
    plain: Connection, admin: Client, user: Account, topic: str
) -> None:
    with Client(plain.as_user(user)) as parked, Client(plain.as_user(user)) as writer:
        assert writer.produce(topic, batch(b"before")).error_code == 0
        correlation = parked.send(ApiKey.FETCH, 12, fetch_request(topic, 1, max_wait_ms=3_000))
        time.sleep(0.1)
        admin.revoke_all(user.user)
        assert writer.produce(topic, batch(b"x")).error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
        admin.produced(topic, b"secret")
        answer = parked.receive(ApiKey.FETCH, 12, correlation)
        [entry] = answer.responses[0].partitions
        assert entry.error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
        assert not entry.records
        assert parked.metadata().brokers, "the connection itself goes on"


def test_answers_in_flight_leave_before_the_end(
    plain: Connection, admin: Client, user: Account, topic: str
) -> None:
    """Whatever was acknowledged is there, and nothing was written twice."""
    with Client(plain.as_user(user)) as client:
        live = Live(client, "busy", topic)
        time.sleep(0.2)
        forget(admin, user.user)
        live.closed_after(running_time())
    assert set(live.errors) == {0}
    stored = len(admin.values(topic))
    assert live.acknowledged <= stored <= live.acknowledged + 1, "one may be written whose answer was cut off"


def test_the_log_says_who_and_why(broker: ShippedBroker, plain: Connection, admin: Client) -> None:
    user = admin.create_user()
    log = LogTail(broker)
    with Client(plain.as_user(user)) as client:
        forget(admin, user.user)
        assert client.is_closed(PROMISED_S)
    log.wait_for(f"User:{user.user}")


def test_many_at_once(plain: Connection, admin: Client, user: Account, topic: str) -> None:
    clients = [Client(plain.as_user(user)) for _ in range(20)]
    lives = [Live(client, KINDS[index % 3], topic) for index, client in enumerate(clients)]
    forget(admin, user.user)
    moment = running_time()
    assert max(live.closed_after(moment) for live in lives) <= PROMISED_S
    for client in clients:
        client.close()
