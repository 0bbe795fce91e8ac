"""Fetching keys: from the right server, in the right form, in time; over HTTPS on this machine."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from rivven.security.authn.oidc_fetch import FetchFailed, KeySource, fetch_keys
from tests.shipped.issuer import ScriptedIssuer, answer, answer_json
from tests.shipped.pki import Pki, make_pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def issuer(pki: Pki) -> Iterator[ScriptedIssuer]:
    with ScriptedIssuer(pki) as issuer:
        yield issuer


def source(issuer: ScriptedIssuer, discovery: bool = True) -> KeySource:
    path = "/.well-known/openid-configuration" if discovery else "/keys"
    return KeySource(issuer.url, issuer.url + path, discovery, issuer.pki.ca)


async def failure(source: KeySource, seconds_max: float = 5.0) -> str:
    with pytest.raises(FetchFailed) as caught:
        await fetch_keys(source, seconds_max)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("discovery", [True, False])
async def test_keys_by_discovery_or_directly(issuer: ScriptedIssuer, discovery: bool) -> None:
    keys = await fetch_keys(source(issuer, discovery))
    assert [key.kid for key in keys.keys] == ["key-1"]
    assert len(issuer.requests) == 1 + discovery


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"issuer": "https://evil.example"}, "is the document of another issuer: 'https://evil.example'"),
        ({"issuer": None}, "of another issuer"),
        ({"jwks_uri": None}, "names no jwks_uri"),
        ({"jwks_uri": ["x"]}, "names no jwks_uri"),
        ({"jwks_uri": "http://localhost/keys"}, "must be https"),
        ({"jwks_uri": "file:///etc/passwd"}, "must be a URL"),
        ({"jwks_uri": "https://localhost:1/keys"}, "https://localhost:1/keys: "),
    ],
)
async def test_a_discovery_document_that_is_not_right(
    issuer: ScriptedIssuer, members: dict[str, object], reason: str
) -> None:
    issuer.discovery = members
    assert reason in await failure(source(issuer))


def status(code: int) -> Callable[[BaseHTTPRequestHandler], bool]:
    def script(handler: BaseHTTPRequestHandler) -> bool:
        answer(handler, code, b"{}", Location="/elsewhere")
        return True

    return script


def body(data: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], bool]:
    def script(handler: BaseHTTPRequestHandler) -> bool:
        answer(handler, 200, data, **headers)
        return True

    return script


def endless(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" " * 65_536)
    return True


def cut_off(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True
    return True


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (status(301), "answered 301 instead of 200"),
        (status(302), "answered 302 instead of 200"),
        (status(404), "answered 404"),
        (status(503), "answered 503"),
        (status(204), "answered 204"),
        (body(b"<html>"), "key set: not JSON"),
        (body(b"[]"), "key set: not a JSON object"),
        (body(b'{"keys": []}'), "no usable key"),
        (body(b"\x1f\x8b", Content_Encoding="gzip"), "is compressed"),
        (body(b" " * 262_145), "more than 262144 bytes"),
        (endless, "more than 262144 bytes"),
        (cut_off, "Protocol"),
    ],
)
async def test_an_answer_that_is_not_right(
    issuer: ScriptedIssuer, script: Callable[[BaseHTTPRequestHandler], bool], reason: str
) -> None:
    issuer.script = script
    assert reason in await failure(source(issuer, discovery=False))
    assert issuer.requests == ["/keys"]


async def test_an_answer_that_drips_is_cut_off(issuer: ScriptedIssuer) -> None:
    """The limit is over everything: a byte now and then does not move it."""

    def drip(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b" ")
            time.sleep(0.05)
        return True

    issuer.script = drip
    started = time.monotonic()
    assert "no complete answer within 0.5 s" in await failure(source(issuer, discovery=False), 0.5)
    assert time.monotonic() - started < 1.5


async def test_a_certificate_of_another_authority(issuer: ScriptedIssuer, tmp_path: Path) -> None:
    stranger = make_pki(tmp_path / "stranger")
    assert "CERTIFICATE_VERIFY_FAILED" in await failure(replace(source(issuer), ca_path=stranger.ca))
    assert "CERTIFICATE_VERIFY_FAILED" in await failure(replace(source(issuer), ca_path=None))
    assert issuer.requests == []


async def test_a_certificate_for_another_name(issuer: ScriptedIssuer) -> None:
    elsewhere = issuer.url.replace("localhost", "127.1")  # the same address, not in the certificate
    assert "CERTIFICATE_VERIFY_FAILED" in await failure(replace(source(issuer, False), url=elsewhere))


@pytest.mark.parametrize("text", [None, "no certificate"])
async def test_authorities_that_cannot_be_read(
    issuer: ScriptedIssuer, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    assert f"ca_path: {path}: " in await failure(replace(source(issuer), ca_path=path))


async def test_new_authorities_count_from_the_next_fetch(issuer: ScriptedIssuer, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(make_pki(tmp_path / "old").ca.read_bytes())
    changing = replace(source(issuer), ca_path=path)
    await failure(changing)
    path.write_bytes(issuer.pki.ca.read_bytes())
    assert (await fetch_keys(changing)).keys


async def test_an_address_without_a_possible_host(issuer: ScriptedIssuer) -> None:
    """As it is written in the configuration, and as a discovery document names it."""
    assert "InvalidCodepoint" in await failure(KeySource("i", "https://xn--a.example/"))
    issuer.discovery = {"jwks_uri": "https://xn--a.example/keys"}
    assert "xn--a.example" in await failure(source(issuer))


async def test_nobody_listens() -> None:
    assert "ConnectError" in await failure(KeySource("x", "https://localhost:1/keys", False))


async def test_in_the_clear_only_to_this_machine_and_only_if_the_broker_is_insecure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        data = json.dumps({"keys": [ScriptedKey.jwk()]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
        await writer.drain()
        writer.close()

    from tests.shipped.issuer import SigningKey

    ScriptedKey = SigningKey()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    plain = KeySource("x", f"http://127.0.0.1:{port}/keys", False)
    assert "must be https" in await failure(plain)
    assert (await fetch_keys(replace(plain, insecure=True))).keys
    server.close()
    await server.wait_closed()


async def test_proxies_of_the_environment_are_not_asked(
    issuer: ScriptedIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/does/not/exist")
    assert (await fetch_keys(source(issuer))).keys


async def test_what_is_asked_carries_no_more_than_needed(issuer: ScriptedIssuer) -> None:
    seen: list[dict[str, str]] = []

    def record(handler: BaseHTTPRequestHandler) -> bool:
        seen.append(dict(handler.headers.items()))
        answer_json(handler, {"keys": [issuer.key.jwk()]})
        return True

    issuer.script = record
    await fetch_keys(source(issuer, discovery=False))
    [headers] = seen
    assert {name.lower() for name in headers} == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
    }
