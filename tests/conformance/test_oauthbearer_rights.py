"""What bearer tokens of an identity provider may do, on every way in, and how they are taken back alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rivven.errors import ErrorCode
from rivven.protocol.api import ApiKey
from rivven.protocol.messages import CreateDelegationTokenRequest, SaslHandshakeRequest
from rivven.security.authn.token_text import format_token
from tests.conformance.client import Client, batch, fresh
from tests.conformance.live import PROMISED_S
from tests.conformance.test_oauthbearer import (
    LISTENER,
    MECHANISM,
    broker_for,
    eventually,
    login,
    message,
    refusal,
    works,
)
from tests.conformance.web import web_of
from tests.conformance.wire import Closed, Refused, Wire
from tests.shipped.broker import ShippedBroker
from tests.shipped.issuer import ScriptedIssuer, SigningKey
from tests.shipped.pki import make_pki
from tests.shipped.running_time import running_time


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedIssuer]:
    with ScriptedIssuer(make_pki(tmp_path_factory.mktemp("issuer"))) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, issuer: ScriptedIssuer) -> Iterator[ShippedBroker]:
    roles = {"writers": "producer", "platform": "admin"}
    trusted = issuer.settings(groups_claim="groups", prefix="kc-", group_roles=roles)
    extra = {
        "listeners": [dict(LISTENER)],
        "auth": {"oidc": {"issuers": [trusted]}},
        "authorization": {"authorizers": ["acl", "rbac"], "super_users": ["User:admin"]},
    }
    settings = {"connection.failed.authentication.delay.ms": 0}
    with ShippedBroker(tmp_path_factory.mktemp("broker"), settings=settings, extra=extra) as broker:
        yield broker


@pytest.fixture(scope="module")
def topic(broker: ShippedBroker) -> str:
    with Client(broker.connection()) as admin:
        return admin.create_topic(fresh())


def as_bearer(broker: ShippedBroker, token: str) -> Client:
    """A client that has logged in with the token."""
    client = Client(broker.connection(), login=False)
    client.call(ApiKey.SASL_HANDSHAKE, 1, SaslHandshakeRequest(mechanism=MECHANISM))
    assert client.token(message(token)) == b""
    return client


def test_groups_of_the_token_have_the_roles_of_the_mapping(
    broker: ShippedBroker, issuer: ScriptedIssuer, topic: str
) -> None:
    answers = {}
    for group in ("writers", "readers", "producer", "kc-writers"):
        with as_bearer(broker, issuer.token(groups=[group])) as client:
            answers[group] = client.produce(topic, batch(b"v")).error_code
    denied = ErrorCode.TOPIC_AUTHORIZATION_FAILED
    assert answers == {"writers": 0, "readers": denied, "producer": denied, "kc-writers": denied}


def test_bearer_tokens_are_logins_of_the_admin_api(broker: ShippedBroker, issuer: ScriptedIssuer) -> None:
    web = web_of(broker)
    path = "/v1/revocations"
    assert web.with_token(issuer.token(groups=["platform"])).get(path).status == 200
    assert web.with_token(issuer.token(groups=["writers"])).get(path).status == 403
    refused = [
        web.with_token(token).get(path)
        for token in (issuer.token(aud="x"), issuer.token(exp=1), issuer.token(key=SigningKey()), "garbage")
    ]
    assert {one.status for one in refused} == {401}
    assert len({str(one.json["detail"]) for one in refused}) == 1


def revoke(broker: ShippedBroker, **body: object) -> float:
    """Over the Admin API; the moment of its answer."""
    answer = web_of(broker).post("/v1/revocations", body)
    assert answer.status == 201, answer
    return running_time()


def closed_within(wire: Wire, seconds: float) -> bool:
    try:
        return wire.is_closed(seconds)
    except Closed:
        return True


def test_one_token_is_revoked_by_its_id(broker: ShippedBroker, issuer: ScriptedIssuer) -> None:
    bad, good = issuer.token(jti="bad"), issuer.token(jti="good")
    with login(broker, bad) as ends, login(broker, good) as stays:
        assert works(ends)
        answered = revoke(broker, kind="jwt-id", value="bad", issuer=issuer.url)
        assert closed_within(ends, PROMISED_S)
        assert running_time() - answered < PROMISED_S
        assert works(stays)
    assert "revoked: jwt-id bad" in refusal(broker, bad)
    login(broker, good).close()


def test_all_older_tokens_of_a_subject_are_revoked_at_once(
    broker: ShippedBroker, issuer: ScriptedIssuer
) -> None:
    now = int(time.time())
    old, new = issuer.token("bob", iat=now - 20), issuer.token("bob", iat=now)
    other = issuer.token("carol", iat=now - 20)
    with login(broker, old) as ends, login(broker, new) as newer, login(broker, other) as stays:
        facts = {"value": "bob", "issuer": issuer.url, "issued_before_ms": (now - 10) * 1000}
        revoke(broker, kind="jwt-subject", **facts)
        assert closed_within(ends, PROMISED_S)
        assert works(newer) and works(stays)
    assert "revoked: jwt-subject bob" in refusal(broker, old)
    assert "revoked: jwt-subject bob" in refusal(broker, issuer.token("bob", iat=None))
    login(broker, new).close()


def made_token(wire: Wire) -> str:
    """An API token of whoever is logged in, by Kafka's API 38."""
    request = CreateDelegationTokenRequest(max_lifetime_ms=-1)
    answer = wire.call(ApiKey.CREATE_DELEGATION_TOKEN, 3, request)
    assert answer.error_code == 0
    return format_token(answer.token_id, answer.hmac)


