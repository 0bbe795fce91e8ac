"""Delegation tokens over the wire (KIP-48, KIP-373): who may make, see, move and use them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.security.authn.token_text import format_token
from rivven.testing.canary import leaks
from rivven.types import Operation, ResourceType
from tests.conformance.answers import error_codes
from tests.conformance.client import Client
from tests.conformance.process import LogTail
from tests.conformance.wire import Refused
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection
from tests.shipped.running_time import running_time

SETTINGS = {"connection.failed.authentication.delay.ms": 0}
HOUR = 3_600_000
MECHANISMS = ["SCRAM-SHA-256", "SCRAM-SHA-512"]
Create = m.CreateDelegationTokenRequest


def create(client: Client, version: int = 3, **values: Any) -> Any:
    """The whole answer."""
    values.setdefault("max_lifetime_ms", -1)
    return client.call(ApiKey.CREATE_DELEGATION_TOKEN, version, Create(**values))


def made(client: Client, **values: Any) -> Any:
    answer = create(client, **values)
    assert answer.error_code == 0
    return answer


def renew(client: Client, secret: bytes, period_ms: int = -1) -> Any:
    request = m.RenewDelegationTokenRequest(hmac=secret, renew_period_ms=period_ms)
    return client.call(ApiKey.RENEW_DELEGATION_TOKEN, 2, request)


def expire(client: Client, secret: bytes, period_ms: int = -1) -> Any:
    request = m.ExpireDelegationTokenRequest(hmac=secret, expiry_time_period_ms=period_ms)
    return client.call(ApiKey.EXPIRE_DELEGATION_TOKEN, 2, request)


def seen(client: Client, *owners: str) -> dict[str, Any]:
    """What a client sees: of everybody, or of the owners named."""
    named = [
        m.DescribeDelegationTokenRequest.DescribeDelegationTokenOwner(
            principal_type="User", principal_name=one
        )
        for one in owners
    ]
    request = m.DescribeDelegationTokenRequest(owners=named or None)
    answer = client.call(ApiKey.DESCRIBE_DELEGATION_TOKEN, 3, request)
    assert answer.error_code == 0
    return {token.token_id: token for token in answer.tokens}


def account_of(token: Any) -> Account:
    """How a client that knows tokenauth logs in."""
    return Account(token.token_id, base64.b64encode(token.hmac).decode())


def delete_user(admin: Client, name: str) -> None:
    for mechanism in (1, 2):
        one = m.AlterUserScramCredentialsRequest.ScramCredentialDeletion(name=name, mechanism=mechanism)
        request = m.AlterUserScramCredentialsRequest(deletions=[one])
        assert set(error_codes(admin.call(ApiKey.ALTER_USER_SCRAM_CREDENTIALS, 0, request))) == {0}


@contextmanager
def logged_in(connection: Connection, token: Any, mechanism: str = MECHANISMS[0]) -> Iterator[Client]:
    with Client(connection, login=False) as client:
        client.login(account_of(token), mechanism, token_auth=True)
        yield client


@pytest.fixture
def alice(plain: Connection, admin: Client) -> Iterator[Client]:
    """A user without any right; `alice.name` is what it is called."""
    account = admin.create_user()
    with Client(plain.as_user(account)) as client:
        client.account = account  # type: ignore[attr-defined]
        yield client


def name_of(client: Client) -> str:
    account: Account = client.account  # type: ignore[attr-defined]
    return account.user


# -- using one -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_token_acts_as_its_owner_with_the_owners_rights(
    plain: Connection, admin: Client, alice: Client, mechanism: str
) -> None:
    mine, other = admin.create_topic(), admin.create_topic()
    admin.allow(name_of(alice), Operation.WRITE, ResourceType.TOPIC, mine)
    token = made(alice, max_lifetime_ms=HOUR)
    assert (token.principal_name, token.token_requester_principal_name) == (name_of(alice),) * 2
    assert token.max_timestamp_ms == token.expiry_timestamp_ms == token.issue_timestamp_ms + HOUR
    with logged_in(plain, token, mechanism) as client:
        assert 0 < client.session_lifetime_ms <= HOUR
        client.produced(mine, b"by token")
        assert client.produce(other, b"no").error_code == E.TOPIC_AUTHORIZATION_FAILED
    assert admin.values(mine) == [b"by token"]


def test_the_session_ends_with_the_token(plain: Connection, alice: Client) -> None:
    token = made(alice, max_lifetime_ms=1500)
    with logged_in(plain, token) as client:
        assert 0 < client.session_lifetime_ms <= 1500
        assert client.metadata().brokers
        assert client.is_closed(3)
    with pytest.raises(Refused), logged_in(plain, token):
        pass
    assert renew(alice, token.hmac).error_code == E.DELEGATION_TOKEN_EXPIRED
    assert token.token_id not in seen(alice)


def test_refusals_look_alike(broker: ShippedBroker, plain: Connection, alice: Client) -> None:
    token, gone = made(alice), made(alice)
    assert expire(alice, gone.hmac).error_code == 0
    wrong = Account(token.token_id, base64.b64encode(b"w" * 32).decode())
    unknown = Account("abcdefghijkl2345", wrong.password)
    log = LogTail(broker)
    answers = set()
    for account, token_auth in [
        (wrong, True),
        (unknown, True),
        (account_of(gone), True),
        (account_of(token), False),
        (Account(name_of(alice), wrong.password), True),
    ]:
        with Client(plain, login=False) as client, pytest.raises(Refused) as refused:
            client.login(account, token_auth=token_auth)
        answers.add((refused.value.code, refused.value.text))
    assert len(answers) == 1
    assert answers.pop()[0] == E.SASL_AUTHENTICATION_FAILED
    log.wait_for(f"wrong proof (API token '{token.token_id}')")
    log.wait_for("(unknown API token 'abcdefghijkl2345')")


@pytest.mark.parametrize("way", ["expired", "owner deleted"])
def test_what_is_taken_away_closes_live_connections(
    plain: Connection, admin: Client, alice: Client, way: str
) -> None:
    token = made(alice)
    with logged_in(plain, token) as client:
        assert client.metadata().brokers
        started = running_time()
        if way == "expired":
            assert expire(alice, token.hmac).error_code == 0
        else:
            delete_user(admin, name_of(alice))
        assert client.is_closed(2)
        assert running_time() - started < 1
    with pytest.raises(Refused), logged_in(plain, token):
        pass


def test_a_later_user_of_the_same_name_does_not_inherit_tokens(plain: Connection, admin: Client) -> None:
    account = admin.create_user()
    with Client(plain.as_user(account)) as client:
        token = made(client)
    delete_user(admin, account.user)
    assert admin.create_user(account.user) == account
    with Client(plain.as_user(account)) as client:
        assert seen(client) == {}
    with pytest.raises(Refused), logged_in(plain, token):
        pass


# -- managing them -------------------------------------------------------------------------------------------


def test_a_token_manages_no_tokens(plain: Connection, alice: Client) -> None:
    token = made(alice)
    with logged_in(plain, token) as client:
        not_allowed = E.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
        assert create(client).error_code == not_allowed
        assert renew(client, token.hmac).error_code == not_allowed
        assert expire(client, token.hmac).error_code == not_allowed
        assert list(seen(client)) == [token.token_id]
    assert list(seen(alice)) == [token.token_id]


def test_for_another_owner_it_takes_create_tokens_on_that_user(
    plain: Connection, admin: Client, alice: Client
) -> None:
    bob = admin.create_user().user
    owner = {"owner_principal_type": "User", "owner_principal_name": bob}
    refused = create(alice, **owner)
    assert (refused.error_code, refused.hmac, refused.token_id) == (
        E.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        b"",
        "",
    )
    admin.allow(name_of(alice), Operation.CREATE_TOKENS, ResourceType.USER, f"User:{bob}x")
    assert create(alice, **owner).error_code == E.DELEGATION_TOKEN_AUTHORIZATION_FAILED
    admin.allow(name_of(alice), Operation.CREATE_TOKENS, ResourceType.USER, f"User:{bob}")
    token = made(alice, **owner)
    assert (token.principal_name, token.token_requester_principal_name) == (bob, name_of(alice))
    topic = admin.create_topic()
    admin.allow(bob, Operation.WRITE, ResourceType.TOPIC, topic)
    with logged_in(plain, token) as client:
        client.produced(topic, b"as bob")
    assert token.token_id not in seen(alice), "making one gives no right to see it"
    assert renew(alice, token.hmac).error_code == E.DELEGATION_TOKEN_OWNER_MISMATCH


def test_moving_the_end_is_for_owner_and_renewers(plain: Connection, admin: Client, alice: Client) -> None:
    renewer, stranger = admin.create_user(), admin.create_user()
    named = [Create.CreatableRenewers(principal_type="User", principal_name=renewer.user)]
    token = made(alice, renewers=named)
    with Client(plain.as_user(stranger)) as client:
        assert renew(client, token.hmac).error_code == E.DELEGATION_TOKEN_OWNER_MISMATCH
        assert expire(client, token.hmac).error_code == E.DELEGATION_TOKEN_OWNER_MISMATCH
        assert renew(client, b"x" * 32).error_code == E.DELEGATION_TOKEN_NOT_FOUND
        assert expire(client, b"").error_code == E.DELEGATION_TOKEN_NOT_FOUND
        assert seen(client) == {}
    with Client(plain.as_user(renewer)) as client:
        assert list(seen(client)) == [token.token_id]
        answer = renew(client, token.hmac, 10**18)
        assert (answer.error_code, answer.expiry_timestamp_ms) == (0, token.max_timestamp_ms)
        nearer = expire(client, token.hmac, HOUR)
        assert abs(nearer.expiry_timestamp_ms - token.issue_timestamp_ms - HOUR) < 60_000
        assert expire(client, token.hmac).error_code == 0
    assert renew(alice, token.hmac).error_code == E.DELEGATION_TOKEN_NOT_FOUND


def test_renewers_are_users(alice: Client) -> None:
    named = [Create.CreatableRenewers(principal_type="Group", principal_name="staff")]
    assert create(alice, renewers=named).error_code == E.INVALID_PRINCIPAL_TYPE


@pytest.mark.parametrize(
    ("asked_ms", "given_ms"), [(-1, 7 * 24 * HOUR), (0, 7 * 24 * HOUR), (10**15, 7 * 24 * HOUR)]
)
def test_the_broker_bounds_the_lifetime(alice: Client, asked_ms: int, given_ms: int) -> None:
    token = made(alice, max_lifetime_ms=asked_ms)
    assert token.max_timestamp_ms - token.issue_timestamp_ms == given_ms
    assert token.expiry_timestamp_ms - token.issue_timestamp_ms == 24 * HOUR


def test_who_sees_what(plain: Connection, admin: Client, alice: Client) -> None:
    one, two = made(alice), made(alice)
    viewer = admin.create_user()
    with Client(plain.as_user(viewer)) as client:
        assert seen(client, name_of(alice)) == {}
        admin.allow(viewer.user, Operation.DESCRIBE, ResourceType.DELEGATION_TOKEN, one.token_id)
        assert list(seen(client)) == [one.token_id]
        admin.allow(viewer.user, Operation.DESCRIBE_TOKENS, ResourceType.USER, f"User:{name_of(alice)}")
        found = seen(client, name_of(alice))
        assert set(found) == {one.token_id, two.token_id}
        assert found[one.token_id].hmac == b""
        assert seen(client, viewer.user) == {}
        nobody = m.DescribeDelegationTokenRequest(owners=[])
        assert client.call(ApiKey.DESCRIBE_DELEGATION_TOKEN, 3, nobody).tokens == []


# -- what stays and what shows -------------------------------------------------------------------------------


def test_tokens_survive_kill_9_and_no_file_or_log_holds_the_secret(own_directory: Path) -> None:
    broker = ShippedBroker(own_directory, settings=SETTINGS, protocols=("sasl_plaintext",))
    with broker:
        with Client(broker.connection("sasl_plaintext")) as client:
            token = made(client)
        broker.kill()
        broker.start()
        connection = broker.connection("sasl_plaintext")
        with logged_in(connection, token) as client:
            assert client.metadata().brokers
        with Client(connection, login=False) as client, pytest.raises(Refused):
            client.login(Account(token.token_id, account_of(token).password[:-4] + "AAA="), token_auth=True)
        assert broker.stop() == 0
    files = {str(path): path.read_bytes() for path in broker.data.rglob("*") if path.is_file()}
    files["log"] = broker.log.read_bytes()
    text = format_token(token.token_id, token.hmac)
    secrets = [bytes(token.hmac), account_of(token).password, text, text[20:63]]
    assert leaks(secrets, files) == []
    assert leaks([token.token_id], files) != [], "the control: its id is found"
