"""The listener as a driver: TLS, certificates, deadlines, how many may connect, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from rivven.http.admin import connection, server
from rivven.http.admin.routes import Call, Media, Raw, Route, Self_
from rivven.http.admin.server import AdminServer
from tests.shipped.client_certificates import ClientAuthority
from tests.shipped.pki import Pki, make_pki
from tests.unit.http.admin.serving import ALICE, Served, new_admission, serving

GET = b"GET /v1/me HTTP/1.1\r\nHost: localhost\r\n"
HELLO = GET + b"Authorization: " + ALICE.encode() + b"\r\n\r\n"


async def me(call: Call) -> Raw:
    return Raw(f"{call.subject.principal} by {call.subject.mechanism}".encode())


async def slow(_call: Call) -> Raw:
    await asyncio.sleep(30)
    return Raw(b"late")


ROWS = [
    Route("GET", "/v1/me", Self_("about the caller"), me, "Me", Media("text/plain")),
    Route("GET", "/v1/slow", Self_("about the caller"), slow, "Slow", Media("text/plain")),
]


@pytest.fixture
async def served(pki: Pki) -> AsyncIterator[Served]:
    async with serving(ROWS, pki) as one:
        yield one


async def ends(reader: asyncio.StreamReader, seconds: float = 5.0) -> bytes:
    """What comes until the server closes the connection."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        return await asyncio.wait_for(reader.read(), seconds)
    return b""


async def test_a_client_certificate_is_an_identity(pki: Pki, tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "clients")
    client = authority.issue("alice")
    async with serving(ROWS, pki, client_ca=authority.ca) as served:
        assert (await served.ask("/v1/me")).status == 401
        served.doors.certificates.owner = client.der
        with_certificate = ssl.create_default_context(cafile=str(pki.ca))
        with_certificate.load_cert_chain(client.certificate, client.key)
        shown = replace(served, context=with_certificate)
        assert (await shown.ask("/v1/me")).body == b"User:alice by MTLS"


async def test_a_certificate_of_another_authority_ends_the_handshake(pki: Pki, tmp_path: Path) -> None:
    ours, theirs = ClientAuthority(tmp_path / "ours"), ClientAuthority(tmp_path / "theirs")
    stranger = theirs.issue("alice")
    async with serving(ROWS, pki, client_ca=ours.ca) as served:
        context = ssl.create_default_context(cafile=str(pki.ca))
        context.load_cert_chain(stranger.certificate, stranger.key)
        reader, writer = await replace(served, context=context).connect()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            writer.write(HELLO)
        assert not await ends(reader)
        writer.close()


async def test_plain_http_gets_nothing_from_the_tls_port(served: Served) -> None:
    reader, writer = await replace(served, tls=False).connect()
    writer.write(HELLO)
    assert not await ends(reader)
    writer.close()
    assert (await served.ask("/v1/me", headers={"Authorization": ALICE})).status == 200


async def test_tls_gets_nothing_from_a_plain_port(pki: Pki) -> None:
    async with serving(ROWS, pki, tls=False, anonymous=True) as served:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await replace(served, tls=True).connect()
        assert (await served.ask("/v1/me")).body == b"User:ANONYMOUS by none"
        assert (await served.ask("/v1/me", headers={"Authorization": ALICE})).status == 400


async def test_each_connection_takes_the_context_that_is_current(pki: Pki, tmp_path: Path) -> None:
    other = make_pki(tmp_path / "other", "other")
    contexts = []
    for one in (pki, other):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(one.certificate, one.key)
        contexts.append(context)
    async with serving(ROWS, pki) as served:
        assert (await served.ask("/v1/me")).status == 401, "what answers is built now and stays"
        served.server.open(new_admission(), lambda: contexts[0], lambda: None)  # type: ignore[arg-type, return-value]
        assert (await served.ask("/v1/me")).status == 401
        reader, writer = await served.connect()
        contexts.reverse()
        with pytest.raises(ssl.SSLCertVerificationError):
            await served.connect()
        trusting = replace(served, context=ssl.create_default_context(cafile=str(other.ca)))
        assert (await trusting.ask("/v1/me")).status == 401
        writer.write(GET + b"Connection: close\r\n\r\n")
        assert b" 401 " in await ends(reader), "a connection keeps the certificate it began with"
        writer.close()


