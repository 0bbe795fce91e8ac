"""Requests that are refused before anything looks at them: names, origins, bodies, smuggling."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from rivven.http.admin import hygiene
from rivven.http.admin.hygiene import BODY_BYTES_MAX, HEADERS_MAX, host_name
from rivven.http.admin.routes import Call, Input, Media, Open, Raw, Route, Self_
from tests.shipped.pki import Pki
from tests.unit.http.admin.serving import ALICE, Served, serving

JSON = {"Content-Type": "application/json", "Authorization": ALICE}


class Text(Input):
    text: str


async def echo(call: Call) -> Text:
    return Text(text=str(len(call.body.text)))


async def yes(_call: Call) -> Raw:
    return Raw(b"yes")


ROWS = [
    Route("GET", "/probe", Open("a probe"), yes, "Probe", Media("text/plain")),
    Route("GET", "/v1/me", Self_("about the caller"), yes, "Me", Media("text/plain")),
    Route(
        "POST",
        "/v1/echo",
        Self_("about the caller"),
        echo,
        "Echo",
        Text,
        request=Text,
        audited="role_change",
        facts=lambda call: {"text": call.body.text},
    ),
]


@pytest.fixture
async def served(pki: Pki) -> AsyncIterator[Served]:
    async with serving(ROWS, pki) as one:
        yield one


@pytest.mark.parametrize(
    ("header", "name"),
    [("Localhost", "localhost"), ("localhost:9094", "localhost"), ("[::1]:9094", "::1"), ("[::1]", "::1")],
)
def test_a_port_is_no_part_of_a_name(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1", "", "localhost@evil", "[", "]"]
)
async def test_another_name_is_another_server(served: Served, host: str) -> None:
    assert (await served.ask("/v1/me", headers=JSON | {"Host": host})).status == 421
    assert (await served.ask("/probe", headers={"Host": host})).status == 200


async def test_pages_of_other_sites_are_refused(served: Served) -> None:
    for origin in ("https://evil.example", "http://localhost", "https://localhost:1", "null", ""):
        assert (await served.ask("/v1/me", headers=JSON | {"Origin": origin})).status == 403
    assert (await served.ask("/v1/me", headers=JSON | {"Origin": "https://localhost"})).status == 200


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonx",
    ],
)
async def test_only_json_changes_anything(served: Served, kind: str) -> None:
    answer = await served.ask("/v1/echo", "POST", JSON | {"Content-Type": kind}, b'{"text": "a"}')
    assert answer.status == 415
    for good in ("application/json", "Application/JSON; charset=UTF-8"):
        assert (
            await served.ask("/v1/echo", "POST", JSON | {"Content-Type": good}, b'{"text": "a"}')
        ).status == 200


async def test_compressed_bodies_are_refused(served: Served) -> None:
    assert (await served.ask("/v1/echo", "POST", JSON | {"Content-Encoding": "gzip"}, b"{}")).status == 415


async def test_a_body_has_an_end(served: Served) -> None:
    fits = json.dumps({"text": "x" * (BODY_BYTES_MAX - 12)}).encode()
    assert len(fits) == BODY_BYTES_MAX
    assert (await served.ask("/v1/echo", "POST", JSON, fits)).status == 200
    # Refused by its length, before a byte of it is read.
    head = b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for length in (BODY_BYTES_MAX + 1, 10**18):
        [answer] = await served.raw(head + b"Content-Length: %d\r\n\r\n" % length)
        assert (answer.status, answer.headers["connection"]) == (413, "close")


async def test_a_chunked_body_has_an_end_too(served: Served) -> None:
    head = f"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: {ALICE}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    reader, writer = await served.connect()
    writer.write(head.encode())
    for _ in range(17):
        writer.write(chunk)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    assert answer.startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_caller_without_an_identity_cannot_send_for_ever(served: Served) -> None:
    head = b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    [answer] = await served.raw(head + b"Content-Length: 1000000\r\n\r\n{")
    assert (answer.status, answer.headers["connection"]) == (401, "close")


async def test_a_body_that_does_not_come(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hygiene, "BODY_SECONDS_MAX", 0.2)
    head = f"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: {ALICE}\r\n"
    [answer] = await served.raw(
        head.encode() + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )
    assert (answer.status, answer.headers["connection"]) == (408, "close")


GET = b"GET /v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + ALICE.encode() + b"\r\n"

SMUGGLED = {
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET + b"\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 4\r\n\r\n" + GET + b"\r\n",
    "a length of letters": b"Content-Length: 4x\r\n\r\n" + GET + b"\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n" + GET + b"\r\n",
    "another coding": b"Transfer-Encoding: gzip\r\n\r\n" + GET + b"\r\n",
    "two codings": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + GET + b"\r\n",
    "a space before the colon": b"Content-Length : 4\r\n\r\n" + GET + b"\r\n",
    "a folded header": b"X: a\r\n b\r\nContent-Length: 4\r\n folded\r\n\r\n" + GET + b"\r\n",
    "two hosts": b"Host: evil.example\r\n\r\n" + GET + b"\r\n",
    "a null in a value": b"X: a\x00b\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_a_request_that_can_be_read_in_two_ways(served: Served, rest: bytes) -> None:
    """It gets one refusal and the connection ends: what comes behind it is nobody's request."""
    answers = await served.raw(GET + rest)
    assert [answer.status for answer in answers] in ([400], [431], [501])


async def test_requests_on_one_connection_each_prove_who_sends_them(served: Served) -> None:
    anonymous = b"GET /v1/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = await served.raw(GET + b"\r\n" + GET + b"\r\n" + anonymous)
    assert [answer.status for answer in answers] == [200, 200, 401]


async def test_too_many_or_too_large_headers(served: Served) -> None:
    many = b"".join(b"X-%d: y\r\n" % number for number in range(HEADERS_MAX))
    assert [one.status for one in await served.raw(GET + many + b"\r\n")] == [431]
    # All at once it is read whole and refused; in pieces it is not even kept.
    assert [one.status for one in await served.raw(GET + b"X: " + b"y" * 40_000 + b"\r\n\r\n")] == [431]
    assert [one.status for one in await served.raw(GET + b"X: " + b"y" * 40_000)] == [400]
    assert [one.status for one in await served.raw(b"GET /" + b"y" * 40_000)] == [400]


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_what_is_not_http(served: Served, garbage: bytes, status: int) -> None:
    assert [one.status for one in await served.raw(garbage + b"\r\n\r\n" * 10)] == [status]


async def test_a_websocket_is_not_opened(served: Served) -> None:
    answer = await served.ask(
        "/v1/me", headers=JSON | {"Upgrade": "websocket", "Connection": "close, upgrade"}
    )
    assert answer.status == 200
    assert "upgrade" not in answer.headers
