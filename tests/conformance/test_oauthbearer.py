"""OAUTHBEARER over the wire of the shipped broker: bearer tokens of a scripted issuer, good and bad ones."""

from __future__ import annotations

import contextlib
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from rivven.protocol.api import ApiKey
from rivven.protocol.messages import MetadataRequest, SaslHandshakeRequest
from rivven.testing.canary import leaks
from tests.conformance.wire import Refused, Wire
from tests.shipped.broker import BrokerDidNotStart, ShippedBroker
from tests.shipped.issuer import ScriptedIssuer, SigningKey, answer, answer_json, assemble, claims, hmac_token
from tests.shipped.running_time import running_time

MECHANISM = "OAUTHBEARER"
REFUSAL = '{"status":"invalid_token"}'
LISTENER = {
    "name": "sasl_ssl",
    "bind": "127.0.0.1:0",
    "protocol": "sasl_ssl",
    "sasl": [MECHANISM, "SCRAM-SHA-256"],
}


def broker_for(directory: Path, *issuers: dict[str, Any], **oidc: Any) -> ShippedBroker:
    return ShippedBroker(
        directory,
        settings={
            "connection.failed.authentication.delay.ms": 0
        },  # dozens of failures, each longer than before
        extra={"listeners": [dict(LISTENER)], "auth": {"oidc": {"issuers": list(issuers), **oidc}}},
    )


def message(token: str, authzid: str = "") -> bytes:
    return f"n,{authzid},\x01auth=Bearer {token}\x01\x01".encode()


def login(broker: ShippedBroker, token: str, authzid: str = "") -> Wire:
    """An authenticated connection. Raises Refused with what the broker says at the very end."""
    wire = Wire(broker.connection(), login=False)
    try:
        handshake = wire.call(ApiKey.SASL_HANDSHAKE, 1, SaslHandshakeRequest(mechanism=MECHANISM))
        assert handshake.error_code == 0, handshake.mechanisms
        answer = wire.token(message(token, authzid))
        if answer:
            assert answer.decode() == REFUSAL
            wire.token(b"\x01")
            raise AssertionError("refused, and then not")
    except BaseException:
        wire.close()
        raise
    return wire


def works(wire: Wire) -> bool:
    """Whether the connection answers an ordinary request."""
    return wire.call(ApiKey.METADATA, 12, MetadataRequest(topics=[])).cluster_id is not None


def refusal(broker: ShippedBroker, token: str, authzid: str = "") -> str:
    """Try to log in; returns what the operator reads of it, the peer being told always the same."""
    before = len(broker.log.read_text())
    with pytest.raises(Refused) as caught:
        login(broker, token, authzid)
    assert (caught.value.code, caught.value.text) == (58, REFUSAL)
    # The log has a writer of its own, which may come after the answer.
    eventually(lambda: "authentication from" in broker.log.read_text()[before:])
    return broker.log.read_text()[before:]


def eventually(condition: Callable[[], bool], seconds_max: float = 10.0) -> float:
    """Seconds until the condition holds."""
    started = running_time()
    while not condition():
        assert running_time() - started < seconds_max
        time.sleep(0.02)
    return running_time() - started


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedIssuer]:
    from tests.shipped.pki import make_pki

    keys = SigningKey("ES256", "es"), SigningKey("RS256", "rs")
    with ScriptedIssuer(make_pki(tmp_path_factory.mktemp("issuer")), *keys) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, issuer: ScriptedIssuer) -> Iterator[ShippedBroker]:
    directory = tmp_path_factory.mktemp("broker")
    with broker_for(directory, issuer.settings(groups_claim="groups", prefix="kc-")) as broker:
        eventually(lambda: "keys of" in broker.tail())
        yield broker


def test_a_good_token_of_either_key_is_a_login(broker: ShippedBroker, issuer: ScriptedIssuer) -> None:
    for key in issuer.keys:
        with login(broker, issuer.token(key=key)) as wire:
            assert works(wire)
    assert "authenticated User:kc-alice" in broker.logged()


def test_the_session_ends_with_the_token(broker: ShippedBroker, issuer: ScriptedIssuer) -> None:
    with login(broker, issuer.token(exp=int(time.time()) + 3)) as wire:
        assert 1_000 < wire.session_lifetime_ms <= 3_000
        assert works(wire)
        assert wire.is_closed(6.0)


