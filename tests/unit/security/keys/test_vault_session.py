"""Sessions with a transit server: every way to log in, renewal, ended tokens, and what is never said."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rivven.config.storage import VaultConfig
from rivven.security.keys.provider import KeyRefused, ProviderUnavailable
from rivven.security.keys.vault_session import VaultSession, renewal_delay
from rivven.testing.canary import leaks
from tests.shipped.pki import make_pki
from tests.shipped.transit import POD, ROLE, ROOT_TOKEN, Token, TransitServer
from tests.unit.security.keys.clock import HandClock

KEY = "transit/keys/rivven"
WAIT_SECONDS_MAX = 30.0


@pytest.fixture
def server() -> Iterator[TransitServer]:
    with TransitServer() as server:
        yield server


@pytest.fixture
def connect(
    server: TransitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., VaultSession]]:
    """Makes sessions: by the token in the file `token` unless told otherwise."""
    (tmp_path / "token").write_text(f"{ROOT_TOKEN}\n")
    (tmp_path / "jwt").write_text(f"{POD[1]}\n")
    monkeypatch.setenv("TEST_SECRET_ID", ROLE[1])
    monkeypatch.setenv("VAULT_TOKEN", "a token of somebody else")
    made: list[VaultSession] = []
    auths = {
        "token": {"token": f"file:{tmp_path / 'token'}"},
        "approle": {"method": "approle", "role_id": ROLE[0], "secret_id": "env:TEST_SECRET_ID"},
        "kubernetes": {"method": "kubernetes", "role": POD[0], "jwt_path": tmp_path / "jwt"},
    }

    def connect(method: str = "token", clock: HandClock | None = None, **fields: object) -> VaultSession:
        auth = auths[method] | dict(fields.pop("auth", {}))  # type: ignore[call-overload]
        config = VaultConfig.model_validate({"address": server.url, "auth": auth} | fields)
        made.append(VaultSession(config, clock))
        return made[-1]

    yield connect
    for session in made:
        session.close()


Connect = Callable[..., VaultSession]


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.01)


@pytest.mark.parametrize("method", ["token", "approle", "kubernetes"])
def test_every_way_to_log_in_works_once_and_for_all(
    server: TransitServer, connect: Connect, method: str
) -> None:
    session = connect(method)
    assert session.get(KEY)["latest_version"] == session.get(KEY)["latest_version"] == 1
    assert len(server.asked("/login")) == (0 if method == "token" else 1)


@pytest.mark.parametrize("method", ["approle", "kubernetes"])
def test_a_refused_login_is_refused_in_one_line(
    server: TransitServer, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("TEST_SECRET_ID", "not-the-secret")
    (tmp_path / "jwt").write_text("not.the.token")
    with pytest.raises(KeyRefused, match=f"auth/{method}/login: the login was refused") as caught:
        connect(method).get(KEY)
    assert not leaks(["not-the-secret", "not.the.token"], {"error": f"{caught.value!r}"})
    with pytest.raises(KeyRefused, match="auth/elsewhere/login: nothing is mounted there"):
        connect(method, auth={"mount": "elsewhere"}).get(KEY)


@pytest.mark.parametrize(
    ("method", "break_it", "why"),
    [
        ("token", lambda path: (path / "token").unlink(), "token: No such file"),
        ("token", lambda path: (path / "token").write_text("a\nb"), "is no token"),
        ("kubernetes", lambda path: (path / "jwt").unlink(), "jwt: No such file"),
        ("kubernetes", lambda path: (path / "jwt").write_bytes(b""), "does not hold a token"),
        ("kubernetes", lambda path: (path / "jwt").write_bytes(bytes([0x80]) * 9), "does not hold a token"),
        ("kubernetes", lambda path: (path / "jwt").write_bytes(b"x" * 70_000), "does not hold a token"),
    ],
)
def test_credentials_that_cannot_be_read_are_named(
    server: TransitServer,
    connect: Connect,
    tmp_path: Path,
    method: str,
    break_it: Callable[[Path], object],
    why: str,
) -> None:
    break_it(tmp_path)
    with pytest.raises(KeyRefused, match=f"storage.encryption.vault.auth: .*{why}"):
        connect(method).get(KEY)
    assert not server.requests


def test_the_environments_token_is_not_ours(server: TransitServer, connect: Connect) -> None:
    connect("approle").get(KEY)
    sent = {request.headers.get("X-Vault-Token") for request in server.requests}
    assert "a token of somebody else" not in sent


def test_an_ended_token_is_replaced_and_a_denial_logs_in_once(
    server: TransitServer, connect: Connect
) -> None:
    clock = HandClock()
    session = connect("approle", clock)
    session.get(KEY)
    server.tokens.clear()  # revoked
    session.get(KEY)
    assert len(server.asked("/login")) == 2
    server.granted = Token(paths="nothing/")
    server.tokens.clear()
    clock.seconds += 11
    for _ in range(3):
        with pytest.raises(KeyRefused, match="permission denied"):
            session.get(KEY)
    assert len(server.asked("/login")) == 3, "a policy that denies is not asked again and again"
    server.granted = Token()
    clock.seconds += 11
    session.get(KEY)


def test_many_threads_log_in_once(server: TransitServer, connect: Connect) -> None:
    session = connect("approle")
    for logins in (1, 2):
        server.tokens = {ROOT_TOKEN: server.tokens[ROOT_TOKEN]}
        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(lambda _: session.get(KEY)["latest_version"], range(8)))
        assert versions == [1] * 8
        assert len(server.asked("/login")) == logins


def test_an_outage_of_the_login_is_no_denial(server: TransitServer, connect: Connect) -> None:
    session = connect("approle", HandClock())
    session.get(KEY)
    server.tokens.clear()
    away = server.fault("/login", 503, {"errors": []})
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            session.get(KEY)
    server.faults.remove(away)
    assert session.get(KEY)["latest_version"] == 1


def test_a_new_token_in_the_file_is_taken(server: TransitServer, connect: Connect, tmp_path: Path) -> None:
    clock = HandClock()
    session = connect("token", clock)
    session.get(KEY)
    server.tokens = {"s.another": Token()}
    with pytest.raises(KeyRefused, match="permission denied"):
        session.get(KEY)
    (tmp_path / "token").write_text("s.another")
    with pytest.raises(KeyRefused, match="permission denied"):
        session.get(KEY)
    clock.seconds += 11
    assert session.get(KEY)["latest_version"] == 1


def test_a_token_that_may_not_ask_about_itself_still_works(server: TransitServer, connect: Connect) -> None:
    server.fault("lookup-self", 403, {"errors": ["permission denied"]})
    assert connect().get(KEY)["latest_version"] == 1


# -- renewal -------------------------------------------------------------------------------------------------


def test_a_token_is_renewed_before_it_ends(server: TransitServer, connect: Connect) -> None:
    server.tokens[ROOT_TOKEN] = Token(lease=3, renewable=True)
    session = connect()
    session.get(KEY)
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 3.5, "more than its lease")
    assert server.asked("renew-self")
    assert session.get(KEY)["latest_version"] == 1


@pytest.mark.parametrize("method", ["approle", "kubernetes"])
def test_a_login_that_cannot_be_renewed_is_made_anew(
    server: TransitServer, connect: Connect, method: str
) -> None:
    server.granted = Token(lease=2, grace=60)
    session = connect(method)
    session.get(KEY)
    until(lambda: len(server.asked("/login")) >= 2, "a second login")
    assert not server.asked("renew-self")
    assert session.get(KEY)["latest_version"] == 1


def test_a_lease_that_shrinks_means_a_new_login(server: TransitServer, connect: Connect) -> None:
    server.granted = Token(lease=2, grace=60, renewable=True)
    connect("approle").get(KEY)
    server.fault("renew-self", 200, {"auth": {"lease_duration": 1, "renewable": True}})
    until(lambda: len(server.asked("/login")) >= 2, "a second login")
    assert server.asked("renew-self")


def test_a_renewal_that_fails_is_tried_again(
    server: TransitServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server.tokens[ROOT_TOKEN] = Token(lease=2, grace=60, renewable=True)
    connect().get(KEY)
    server.fault("renew-self", 503, {"errors": [f"sealed {ROOT_TOKEN}"]}, times=1)
    until(lambda: len(server.asked("renew-self")) >= 2, "another renewal")
    assert "could not be renewed" in caplog.text
    assert not leaks([ROOT_TOKEN], {"log": caplog.text})


def test_closing_ends_the_renewal(server: TransitServer, connect: Connect) -> None:
    server.tokens[ROOT_TOKEN] = Token(lease=2, grace=60, renewable=True)
    session = connect()
    session.get(KEY)
    session.close()
    session.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "vault-renewal"]


@pytest.mark.parametrize(
    ("lease", "delay"),
    [(3, 2), (3600, 2400), (0.5, 1), (1e9, 86_400)],
    ids=["short", "hour", "tiny", "years"],
)
def test_delays_are_two_thirds_within_limits(lease: float, delay: float) -> None:
    assert renewal_delay(lease) == pytest.approx(delay)


# -- the line ------------------------------------------------------------------------------------------------


def test_silence_ends_with_the_time_limit(server: TransitServer, connect: Connect) -> None:
    session = connect(timeout_secs=1.0)
    session.get(KEY)
    server.fault("transit/", hold=True)
    with pytest.raises(ProviderUnavailable, match="no answer in time"):
        session.get(KEY)


def test_a_server_that_does_not_speak_tls_is_refused(server: TransitServer, connect: Connect) -> None:
    session = connect(address=server.url.replace("http:", "https:"))
    with pytest.raises(ProviderUnavailable, match="certificate is not trusted, or it does not speak TLS"):
        session.get(KEY)


def test_authorities_that_are_not_there_are_named(connect: Connect, tmp_path: Path) -> None:
    session = connect(address="https://127.0.0.1:1", ca_path=tmp_path / "no-such-file")
    with pytest.raises(KeyRefused, match="no-such-file"):
        session.get(KEY)


def test_a_certificate_is_checked_against_the_authorities(connect: Connect, tmp_path: Path) -> None:
    pki, other = make_pki(tmp_path / "pki"), make_pki(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate, pki.key)
    with TransitServer() as server:
        server.speak_tls(context)
        address = server.url.replace("http://127.0.0.1", "https://localhost")
        assert connect(address=address, ca_path=pki.ca).get(KEY)["latest_version"] == 1
        with pytest.raises(ProviderUnavailable, match="certificate is not trusted"):
            connect(address=address, ca_path=other.ca).get(KEY)


@pytest.mark.parametrize(
    ("suites", "spoken"), [("ECDHE-ECDSA-AES256-GCM-SHA384", True), ("ECDHE-ECDSA-AES256-SHA384", False)]
)
def test_tls_is_that_of_every_connection_of_the_broker(
    connect: Connect, tmp_path: Path, suites: str, spoken: bool
) -> None:
    """Suites without AEAD are refused, which the library itself would take."""
    pki = make_pki(tmp_path / "pki")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate, pki.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suites)
    with TransitServer() as server:
        server.speak_tls(context)
        session = connect(address=server.url.replace("http://127.0.0.1", "https://localhost"), ca_path=pki.ca)
        if spoken:
            assert session.get(KEY)["latest_version"] == 1
        else:
            with pytest.raises(ProviderUnavailable):
                session.get(KEY)


def test_authorities_are_read_anew_for_every_connection(connect: Connect, tmp_path: Path) -> None:
    pki, other = make_pki(tmp_path / "pki"), make_pki(tmp_path / "other")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(pki.ca.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate, pki.key)
    with TransitServer() as server:
        server.speak_tls(context)
        address = server.url.replace("http://127.0.0.1", "https://localhost")
        session = connect(address=address, ca_path=ca)
        for content, trusted in ((pki, True), (other, False), (pki, True)):
            ca.write_bytes(content.ca.read_bytes())
            session._adapter().session.close()  # as after a pause: the next request connects
            if trusted:
                assert session.get(KEY)["latest_version"] == 1
            else:
                with pytest.raises(ProviderUnavailable, match="certificate is not trusted"):
                    session.get(KEY)


def test_nothing_secret_is_said_anywhere(
    server: TransitServer, connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for method in ("token", "approle", "kubernetes"):
        session = connect(method)
        session.get(KEY)
        said += [repr(session), str(session)]
        server.fault("transit/", 500, {"errors": [ROOT_TOKEN, ROLE[1]]}, times=1)
        with pytest.raises(ProviderUnavailable) as caught:
            session.get(KEY)
        said += [f"{caught.value!r} {caught.value.__cause__!r}"]
    issued = [token for token in server.tokens if token != ROOT_TOKEN]
    assert len(issued) == 2
    outputs = {"said": "\n".join(said), "log": caplog.text}
    assert not leaks([ROOT_TOKEN, ROLE[1], POD[1], *issued], outputs)
