"""The client of the Admin API against a real listener: answers, pages, and failures a person can act on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rivven.http.admin.pages import LIMIT_MAX, Listing, PageQuery, page
from rivven.http.admin.problems import Problem, from_error
from rivven.http.admin.routes import Call, Input, Media, Raw, Route, Self_
from rivven.security.keys.operations import KeysBusy
from rivven_cli.exits import Exit, from_client
from rivven_client.admin import AdminApi, path
from rivven_client.failures import ClientFailed, FailureKind
from rivven_client.profile import Profile
from tests.shipped.client_certificates import ClientAuthority
from tests.shipped.pki import Pki, make_pki
from tests.unit.http.admin.serving import Served, serving

NAMES = [f"{number:05}" for number in range(LIMIT_MAX * 2 + 1)]


class Thing(Input):
    name: str


async def one(call: Call) -> Thing:
    return Thing(name=call.path["name"])


async def many(call: Call) -> Listing[Thing]:
    return page(NAMES, str, lambda name: Thing(name=name), call.query)


async def echo(call: Call) -> Thing:
    return Thing(name=f"{call.body.name} by {call.subject.mechanism}")


async def gone(_call: Call) -> None:
    return None


async def failing(call: Call) -> Thing:
    if call.path["name"] == "busy":
        raise from_error(KeysBusy("a rewrap is under way"))
    raise Problem(int(call.path["name"]), "as it is")


async def text(_call: Call) -> Raw:
    return Raw(b"not JSON")


WHO = Self_("about the caller")
ROWS = [
    Route("GET", "/v1/things/{name}", WHO, one, "One", Thing),
    Route("GET", "/v1/things", WHO, many, "Many", Listing[Thing], query=PageQuery),
    Route(
        "POST",
        "/v1/things",
        WHO,
        echo,
        "Make",
        Thing,
        request=Thing,
        audited="role_change",
        facts=lambda call: {"name": call.body.name},
    ),
    Route("DELETE", "/v1/things/{name}", WHO, gone, "Delete", status=204, audited="role_change"),
    Route("GET", "/v1/failing/{name}", WHO, failing, "Fail", Thing),
    Route("GET", "/v1/text", WHO, text, "Text", Media("text/plain")),
]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("client-pki") / "pki")


@pytest.fixture
async def served(pki: Pki) -> AsyncIterator[Served]:
    async with serving(ROWS, pki) as running:
        yield running


def profile_of(served: Served, pki: Pki, token: str = "", **settings: str) -> Profile:
    known = {"sasl.username": "alice", "sasl.password": "correct horse", "ssl.ca.location": str(pki.ca)}
    scheme = "https" if served.tls else "http"
    url = f"{scheme}://localhost:{served.address.port}"
    return Profile("test", {**known, **{k.replace("_", "."): v for k, v in settings.items()}}, url, token)


async def called(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments)


async def failure(function: Callable[..., Any], *arguments: Any) -> ClientFailed:
    with pytest.raises(ClientFailed) as caught:
        await called(function, *arguments)
    return caught.value


async def test_calls_and_answers(served: Served, pki: Pki) -> None:
    api = AdminApi(profile_of(served, pki), 10)
    assert await called(api.get, path("things", "a/b ü?")) == {"name": "a/b ü?"}
    assert await called(api.post, path("things"), {"name": "x"}) == {"name": "x by BASIC"}
    assert await called(api.delete, path("things", "x")) is None
    names = [one["name"] for one in await called(lambda: list(api.listing(path("things"))))]
    assert names == NAMES


async def test_a_token_or_a_certificate_instead_of_a_password(
    served: Served, pki: Pki, tmp_path: Path
) -> None:
    api = AdminApi(profile_of(served, pki, token="rvn_alice", sasl_password="wrong"), 10)
    assert await called(api.post, path("things"), {"name": "x"}) == {"name": "x by BEARER"}
    authority = ClientAuthority(tmp_path / "clients")
    client = authority.issue("alice")
    async with serving(ROWS, pki, client_ca=authority.ca) as asking:
        asking.doors.certificates.owner = client.der
        files = {"ssl_certificate_location": str(client.certificate), "ssl_key_location": str(client.key)}
        api = AdminApi(profile_of(asking, pki, sasl_username="", **files), 10)
        assert await called(api.post, path("things"), {"name": "x"}) == {"name": "x by MTLS"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, FailureKind.DENIED),
        (404, FailureKind.NOT_FOUND),
        (409, FailureKind.EXISTS),
        (422, FailureKind.INVALID),
        (503, FailureKind.OTHER),
    ],
)
async def test_problems_are_failures_of_a_kind(
    served: Served, pki: Pki, status: int, kind: FailureKind
) -> None:
    found = await failure(AdminApi(profile_of(served, pki), 10).get, path("failing", str(status)))
    assert (found.reason, found.kind) == ("as it is", kind)


async def test_work_that_has_to_end_first_is_no_name_that_is_taken(served: Served, pki: Pki) -> None:
    found = await failure(AdminApi(profile_of(served, pki), 10).get, path("failing", "busy"))
    assert (found.reason, found.kind) == ("a rewrap is under way", FailureKind.BUSY)
    shown = from_client(found)
    assert "try again" in shown.hint and "name" not in shown.hint
    assert shown.code == Exit.EXISTS


async def test_a_wrong_field_is_named(served: Served, pki: Pki) -> None:
    found = await failure(AdminApi(profile_of(served, pki), 10).post, path("things"), {"nam": "x"})
    assert found.kind is FailureKind.INVALID
    assert "body.name" in found.reason


async def test_a_wrong_password_is_not_repeated(served: Served, pki: Pki) -> None:
    found = await failure(
        AdminApi(profile_of(served, pki, sasl_password="canary-77"), 10).get, path("things")
    )
    assert found.kind is FailureKind.AUTHENTICATION
    assert "canary" not in found.reason


async def test_nothing_secret_goes_without_tls(pki: Pki) -> None:
    async with serving(ROWS, pki, tls=False, anonymous=True) as plain:
        api = AdminApi(profile_of(plain, pki, token="rvn_alice"), 10)
        assert await called(api.post, path("things"), {"name": "x"}) == {"name": "x by none"}


async def test_who_cannot_be_reached_or_trusted(served: Served, pki: Pki, tmp_path: Path) -> None:
    other = make_pki(tmp_path / "other", "other")
    assert (await failure(AdminApi(profile_of(served, other), 10).get, "/v1/things")).kind is FailureKind.TLS
    missing = profile_of(served, pki, ssl_ca_location=str(tmp_path / "none.crt"))
    assert (await failure(AdminApi(missing, 10).get, "/v1/things")).kind is FailureKind.TLS
    assert (await failure(AdminApi(profile_of(served, pki), 10).get, "/v1/text")).kind is FailureKind.OTHER
    await served.server.stop()
    gone = await failure(AdminApi(profile_of(served, pki), 10).get, "/v1/things")
    assert gone.kind is FailureKind.UNREACHABLE


def test_who_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel connects, nobody accepts
        api = AdminApi(Profile("test", {}, f"http://127.0.0.1:{mute.getsockname()[1]}"), 0.2)
        with pytest.raises(ClientFailed, match="did not answer") as caught:
            api.get("/v1/things")
        assert caught.value.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("url", ["", "localhost:9094", "ftp://localhost", "https://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ClientFailed, match=r"admin\.url"):
        AdminApi(Profile("test", {}, url))
