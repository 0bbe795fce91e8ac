"""The whole listener over sockets: order of checks, shapes, audit, the document, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from pydantic import Field

from rivven.clock import SystemClock
from rivven.errors import ErrorCode, RivvenError
from rivven.http.admin.authentication import RequestAuthentication
from rivven.http.admin.guard import Guard
from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.problems import Problem
from rivven.http.admin.routes import Asked, Call, Input, Media, Open, Permission, Raw, Route, Self_
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.testing.authorizers import AllowAll, DenyAll
from rivven.types import Operation, Principal, ResourceType
from tests.shipped.pki import Pki
from tests.unit.http.admin.serving import ALICE, MALLORY, Answer, Served, serving

JSON = {"Content-Type": "application/json", "Authorization": ALICE}


class Thing(Input):
    name: str = Field(min_length=1, max_length=20)
    size: int = 0


class Rows:
    """Rows that remember what reached their handlers."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def _thing(self, call: Call) -> Thing:
        self.calls.append(call)
        return call.body if isinstance(call.body, Thing) else Thing(name=call.path["name"])

    async def _things(self, call: Call) -> Listing[Thing]:
        return page(["a", "b", "c"], str, lambda name: Thing(name=name), call.query)

    async def _nothing(self, call: Call) -> None:
        self.calls.append(call)

    async def _text(self, _call: Call) -> Raw:
        return Raw(b"text\n")

    async def _asking(self, call: Call) -> Thing:
        call.require(Operation.DESCRIBE_TOKENS, ResourceType.USER, "bob")
        return Thing(name="bob")

    async def _forgetful(self, _call: Call) -> Thing:
        return Thing(name="bob")

    async def _failing(self, call: Call) -> Thing:
        kind = call.path["name"]
        if kind == "problem":
            raise Problem(404, "no such thing")
        if kind == "refused":
            raise RivvenError("there is one", ErrorCode.DUPLICATE_RESOURCE)
        raise KeyError("hunter2")

    def rows(self) -> list[Route]:
        user = Permission(Operation.DESCRIBE_TOKENS, ResourceType.USER, "{name}")
        alter = Permission(Operation.ALTER)
        asked = Asked("describe-tokens on the user named")
        return [
            Route("GET", "/open", Open("a probe"), self._text, "Open", Media("text/plain; charset=utf-8")),
            Route("GET", "/v1/me", Self_("about the caller"), self._forgetful, "Me", Thing),
            Route("GET", "/v1/things", alter, self._things, "Things", Listing[Thing], query=PageQuery),
            Route("GET", "/v1/things/{name}", user, self._thing, "One", Thing),
            Route(
                "POST", "/v1/things", alter, self._thing, "Make", Thing,
                request=Thing, status=201, audited="topic_create", target="cluster",
                facts=lambda call: call.body.model_dump(),
            ),
            Route(
                "DELETE", "/v1/things/{name}", alter, self._nothing, "Delete",
                status=204, audited="topic_delete", target="topic:{name}",
            ),
            Route("GET", "/v1/asking", asked, self._asking, "Asks", Thing),
            Route("GET", "/v1/forgetful", asked, self._forgetful, "Forgets to ask", Thing),
            Route("GET", "/v1/failing/{name}", alter, self._failing, "Fails", Thing),
            Route(
                "POST", "/v1/failing/{name}", alter, self._failing, "Fails", Thing,
                audited="topic_alter", target="topic:{name}",
            ),
        ]  # fmt: skip


