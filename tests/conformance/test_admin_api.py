"""The Admin API of the shipped broker: the ways in, who may what, and every route of its own document."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rivven.testing.canary import leaks
from rivven.types import Operation, ResourceType
from tests.conformance.client import Client
from tests.conformance.web import Answer, Web, web_of
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientAuthority
from tests.shipped.connection import Account
from tests.shipped.on_disk import contents

SETTINGS = {"connection.failed.authentication.delay.ms": 1}  # what it does is measured elsewhere
READ_ONLY = ["/v1/cluster", "/v1/listeners", "/v1/tls/certificates", "/metrics"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients") / "pki")


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory, authority: ClientAuthority) -> dict[str, object]:
    """Certificates are welcome on the Admin API, and on no other listener."""
    pki = tmp_path_factory.getbasetemp() / "admin-api"
    return {
        "admin": {
            "bind": "127.0.0.1:0",
            "names": ["admin.example"],
            "tls": {
                "cert_path": str(pki / "server.crt"),
                "key_path": str(pki / "server.key"),
                "client_auth": "optional",
                "ca_path": str(authority.ca),
            },
        },
        "auth": {"mtls_mapping": {"type": "common_name"}},
    }


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, extra: dict[str, object], settings: dict[str, object]
) -> Iterator[ShippedBroker]:
    directory = tmp_path_factory.mktemp("broker")
    made = ShippedBroker(directory, settings=settings, protocols=("sasl_ssl", "sasl_plaintext"))
    admin = dict(extra["admin"])  # type: ignore[call-overload]
    admin["tls"] |= {"cert_path": str(made.pki.certificate), "key_path": str(made.pki.key)}
    made.change(**(extra | {"admin": admin}))
    with made:
        yield made
        assert made.running, f"the broker died: {made.tail()}"
        assert made.stop() == 0, made.tail()
    assert "Traceback" not in made.log.read_text(errors="replace"), made.tail()


@pytest.fixture
def web(broker: ShippedBroker) -> Web:
    return web_of(broker)


def refused(answer: Answer, status: int) -> None:
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status


def test_a_password_is_a_way_in(web: Web) -> None:
    found = web.get("/v1/whoami").json
    assert (found["principal"], found["mechanism"], found["credential"]) == (
        "User:admin",
        "BASIC",
        "password",
    )


def test_a_token_is_a_way_in_until_it_is_revoked(web: Web) -> None:
    made = web.post("/v1/tokens", {"name": "scraper", "ttl_ms": 3_600_000})
    assert made.status == 201, made.text
    token, token_id = made.json["token"], made.json["info"]["id"]
    assert token.startswith("rvn_")
    bearer = web.with_token(token)
    found = bearer.get("/v1/whoami").json
    assert (found["principal"], found["mechanism"], found["credential"]) == ("User:admin", "BEARER", "token")
    # The same token in a password's place: for clients that know no other way.
    by_password = web.as_user(Account("token", token)).get("/v1/whoami")
    assert (by_password.status, by_password.json["credential"]) == (200, "token")
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    refused(web.with_token(wrong).get("/v1/whoami"), 401)
    gone = web.ask("DELETE", f"/v1/tokens/{token_id}")
    assert gone.status in (200, 204), gone.text
    refused(bearer.get("/v1/whoami"), 401)


def test_a_client_certificate_is_a_way_in(web: Web, authority: ClientAuthority) -> None:
    shown = web.with_certificate(authority.issue("admin"))
    # A name from outside that equals a user's is nobody's.
    refused(shown.get("/v1/whoami"), 401)
    found = web.with_certificate(authority.issue("robot")).get("/v1/whoami")
    assert found.status == 200, found.text
    assert (found.json["mechanism"], found.json["credential"]) == ("MTLS", "certificate")
    assert found.json["principal"] == "User:robot"
    refused(web.with_certificate(authority.issue("robot")).get("/v1/cluster"), 403)


def test_a_certificate_that_has_expired_or_is_foreign_opens_nothing(
    web: Web, authority: ClientAuthority, tmp_path: Path
) -> None:
    expired = authority.issue("robot", seconds=-60)
    foreign = ClientAuthority(tmp_path / "foreign").issue("robot")
    for files in (expired, foreign):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            web.with_certificate(files).get("/v1/whoami")


def test_everything_wrong_is_the_same_401(web: Web, user: Account) -> None:
    nobody = web.as_nobody().get("/v1/whoami")
    refused(nobody, 401)
    wrong = [
        web.as_user(replace(user, password="wrong")),
        web.as_user(Account("no-such-user", user.password)),
        web.with_token("rvn_unknown"),
        web.with_token("eyJhbGciOiJub25lIn0.e30."),
        replace(web, authorization="Digest x"),
    ]
    for caller in wrong:
        answer = caller.get("/v1/cluster")
        refused(answer, 401)
        assert answer.text == nobody.text
        assert answer.headers["www-authenticate"] == nobody.headers["www-authenticate"]


def test_a_user_may_what_rules_say(web: Web, admin: Client, user: Account) -> None:
    caller = web.as_user(user)
    assert caller.get("/v1/whoami").json["principal"] == f"User:{user.user}"
    for path in READ_ONLY:
        refused(caller.get(path), 403)
    admin.allow(user.user, Operation.DESCRIBE, ResourceType.CLUSTER, "kafka-cluster")
    for path in READ_ONLY:
        assert caller.get(path).status == 200


def test_probes_need_nothing_and_tell_nothing(web: Web) -> None:
    nobody = web.as_nobody()
    assert nobody.get("/healthz").json == {"healthy": True}
    assert nobody.get("/readyz").json == {"ready": True}
    refused(nobody.get("/metrics"), 401)


def test_metrics_are_those_of_the_loopback_listener(web: Web, broker: ShippedBroker) -> None:
    connection = http.client.HTTPConnection(*broker.metrics_address(), timeout=10)
    connection.request("GET", "/metrics")
    loopback = connection.getresponse().read().decode()
    connection.close()
    answer = web.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    names = [
        set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)) for text in (loopback, answer.text.decode())
    ]
    assert names[0] == names[1]
    assert len(names[0]) > 15


def test_the_facts_are_those_of_this_broker(web: Web, broker: ShippedBroker) -> None:
    cluster = web.get("/v1/cluster").json
    assert (cluster["cluster_id"], cluster["node_id"]) == (broker.ready["cluster_id"], 1)
    listeners = {one["name"]: one for one in web.get("/v1/listeners").json["items"]}
    assert {name: one["address"] for name, one in listeners.items()} == broker.ready["listeners"]
    certificates = {one["key"]: one for one in web.get("/v1/tls/certificates").json["items"]}
    der = ssl.PEM_cert_to_DER_cert(broker.pki.certificate.read_text())
    assert certificates["admin.tls"]["sha256"] == hashlib.sha256(der).hexdigest()
    assert certificates["admin.tls"]["not_after"].endswith("Z")


def routes_of(web: Web) -> list[tuple[str, str, str]]:
    """(method, path, permission) of every route, by the broker's own document."""
    document = web.get("/openapi.json").json
    return [
        (method.upper(), path, operation["x-rivven-permission"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def test_every_route_refuses_whoever_may_nothing(web: Web, user: Account) -> None:
    """The body is broken on purpose: whoever may not use a route must not hear that."""
    routes = routes_of(web)
    assert len(routes) > 15
    for method, path, permission in routes:
        target = re.sub(r"\{\w+\}", "x", path)
        anonymous = web.as_nobody().ask(method, target, ["broken"])
        caller = web.as_user(user).ask(method, target, ["broken"])
        if permission == "nobody has to log in":
            assert (anonymous.status, caller.status) == (200, 200), path
            continue
        assert anonymous.status == 401, (method, path)
        if permission == "any user":
            assert caller.status == 200, (method, path)
        elif permission.endswith(("on the cluster", "}")):
            assert caller.status == 403, (method, path, permission, caller.text)
        else:  # the handler asks, once it knows what about
            assert caller.status in (200, 403, 422), (method, path, caller.text)
            if caller.status == 200 and not permission.startswith("any user about himself"):
                assert caller.json["items"] == [], (method, path)


def test_another_name_needs_to_be_configured(web: Web) -> None:
    place = urlsplit(web.url)
    for name, status in (("admin.example", 200), ("evil.example", 421), ("127.0.0.1", 200)):
        context = ssl.create_default_context(cafile=str(web.ca))
        connection = http.client.HTTPSConnection(
            place.hostname or "", place.port, context=context, timeout=10
        )
        connection.putrequest("GET", "/v1/whoami", skip_host=True)
        connection.putheader("Host", name)
        connection.putheader("Authorization", web.authorization or "")
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_plain_http_gets_nothing(web: Web) -> None:
    place = urlsplit(web.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=10) as sock:
        sock.sendall(
            f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: {web.authorization}\r\n\r\n".encode()
        )
        received = b""
        try:
            while chunk := sock.recv(4096):
                received += chunk
        except ConnectionError:
            pass
    assert b"HTTP" not in received


def test_the_right_password_gets_in_during_an_attack(web: Web, user: Account) -> None:
    """From the same address: failures are answered late, not successes."""
    place = urlsplit(web.url)
    attackers = []
    for number in range(20):
        context = ssl.create_default_context(cafile=str(web.ca))
        one = http.client.HTTPSConnection(place.hostname or "", place.port, context=context, timeout=30)
        bad = web.as_user(Account(f"guess-{number}", "wrong")).authorization or ""
        one.request("GET", "/v1/whoami", headers={"Authorization": bad})
        attackers.append(one)
    assert web.as_user(user).get("/v1/whoami").status == 200
    for one in attackers:
        one.close()


def test_no_secret_is_said_anywhere(web: Web, broker: ShippedBroker, user: Account) -> None:
    secret = "Canary-8471-password!"
    answers = [web.as_user(Account(user.user, secret)).get("/v1/whoami")]
    answers.append(web.post("/v1/users", {"name": "", "password": secret, "colour": secret}))
    outputs = {f"answer {number}": answer.text for number, answer in enumerate(answers)}
    outputs |= {"log": broker.log.read_bytes(), "metrics": web.get("/metrics").text}
    outputs |= {
        "audit": b"".join(content for path, content in contents(broker.data) if path.name.startswith("audit"))
    }
    assert not leaks([secret, broker.admin.password], outputs)
    assert leaks([secret], {"control": json.dumps({"x": secret})})