def test_a_token_is_renewed_on_the_live_connection(broker: ShippedBroker, issuer: ScriptedIssuer) -> None:
    with login(broker, issuer.token(exp=int(time.time()) + 5)) as wire:
        first = wire.session_lifetime_ms
        wire.call(ApiKey.SASL_HANDSHAKE, 1, SaslHandshakeRequest(mechanism=MECHANISM))
        assert wire.token(message(issuer.token())) == b""
        assert wire.session_lifetime_ms > 200_000 > first
        assert works(wire)
        time.sleep(1.1)  # Kafka's least time between two renewals
        wire.call(ApiKey.SASL_HANDSHAKE, 1, SaslHandshakeRequest(mechanism=MECHANISM))
        with pytest.raises(Refused):
            wire.token(message(issuer.token("mallory")))


def attacks(issuer: ScriptedIssuer) -> list[tuple[str, str]]:
    """(token, what the operator reads)."""
    es, rs = issuer.keys
    foreign = SigningKey("ES256", "es")
    now = int(time.time())
    good = claims(issuer.url)
    return [
        (assemble({"alg": "none"}, good, lambda _: b""), "alg: 'none'"),
        (hmac_token(rs.public_pem(), {"alg": "HS256", "kid": "rs"}, good), "alg: 'HS256'"),
        (issuer.token(key=foreign), "signature: "),
        (foreign.token(good, jwk=foreign.jwk(), jku="https://localhost:1/keys"), "signature: "),
        (es.token(good, kid="rs"), "alg: ES256 is not what the key is for"),
        (es.token(good, kid=None), "kid: missing"),
        (es.token(good, crit=["b64"], b64=False), "crit: "),
        (issuer.token(iss=issuer.url + "/"), "iss: "),
        (issuer.token(aud="another"), "aud: "),
        (issuer.token(aud=None), "aud: "),
        (issuer.token(exp=None), "exp: missing"),
        (issuer.token(exp=now - 3600), "exp: expired"),
        (issuer.token(exp=10**400), "exp: not a time"),
        (issuer.token(nbf=now + 3600), "nbf: "),
        (issuer.token(iat=now + 3600), "iat: "),
        (issuer.token(sub=None), "sub: "),
        (issuer.token(pad="x" * 17_000), "more than 16384 characters"),
        (es.token(good)[:-6], "signature: "),
        ("garbage", "not a signed JWT"),
        ("rvn_garbage", "API token"),
    ]


def test_every_bad_token_is_refused_alike_and_named_in_the_log(
    broker: ShippedBroker, issuer: ScriptedIssuer
) -> None:
    asked = len(issuer.requests)
    for token, reason in attacks(issuer):
        text = refusal(broker, token)
        assert reason in text, (reason, text)
        assert token[-40:] not in text
    assert "authorisation identity" in refusal(broker, issuer.token(), "a=root")
    assert len(issuer.requests) == asked


def test_no_token_is_found_in_log_metrics_or_what_the_client_hears(
    broker: ShippedBroker, issuer: ScriptedIssuer
) -> None:
    good, bad = issuer.token(jti="canary"), issuer.token(aud="canary-audience", exp=1)
    login(broker, good).close()
    refusal(broker, bad)
    host, port = broker.metrics_address()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as response:
        metrics = response.read()
    assert b'rivven_oidc_key_fetches_total{issuer="' + issuer.url.encode() in metrics
    outputs = {"log": broker.log.read_bytes(), "metrics": metrics}
    assert leaks([part for token in (good, bad) for part in token.split(".")[1:]], outputs) == []
    assert leaks([good], {"control": good}) != []


def test_a_failure_is_reported_although_the_client_hangs_up_at_the_challenge(
    broker: ShippedBroker, issuer: ScriptedIssuer
) -> None:
    before = len(broker.log.read_text())
    with Wire(broker.connection(), login=False) as wire:
        wire.call(ApiKey.SASL_HANDSHAKE, 1, SaslHandshakeRequest(mechanism=MECHANISM))
        assert wire.token(message(issuer.token(aud="another"))).decode() == REFUSAL
    eventually(lambda: "aud: " in broker.log.read_text()[before:])
    assert broker.log.read_text()[before:].count("aud: ") == 1


def test_a_malformed_message_is_refused_at_once(broker: ShippedBroker) -> None:
    for data in (b"", b"\x01", b"n,,\x01auth=Basic x\x01\x01", b"\xff" * 100):
        with Wire(broker.connection(), login=False) as wire:
            wire.call(ApiKey.SASL_HANDSHAKE, 1, SaslHandshakeRequest(mechanism=MECHANISM))
            with pytest.raises(Refused) as caught:
                wire.token(data)
            assert caught.value.code == 58


