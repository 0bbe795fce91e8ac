"""The routes of live sessions: shown with all that is known of them, ended by their id."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.api.session import Session
from rivven.http.admin import sessions as module
from rivven.http.admin.problems import Problem
from rivven.http.admin.routes import Call, Permission
from rivven.security.authn.authenticator import Authenticated, Credential
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.sessions import Sessions
from rivven.testing.authorizers import AllowAll
from rivven.types import Operation, Principal
from tests.unit.api.requests import LISTENER

ADMIN = Principal("User", "admin")


class World:
    def __init__(self) -> None:
        self.sessions = Sessions()
        self.rows = {row.method: row for row in module.routes(self.sessions)}

    def connect(self, name: str) -> Session:
        session = Session(LISTENER, "10.0.0.7", None, self.sessions, connected_at_ms=5)
        credential = Credential("password", name)
        session.become(
            Authenticated(Principal("User", name), expires_at_ms=9, groups=("g",), credential=credential),
            "PLAIN",
        )
        session.subject_of("my-client")
        session.client_software = "librdkafka/2"
        return session

    async def __call__(self, method: str, session_id: str = "", **query: Any) -> Any:
        row = self.rows[method]
        subject = Subject(ADMIN, "10.0.0.1")
        access = Access(subject, AuthorizerChain({"all": AllowAll()}))
        call = Call(subject, Authenticated(ADMIN), access, {"id": session_id}, 0, "r")
        if row.query is not None:
            call.query = row.query(**query)
        return await row.handler(call)


async def test_everything_that_is_known() -> None:
    world = World()
    session = world.connect("alice")
    [shown] = (await world("GET")).items
    assert shown.model_dump() == {
        "id": session.id,
        "principal": "User:alice",
        "groups": ["g"],
        "mechanism": "PLAIN",
        "credential": "password",
        "listener": "main",
        "address": "10.0.0.7",
        "client_id": "my-client",
        "client_software": "librdkafka/2",
        "connected_at_ms": 5,
        "expires_at_ms": 9,
    }


async def test_in_pages() -> None:
    world = World()
    for number in range(5):
        world.connect(f"user-{number}")
    first = await world("GET", limit=3)
    rest = await world("GET", limit=3, after=first.next)
    names = [one.principal for page in (first, rest) for one in page.items]
    assert names == [f"User:user-{number}" for number in range(5)]
    assert rest.next is None


async def test_one_is_ended_and_told_by_whom() -> None:
    world = World()
    alice, bob = world.connect("alice"), world.connect("bob")
    assert await world("DELETE", alice.id) is None
    assert (alice.closing, bob.closing) == ("ended by User:admin", "")
    world.sessions.remove(alice)
    with pytest.raises(Problem) as refused:
        await world("DELETE", alice.id)
    assert refused.value.status == 404


def test_what_it_takes() -> None:
    rows = World().rows
    assert rows["GET"].permission == Permission(Operation.DESCRIBE)
    assert rows["DELETE"].permission == Permission(Operation.ALTER)
    assert rows["DELETE"].named_target({"id": "7"}) == "session:7"