class Trail:
    """An audit log in memory that can be full."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, int | None]] = []
        self.full = False

    async def intent(self, route: Route, call: Call) -> None:
        if self.full:
            raise RivvenError("full", ErrorCode.KAFKA_STORAGE_ERROR)
        self._add("intent", route, call, None)

    async def result(self, route: Route, call: Call, problem: Problem | None) -> None:
        self._add("result", route, call, problem.status if problem else None)

    def abandoned(self, route: Route, call: Call) -> None:
        self._add("abandoned", route, call, None)

    def _add(self, what: str, route: Route, call: Call, status: int | None) -> None:
        assert route.audited is not None
        self.lines.append((what, route.audited, route.named_target(call.path), status))


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
async def served(rows: Rows, trail: Trail, pki: Pki) -> AsyncIterator[Served]:
    async with serving(rows.rows(), pki, audit=trail) as one:
        yield one


def problem(answer: Answer) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(answer.body)
    assert document["status"] == answer.status
    return document


async def test_a_caller_gets_what_the_row_says(served: Served, rows: Rows) -> None:
    answer = await served.ask(
        "/v1/things/a%2Fb%20%C3%BC", headers={"Authorization": ALICE, "User-Agent": "x" * 500}
    )
    assert (answer.status, json.loads(answer.body)) == (200, {"name": "a/b ü", "size": 0})
    [call] = rows.calls
    assert str(call.subject.principal) == "User:alice"
    assert (call.subject.listener, call.subject.mechanism, call.subject.tls) == ("admin", "BASIC", True)
    assert (call.subject.groups, call.subject.host, len(call.subject.client_id)) == (
        ("ops",),
        "127.0.0.1",
        128,
    )
    assert answer.headers["x-request-id"] == call.request_id
    for name, value in {"cache-control": "no-store", "x-content-type-options": "nosniff"}.items():
        assert answer.headers[name] == value
    assert "set-cookie" not in answer.headers
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_lists_come_in_pages(served: Served) -> None:
    first = json.loads((await served.ask("/v1/things?limit=2", headers=JSON)).body)
    assert ([one["name"] for one in first["items"]], first["next"]) == (["a", "b"], "b")
    second = json.loads((await served.ask("/v1/things?limit=2&after=b", headers=JSON)).body)
    assert ([one["name"] for one in second["items"]], second["next"]) == (["c"], None)
    for query in ("limit=0", "limit=x", "offset=1", "limit=1&limit=2000"):
        assert problem(await served.ask(f"/v1/things?{query}", headers=JSON))["fields"]


async def test_changes_are_audited_before_and_after(served: Served, trail: Trail) -> None:
    made = await served.ask("/v1/things", "POST", JSON, b'{"name": "new"}')
    assert (made.status, json.loads(made.body)["name"]) == (201, "new")
    gone = await served.ask("/v1/things/a%2Fb", "DELETE", JSON)
    assert (gone.status, gone.body) == (204, b"")
    assert (await served.ask("/v1/failing/refused", "POST", JSON)).status == 409
    assert (await served.ask("/v1/failing/broken", "POST", JSON)).status == 500
    assert trail.lines == [
        ("intent", "topic_create", "cluster", None),
        ("result", "topic_create", "cluster", None),
        ("intent", "topic_delete", "topic:a/b", None),
        ("result", "topic_delete", "topic:a/b", None),
        ("intent", "topic_alter", "topic:refused", None),
        ("result", "topic_alter", "topic:refused", 409),
        ("intent", "topic_alter", "topic:broken", None),
        ("result", "topic_alter", "topic:broken", 500),
    ]


async def test_what_cannot_be_audited_is_not_done(served: Served, trail: Trail, rows: Rows) -> None:
    trail.full = True
    assert problem(await served.ask("/v1/things/a", "DELETE", JSON))["status"] == 503
    assert not rows.calls


@pytest.mark.parametrize(("name", "status"), [("problem", 404), ("refused", 409), ("broken", 500)])
async def test_failures_are_problems(served: Served, name: str, status: int) -> None:
    answer = await served.ask(f"/v1/failing/{name}", headers=JSON)
    assert problem(answer)["status"] == status
    assert b"hunter2" not in answer.body


REFUSED_BODIES = {
    "not JSON": b"{name}",
    "not UTF-8": b'{"name": "\xff"}',
    "another type": b'["a"]',
    "a wrong field": b'{"name": ""}',
    "an unknown field": b'{"name": "a", "colour": "red"}',
    "nothing": b"",
    "deep": b"[" * 100_000,
    "a lone surrogate": b'{"name": "\\ud800"}',
}


@pytest.mark.parametrize("body", REFUSED_BODIES.values(), ids=REFUSED_BODIES.keys())
async def test_bodies_that_are_not_what_the_row_takes(served: Served, rows: Rows, body: bytes) -> None:
    answer = await served.ask("/v1/things", "POST", JSON, body)
    assert problem(answer)["status"] in (400, 422)
    assert not rows.calls


async def test_a_row_without_a_body_takes_none(served: Served, rows: Rows) -> None:
    assert problem(await served.ask("/v1/things/a", "DELETE", JSON, b'{"force": true}'))["status"] == 422
    assert (await served.ask("/v1/things/a", "DELETE", JSON, b"{}")).status == 204
    assert len(rows.calls) == 1


async def test_nobody_gets_anything_without_an_identity(served: Served, rows: Rows) -> None:
    for row in rows.rows():
        path = row.path.replace("{name}", "x")
        for headers in ({}, {"Authorization": MALLORY}, {"Authorization": "Bearer rvn_mallory"}):
            # The body is broken: whoever may not use the route must not hear about it.
            answer = await served.ask(path, row.method, JSON | {"Authorization": ""} | headers, b"{")
            if isinstance(row.permission, Open):
                assert answer.status == 200
            else:
                assert problem(answer)["status"] == 401
                assert "Basic" in answer.headers["www-authenticate"]
                assert "Bearer" in answer.headers["www-authenticate"]
    assert not rows.calls


async def test_nobody_gets_anything_without_a_permission(rows: Rows, trail: Trail, pki: Pki) -> None:
    async with serving(rows.rows(), pki, engine=DenyAll(), audit=trail) as served:
        for row in rows.rows():
            answer = await served.ask(row.path.replace("{name}", "x"), row.method, JSON, b"{")
            if isinstance(row.permission, Open | Self_):
                assert answer.status == 200
            elif row.path == "/v1/forgetful":
                assert answer.status == 500
            else:
                assert problem(answer)["status"] == 403
    assert not rows.calls
    assert not trail.lines


async def test_the_permission_of_the_row_is_asked_for(rows: Rows, pki: Pki) -> None:
    engine = AllowAll()
    async with serving(rows.rows(), pki, engine=engine) as served:
        await served.ask("/v1/things/bob", headers=JSON)
        await served.ask("/v1/things/x", "DELETE", JSON)
        await served.ask("/v1/asking", headers=JSON)
    assert engine.asked == [
        ("User:alice", Operation.DESCRIBE_TOKENS, ResourceType.USER, "bob"),
        ("User:alice", Operation.ALTER, ResourceType.CLUSTER, "kafka-cluster"),
        ("User:alice", Operation.DESCRIBE_TOKENS, ResourceType.USER, "bob"),
    ]


async def test_an_answer_without_the_question_is_a_bug(served: Served) -> None:
    assert (await served.ask("/v1/asking", headers=JSON)).status == 200
    assert (await served.ask("/v1/forgetful", headers=JSON)).status == 500


async def test_what_is_not_there(served: Served) -> None:
    for path in (
        "/",
        "/v1",
        "/v1/things/",
        "/v1/things/a/b",
        "/v1/%74hings",
        "/v1/../v1/things",
        "/docs",
        "/redoc",
    ):
        assert problem(await served.ask(path, headers=JSON))["status"] == 404
    answer = await served.ask("/v1/things", "PUT", JSON)
    assert (problem(answer)["status"], answer.headers["allow"]) == (405, "GET, POST")
    for method in ("HEAD", "OPTIONS", "TRACE"):
        assert (await served.ask("/v1/me", method, JSON)).status == 405


async def test_a_name_that_is_not_utf_8(served: Served) -> None:
    assert problem(await served.ask("/v1/things/%ff", headers=JSON))["status"] == 400


async def test_the_document_says_what_rows_say(served: Served, rows: Rows) -> None:
    assert (await served.ask("/openapi.json")).status == 401
    answer = await served.ask("/openapi.json", headers=JSON)
    assert answer.headers["content-type"] == "application/json"
    document = json.loads(answer.body)
    described = {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert described.keys() == {(row.method, row.path) for row in rows.rows()} | {("GET", "/openapi.json")}
    for row in rows.rows():
        operation = described[row.method, row.path]
        assert operation["x-rivven-permission"] == str(row.permission)
        assert bool(operation["security"]) is not isinstance(row.permission, Open)
        assert set(operation["responses"]) == {str(row.status), "default"}
        assert operation.get("x-rivven-audited") == row.audited
    assert set(document["components"]["securitySchemes"]) == {"basic", "bearer", "certificate"}
    assert len({operation["operationId"] for operation in described.values()}) == len(described)


async def test_a_change_nobody_waited_for_is_recorded_as_such(trail: Trail) -> None:
    begun = asyncio.Event()

    async def slow(_call: Call) -> None:
        begun.set()
        await asyncio.Event().wait()

    alter = Permission(Operation.ALTER)
    row = Route("DELETE", "/v1/x", alter, slow, "Slow", status=204, audited="topic_delete", target="topic:x")
    subject = Subject(Principal("User", "a"), "10.0.0.1", "admin")
    call = Call(subject, Authenticated(subject.principal), Access(subject, AuthorizerChain({})), {}, 0, "1")
    nobody = cast(RequestAuthentication, None)
    guard = Guard(nobody, AuthorizerChain({}), SystemClock(), trail)
    task = asyncio.create_task(guard.perform(row, call))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [what for what, *_ in trail.lines] == ["intent", "abandoned"]