async def test_a_handshake_that_does_not_come(pki: Pki) -> None:
    async with serving(ROWS, pki, admission=new_admission(handshake_timeout_s=0.2)) as served:
        reader, writer = await replace(served, tls=False).connect()
        assert not await ends(reader)
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET /v1/me HTTP/1.1\r\n", b"GET /"])
async def test_a_head_that_does_not_come(
    served: Served, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS_MAX", 0.3)
    reader, writer = await served.connect()
    started = asyncio.get_running_loop().time()
    for byte in begun:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.01)  # each byte is a sign of life, and not enough
    assert not await ends(reader)
    assert asyncio.get_running_loop().time() - started < 2
    writer.close()


async def test_a_second_head_that_does_not_come(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await served.connect()
    monkeypatch.setattr(connection, "HEAD_SECONDS_MAX", 0.3)
    writer.write(HELLO)
    await reader.readuntil(b"BASIC")
    writer.write(b"GET /v1")
    assert not await ends(reader)
    writer.close()


async def test_an_answer_that_does_not_come(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS_MAX", 0.3)
    reader, writer = await served.connect()
    writer.write(HELLO.replace(b"/me", b"/slow"))
    assert not await ends(reader)
    writer.close()


async def test_strangers_make_room(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that holds all its connections can still log in; those that have logged in stay."""
    monkeypatch.setattr(server, "CONNECTIONS_PER_PEER_MAX", 3)
    reader, writer = await served.connect()
    writer.write(HELLO)
    await reader.readuntil(b"BASIC")
    strangers = [await served.connect() for _ in range(2)]
    newest = await served.connect()
    assert not await ends(strangers[0][0]), "the oldest stranger has made room"
    for known in (reader, writer), newest:
        known[1].write(HELLO)
        assert await asyncio.wait_for(known[0].readuntil(b"BASIC"), 5)
    assert not strangers[1][0].at_eof()
    for _, one in [*strangers, newest, (reader, writer)]:
        one.close()


async def test_when_everybody_has_logged_in_nobody_is_thrown_out(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_PER_PEER_MAX", 1)
    reader, writer = await served.connect()
    writer.write(HELLO)
    await reader.readuntil(b"BASIC")
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await served.connect()
    writer.write(HELLO)
    await asyncio.wait_for(reader.readuntil(b"BASIC"), 5)
    writer.close()


async def test_every_connection_is_given_back(pki: Pki) -> None:
    admission = new_admission()
    async with serving(ROWS, pki, admission=admission) as served:
        for _ in range(3):
            await served.ask("/v1/me")
        plain = await replace(served, tls=False).connect()
        plain[1].write(b"GET / HTTP/1.1\r\n\r\n")
        await ends(plain[0])
        plain[1].close()
        held = await served.connect()
        assert admission.connections >= 1
        held[1].close()
        for _ in range(500):
            if not admission.connections:
                break
            await asyncio.sleep(0.01)
        assert admission.connections == 0


async def test_the_end_does_not_wait_for_anybody(pki: Pki) -> None:
    async with serving(ROWS, pki) as served:
        idle, busy, mute = [await served.connect() for _ in range(3)]
        busy[1].write(HELLO.replace(b"/me", b"/slow"))
        mute[1].write(b"GET /v1")
        await asyncio.sleep(0.05)
        await asyncio.wait_for(served.server.stop(), 5)
        for reader, writer in (idle, busy, mute):
            last = await ends(reader)
            assert b" 503 " in last if writer is busy[1] else not last
            writer.close()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await served.connect()


async def test_a_taken_port_is_an_os_error(served: Served) -> None:
    with pytest.raises(OSError, match="in use"):
        AdminServer(str(served.address)).bind()