def test_a_token_ends_with_the_jwt_it_was_made_with(broker: ShippedBroker, issuer: ScriptedIssuer) -> None:
    """By subject and by id, made by Kafka's API and by the Admin API; what others made stays."""
    now = int(time.time())
    with login(broker, issuer.token("erin", iat=now - 20)) as wire:
        by_kafka = made_token(wire)
    with login(broker, issuer.token("erin", iat=now)) as wire:
        newer = made_token(wire)
    answer = web_of(broker).with_token(issuer.token("finn", jti="stolen")).post("/v1/tokens", {"name": "t"})
    assert answer.status == 201
    by_web = answer.json["token"]
    subject = {"value": "erin", "issuer": issuer.url, "issued_before_ms": (now - 10) * 1000}
    for token, what in (
        (by_kafka, {"kind": "jwt-subject", **subject}),
        (by_web, {"kind": "jwt-id", "value": "stolen", "issuer": issuer.url}),
    ):
        with login(broker, token) as ends, login(broker, newer) as stays:
            assert works(ends)
            answered = revoke(broker, **what)
            assert closed_within(ends, PROMISED_S)
            assert running_time() - answered < PROMISED_S
            assert works(stays)
        assert f"made with a jwt: revoked: {what['kind']} {what['value']}" in refusal(broker, token)
        assert web_of(broker).with_token(token).get("/v1/tokens").status == 401
    login(broker, newer).close()


def test_a_token_ends_with_the_issuer_of_its_maker(tmp_path: Path, issuer: ScriptedIssuer) -> None:
    """Taken out of the file; a start of the broker later it is still so."""
    path = tmp_path / "issuers.yaml"
    with ScriptedIssuer(issuer.pki) as second:
        both = [issuer.settings(prefix="one-"), second.settings(prefix="two-")]
        path.write_text(yaml.safe_dump({"issuers": both}))
        with broker_for(tmp_path / "b", issuers_file=str(path)) as broker:
            tokens = []
            for source in (issuer, second):
                with login(broker, source.token()) as wire:
                    tokens.append(made_token(wire))
            with login(broker, tokens[0]) as gone, login(broker, tokens[1]) as stays:
                assert works(gone) and works(stays)
                path.write_text(yaml.safe_dump({"issuers": both[1:]}))
                assert closed_within(gone, PROMISED_S)
                assert works(stays)
            why = f"made with a jwt: the issuer {issuer.url} is no longer trusted"
            assert why in refusal(broker, tokens[0])
            broker.restart()
            assert why in refusal(broker, tokens[0])
            login(broker, tokens[1]).close()
            path.write_text(yaml.safe_dump({"issuers": both}))
            eventually(lambda: "taken over, 2 issuers" in broker.log.read_text())
            login(broker, tokens[0]).close()


def test_a_user_created_under_the_name_of_an_external_one_ends_its_connections(
    broker: ShippedBroker, issuer: ScriptedIssuer
) -> None:
    from tests.interop.reference import Reference

    with login(broker, issuer.token("dave")) as ends:
        Reference(broker.connection()).create_user("kc-dave", "Wonder-land 42!")
        assert closed_within(ends, PROMISED_S + 0.5)
    assert "local user" in refusal(broker, issuer.token("dave"))


def test_a_good_token_gets_in_while_strangers_invent_keys(
    broker: ShippedBroker, issuer: ScriptedIssuer
) -> None:
    """From the same address. The provider hears of it a few times at most."""
    asked = len(issuer.requests)
    over = threading.Event()

    def attack(number: int) -> None:
        stranger, count = SigningKey("ES256", "x"), 0
        while not over.is_set():
            stranger.kid, count = f"guess-{number}-{count}", count + 1
            try:
                login(broker, issuer.token(key=stranger)).close()
            except (Refused, Closed, OSError):
                pass

    attackers = [threading.Thread(target=attack, args=(number,), daemon=True) for number in range(12)]
    for one in attackers:
        one.start()
    started = time.monotonic()
    while time.monotonic() - started < 6:
        began = running_time()
        login(broker, issuer.token()).close()
        assert running_time() - began < 2
        time.sleep(0.2)
    over.set()
    for one in attackers:
        one.join(20)
    seconds = time.monotonic() - started
    assert len(issuer.requests) - asked <= 2 * (2 + seconds / 5)  # two documents each time
    assert "too many logins wait" in broker.log.read_text()