def test_a_name_of_ours_is_refused_from_outside(tmp_path: Path, issuer: ScriptedIssuer) -> None:
    with broker_for(tmp_path / "b", issuer.settings(groups_claim="groups")) as broker:
        assert "super user" in refusal(broker, issuer.token("admin")) or "local user" in broker.logged()
        assert "the group name" in refusal(broker, issuer.token("bob", groups=["admin"]))
        with login(broker, issuer.token("bob")) as wire:
            assert works(wire)


def test_a_rotated_key_is_no_outage(tmp_path: Path, issuer: ScriptedIssuer) -> None:
    with ScriptedIssuer(issuer.pki) as own, broker_for(tmp_path / "b", own.settings()) as broker:
        login(broker, own.token()).close()
        own.keys = [SigningKey("RS256", "new")]
        started = time.monotonic()
        login(broker, own.token()).close()
        assert (
            time.monotonic() - started < 15
        )  # the least time between two fetches is 5 s, the longest wait 12 s


def test_an_outage_keeps_the_last_good_keys(tmp_path: Path, issuer: ScriptedIssuer) -> None:
    with ScriptedIssuer(issuer.pki) as own, broker_for(tmp_path / "b", own.settings()) as broker:
        login(broker, own.token()).close()
        own.script = lambda handler: answer(handler, 503, b"down") or True  # type: ignore[func-returns-value]
        stranger = SigningKey("ES256", "unknown")
        assert "kid: 'unknown'" in refusal(broker, own.token(key=stranger))
        assert "answered 503 instead of 200" in broker.logged()
        login(broker, own.token()).close()


def slow(handler: BaseHTTPRequestHandler) -> bool:
    time.sleep(8)
    return False


def redirected(handler: BaseHTTPRequestHandler) -> bool:
    answer(handler, 302, b"", Location="/elsewhere")
    return True


def huge(handler: BaseHTTPRequestHandler) -> bool:
    answer(handler, 200, b'{"keys": [' + b" " * 300_000 + b"]}")
    return True


def compressed(handler: BaseHTTPRequestHandler) -> bool:
    answer(handler, 200, b"\x1f\x8b", Content_Encoding="gzip")
    return True


def of_another_issuer(handler: BaseHTTPRequestHandler) -> bool:
    answer_json(handler, {"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"})
    return True


def in_the_clear(handler: BaseHTTPRequestHandler) -> bool:
    host = handler.headers["Host"]
    answer_json(handler, {"issuer": f"https://{host}", "jwks_uri": f"http://{host}/keys"})
    return True


def at_no_host(handler: BaseHTTPRequestHandler) -> bool:
    answer_json(
        handler, {"issuer": f"https://{handler.headers['Host']}", "jwks_uri": "https://xn--a.example"}
    )
    return True


WRONG_ANSWERS = {
    slow: "no complete answer within 5 s",
    redirected: "answered 302",
    huge: "more than 262144 bytes",
    compressed: "is compressed",
    of_another_issuer: "is the document of another issuer",
    in_the_clear: "must be https",
    at_no_host: "InvalidCodepoint",
}


def test_keys_are_not_taken_from_an_answer_that_is_not_right(tmp_path: Path, issuer: ScriptedIssuer) -> None:
    with contextlib.ExitStack() as running:
        scripted = {script: running.enter_context(ScriptedIssuer(issuer.pki)) for script in WRONG_ANSWERS}
        for script, one in scripted.items():
            one.script = script
        settings = [one.settings(prefix=f"{number}-") for number, one in enumerate(scripted.values())]
        with broker_for(tmp_path / "b", *settings) as broker:
            for script, one in scripted.items():
                reason = WRONG_ANSWERS[script]
                eventually(lambda url=one.url, reason=reason: logged(broker, url, reason))  # type: ignore[misc]
            assert all("/elsewhere" not in one.requests for one in scripted.values())
            with Wire(broker.connection()) as wire:  # other ways in do not wait for it
                assert works(wire)
            for mended in (redirected, at_no_host):
                scripted[mended].script = None
                login(broker, scripted[mended].token()).close()


def logged(broker: ShippedBroker, *texts: str) -> bool:
    """Whether one line of the broker's log has all of the texts."""
    return any(all(text in line for text in texts) for line in broker.log.read_text().splitlines())


