"""What the audit trail says about changes of users, tokens, roles and revocations: whom, and to what."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven_client.admin import AdminApi, path
from rivven_client.profile import Profile
from tests.conformance.client import Client, fresh
from tests.conformance.live import is_refused
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientAuthority
from tests.shipped.connection import Connection
from tests.shipped.trail import Event, events, wait_for

MTLS = "ssl"
PASSWORD = "Long-enough-4-this!"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, authority: ClientAuthority) -> Iterator[ShippedBroker]:
    directory = tmp_path_factory.mktemp("broker")
    tls = {
        "cert_path": str(directory / "pki" / "server.crt"),
        "key_path": str(directory / "pki" / "server.key"),
        "ca_path": str(authority.ca),
        "client_auth": "required",
    }
    extra = {
        "listeners": [
            {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl"},
            {"name": MTLS, "bind": "127.0.0.1:0", "protocol": "ssl", "tls": tls},
        ],
        "auth": {"mtls_mapping": {"type": "common_name", "prefix": "x509:"}, "scram": {"iterations": 4096}},
    }
    with ShippedBroker(directory, extra=extra) as made:
        yield made
        assert made.stop() == 0, made.tail()


@pytest.fixture(scope="module")
def plain(broker: ShippedBroker) -> Connection:
    return broker.connection("sasl_ssl")


@pytest.fixture
def api(broker: ShippedBroker, plain: Connection) -> AdminApi:
    settings = plain.librdkafka()
    return AdminApi(Profile("test", {k: str(v) for k, v in settings.items()}, broker.admin_url()))


def told(broker: ShippedBroker, before: int, event_type: str) -> list[Event]:
    """What the trail has since; a change's records are on the disk before its answer leaves."""
    return [event for event in events(broker)[before:] if event["event_type"] == event_type]


def outcome(told: list[Event], resource: str) -> dict[str, Any]:
    """The facts of an intent that is followed by its success."""
    assert [(one["resource"], one["result"]) for one in told] == [(resource, "intent"), (resource, "success")]
    return dict(told[0]["details"])


def test_users(broker: ShippedBroker, api: AdminApi) -> None:
    name = fresh("user")
    before = len(events(broker))
    api.post(path("users"), {"name": name, "password": PASSWORD, "groups": ["payments"]})
    assert outcome(told(broker, before, "user_change"), f"user:{name}")["groups"] == ["payments"]
    before = len(events(broker))
    api.patch(path("users", name), {"enabled": False, "add_groups": ["g"], "remove_groups": ["payments"]})
    facts = outcome(told(broker, before, "user_change"), f"user:{name}")
    assert (facts["enabled"], facts["add_groups"], facts["remove_groups"]) == (False, ["g"], ["payments"])
    assert PASSWORD not in (broker.data / "audit" / "audit.log").read_text()


def test_roles(broker: ShippedBroker, api: AdminApi) -> None:
    name = fresh("role")
    before = len(events(broker))
    api.post(
        path("roles"),
        {"name": name, "permissions": [{"resource": "topic:orders-*", "actions": ["consume", "describe"]}]},
    )
    facts = outcome(told(broker, before, "role_change"), f"role:{name}")
    assert facts["permissions"] == ["topic:orders-*:consume,describe"]
    before = len(events(broker))
    api.post(path("roles", name, "members"), {"members": ["user:mallory"]})
    assert outcome(told(broker, before, "role_change"), f"role:{name}")["given_to"] == ["user:mallory"]
    before = len(events(broker))
    api.delete(path("roles", name, "members", "user:mallory"))
    assert outcome(told(broker, before, "role_change"), f"role:{name}")["taken_from"] == "user:mallory"


def test_tokens_of_the_admin_api(broker: ShippedBroker, api: AdminApi) -> None:
    before = len(events(broker))
    made = api.post(path("tokens"), {"name": "ci", "scope": ["topic:ci-*:produce"]})
    intent, result = told(broker, before, "token_change")
    assert (intent["resource"], intent["details"]["scope"]) == (
        "delegation-token:new",
        ["topic:ci-*:produce"],
    )
    resource = f"delegation-token:{made['info']['id']}"
    assert (result["resource"], result["result"]) == (resource, "success")
    before = len(events(broker))
    api.post(path("tokens", made["info"]["id"], "rotate"), {"overlap_ms": 5})
    assert outcome(told(broker, before, "token_change"), resource)["overlap_ms"] == 5


def test_tokens_of_kafkas_apis_which_name_them_by_their_secret(
    broker: ShippedBroker, plain: Connection
) -> None:
    with Client(plain) as client:
        create = m.CreateDelegationTokenRequest(max_lifetime_ms=-1)
        token = client.call(ApiKey.CREATE_DELEGATION_TOKEN, 3, create)
        for key, request in (
            (
                ApiKey.RENEW_DELEGATION_TOKEN,
                m.RenewDelegationTokenRequest(hmac=token.hmac, renew_period_ms=-1),
            ),
            (
                ApiKey.EXPIRE_DELEGATION_TOKEN,
                m.ExpireDelegationTokenRequest(hmac=token.hmac, expiry_time_period_ms=-1),
            ),
        ):
            before = len(events(broker))
            assert client.call(key, 2, request).error_code == 0
            outcome(told(broker, before, "token_change"), f"delegation-token:{token.token_id}")
        before = len(events(broker))
        unknown = m.ExpireDelegationTokenRequest(hmac=b"s" * 32, expiry_time_period_ms=-1)
        assert client.call(ApiKey.EXPIRE_DELEGATION_TOKEN, 2, unknown).error_code != 0
        assert {one["resource"] for one in told(broker, before, "token_change")} == {
            "delegation-token:unknown"
        }
    assert base64.b64encode(token.hmac).decode() not in (broker.data / "audit" / "audit.log").read_text()


def test_revocations(broker: ShippedBroker, api: AdminApi) -> None:
    before = len(events(broker))
    made = api.post(
        path("revocations"), {"kind": "jwt-id", "value": "7f3c", "issuer": "https://id", "reason": "stolen"}
    )
    facts = outcome(told(broker, before, "session_change"), f"revocation:{made['id']}")
    assert (facts["kind"], facts["value"], facts["issuer"], facts["reason"]) == (
        "jwt-id",
        "7f3c",
        "https://id",
        "stolen",
    )
    before = len(events(broker))
    api.delete(path("revocations", made["id"]))
    outcome(told(broker, before, "session_change"), f"revocation:{made['id']}")


def test_certificates_that_the_handshake_refuses(
    broker: ShippedBroker, authority: ClientAuthority, tmp_path: Path
) -> None:
    mtls = broker.connection(MTLS)
    foreign = ClientAuthority(tmp_path / "foreign", "foreign").issue("shop")
    for files, reason in (
        (None, "did not return a certificate"),
        (foreign, "unable to get local issuer"),
        (authority.issue("shop", seconds=-1), "certificate has expired"),
    ):
        assert is_refused(mtls.with_certificate(files))

        def refused(event: Event, reason: str = reason) -> bool:
            return event["event_type"] == "authentication" and reason in (event["reason"] or "")

        (event,) = wait_for(broker, refused)
        assert (event["result"], event["listener"], event["mechanism"]) == ("failure", MTLS, "MTLS")
        assert event["client_ip"] == "127.0.0.1"