def test_an_issuer_whose_certificate_is_not_trusted_gives_no_keys(
    tmp_path: Path, issuer: ScriptedIssuer
) -> None:
    from tests.shipped.pki import make_pki

    stranger = make_pki(tmp_path / "stranger")
    settings = issuer.settings(ca_path=str(stranger.ca))
    with broker_for(tmp_path / "b", settings) as broker:
        eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in broker.tail())


def test_taking_an_issuer_out_of_its_file_ends_its_connections(
    tmp_path: Path, issuer: ScriptedIssuer
) -> None:
    path = tmp_path / "issuers.yaml"
    with ScriptedIssuer(issuer.pki) as second:
        both = [issuer.settings(prefix="one-"), second.settings(prefix="two-")]
        path.write_text(yaml.safe_dump({"issuers": both}))
        with broker_for(tmp_path / "b", issuers_file=str(path)) as broker:
            with login(broker, issuer.token()) as gone, login(broker, second.token()) as stays:
                assert works(gone) and works(stays)
                path.write_text("")  # as an editor begins
                time.sleep(0.02)
                path.write_text("issuers: [{issuer: broken")
                eventually(lambda: "not taken over" in broker.tail())
                assert works(gone)
                path.write_text(yaml.safe_dump({"issuers": both[1:]}))
                assert eventually(lambda: gone.is_closed(0.01)) < 1.0
                assert works(stays)
            assert "is not a trusted issuer" in refusal(broker, issuer.token())
            path.write_text(yaml.safe_dump({"issuers": both}))
            eventually(lambda: broker.tail().count("taken over, 2 issuers") == 1)
            login(broker, issuer.token()).close()


GOOD_ISSUER = {"issuer": "https://a.example", "audiences": ["x"]}


@pytest.mark.parametrize("where", ["listener", "admin", "both"])
def test_beside_client_certificates_an_issuer_needs_a_prefix(
    tmp_path: Path, issuer: ScriptedIssuer, where: str
) -> None:
    """CN=alice of an authority and alice of an issuer are not one person, wherever certificates are shown."""
    broker = broker_for(tmp_path / "b", issuer.settings())
    broker.init()
    pki = tmp_path / "b" / "pki"
    tls = {"cert_path": str(pki / "server.crt"), "key_path": str(pki / "server.key")}
    asking = {**tls, "ca_path": str(pki / "ca.crt"), "client_auth": "required"}
    certificates = {"name": "ssl", "bind": "127.0.0.1:0", "protocol": "ssl", "tls": asking}
    if where != "admin":
        broker.change(listeners=[dict(LISTENER), certificates])
    if where != "listener":
        broker.change(admin={"bind": "127.0.0.1:0", "tls": dict(asking)})
    with pytest.raises(BrokerDidNotStart, match="needs a prefix, as it is not the only external source"):
        broker.start()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (
            {"listeners": [LISTENER | {"protocol": "sasl_plaintext"}]},
            "listeners[0].sasl: OAUTHBEARER sends the token",
        ),
        ({"auth": {"oidc": {"issuers": [{"issuer": "https://a.example"}]}}}, "audiences: is required"),
        (
            {"auth": {"oidc": {"issuers": [{"issuer": "http://a.example", "audiences": ["x"]}]}}},
            "http://a.example/.well-known/openid-configuration must be https",
        ),
        (
            {
                "auth": {
                    "oidc": {
                        "issuers": [
                            {"issuer": "https://a.example", "audiences": ["x"], "prefix": "a-"},
                            {"issuer": "https://b.example", "audiences": ["x"]},
                        ]
                    }
                }
            },
            "issuer https://b.example needs a prefix",
        ),
        ({"auth": {"oidc": {"issuers_file": "/does/not/exist"}}}, "No such file"),
        (
            {"auth": {"oidc": {"issuers": [GOOD_ISSUER]}}, "listeners": [LISTENER | {"sasl": ["PLAIN"]}]}
            | {"admin": {"enabled": False}},
            "auth.oidc: has no effect: no listener offers OAUTHBEARER",
        ),
    ],
)
def test_a_start_that_is_refused(tmp_path: Path, keys: dict[str, Any], reason: str) -> None:
    broker = ShippedBroker(tmp_path / "b")
    broker.init()
    broker.change(**keys)
    with pytest.raises(BrokerDidNotStart, match=re.escape(reason)):
        broker.start()
