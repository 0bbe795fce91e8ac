"""The routes of users: what they change, what they refuse, and that a password is said once or never."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from rivven.clock import SystemClock
from rivven.config.broker_settings import broker_defaults
from rivven.errors import ErrorCode, RivvenError
from rivven.http.admin import users as module
from rivven.http.admin.problems import Problem
from rivven.http.admin.routes import Call, Permission, Route
from rivven.metadata.service import MetadataService
from rivven.metadata.users import DynamicUsers
from rivven.protocol.scram import ScramMechanism
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authn.credentials import Decoys
from rivven.security.authn.services import AuthenticationServices
from rivven.security.authn.users import FileUser, Users
from rivven.security.authn.verification import PasswordVerifications
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.tasks import Tasks
from rivven.testing.canary import leaks
from rivven.testing.journal import MemoryJournal
from rivven.types import Operation, Principal
from tests.unit.http.admin.serving import chain_of

ADMIN = Principal("User", "admin")
PASSWORD = "Canary-Pa55word"
LIST, ONE, SECRET = "/v1/users", "/v1/users/{name}", "/v1/users/{name}/password"


class World:
    """A metadata service, users over it, and the rows."""

    def __init__(self, tasks: Tasks) -> None:
        clock = SystemClock()
        self.metadata = MetadataService(
            MemoryJournal(), clock, tasks, node_id=1, broker=broker_defaults(), entropy=os.urandom
        )
        self.users = Users(DynamicUsers(lambda: self.metadata.image))
        decoys = Decoys(b"k" * 32)
        self.passwords = PasswordVerifications(
            self.users, lambda user: decoys.password(user, ()), clock, os.urandom
        )
        self.services = AuthenticationServices(self.users, decoys, self.passwords)
        rows = module.routes(self.metadata, self.services, os.urandom, 4096)
        self.rows = {(row.method, row.path): row for row in rows}

    async def call(self, method: str, path: str, user: str = "", /, **body: Any) -> Any:
        row: Route = self.rows[method, path]  # type: ignore[index]
        subject = Subject(ADMIN, "10.0.0.1", "admin", tls=True)
        return await row.handler(
            Call(
                subject,
                Authenticated(ADMIN),
                Access(subject, chain_of()),
                {"name": user} if "{name}" in path else {},
                0,
                "1",
                query=row.query() if row.query is not None else None,
                body=row.request(**body) if row.request is not None else None,
            )
        )

    async def refused(self, *arguments: Any, **named: Any) -> Problem:
        with pytest.raises(Problem) as caught:
            await self.call(*arguments, **named)
        return caught.value


@pytest.fixture
async def world() -> AsyncIterator[World]:
    tasks = Tasks()
    made = World(tasks)
    await made.metadata.start()
    yield made
    made.passwords.close()
    await tasks.cancel_all()


async def test_a_user_with_a_given_password_logs_in_with_it(world: World) -> None:
    made = await world.call("POST", LIST, name="ann", password=PASSWORD, groups=["ops", "dev"])
    assert made.password is None
    assert made.user == await world.call("GET", ONE, "ann")
    assert made.user.groups == ["dev", "ops"]
    assert made.user.mechanisms == {"SCRAM-SHA-256": 4096, "SCRAM-SHA-512": 4096}
    assert isinstance(await world.passwords.verify("ann", PASSWORD, "h"), Authenticated)
    assert not leaks([PASSWORD], {"answer": made.model_dump_json(), "repr": repr(made)})


async def test_a_random_password_is_said_once(world: World) -> None:
    made = await world.call("POST", LIST, name="ann")
    assert isinstance(await world.passwords.verify("ann", made.password, "h"), Authenticated)
    assert made.user.mechanisms == {"SCRAM-SHA-256": 8192, "SCRAM-SHA-512": 8192}
    assert made.password not in repr(made)
    assert made.password not in (await world.call("GET", ONE, "ann")).model_dump_json()


async def test_of_two_who_make_the_same_user_at_once_one_hears_that_there_is_one(world: World) -> None:
    passwords = (PASSWORD, "Other-Pa55word")
    calls = (world.call("POST", LIST, name="ann", password=one) for one in passwords)
    made = await asyncio.gather(*calls, return_exceptions=True)
    codes = [getattr(one, "code", None) for one in made]
    assert set(codes) == {None, ErrorCode.DUPLICATE_RESOURCE}, "whichever came first"
    assert isinstance(await world.passwords.verify("ann", passwords[codes.index(None)], "h"), Authenticated)


async def test_a_new_password_is_another_credential(world: World) -> None:
    await world.call("POST", LIST, name="ann", password=PASSWORD)
    before = world.users.identity("ann")
    assert before is not None
    await world.call("PUT", SECRET, "ann", password="Other-Pa55word")
    assert isinstance(await world.passwords.verify("ann", "Other-Pa55word", "h"), Authenticated)
    assert not isinstance(await world.passwords.verify("ann", PASSWORD, "h"), Authenticated)
    assert world.users.no_longer_valid(before.credential, ()) == "the user's password was changed"


async def test_changes_and_deletion(world: World) -> None:
    await world.call("POST", LIST, name="ann", password=PASSWORD)
    changed = await world.call("PATCH", ONE, "ann", enabled=False, add_groups=["dev"])
    assert (changed.enabled, changed.groups) == (False, ["dev"])
    changed = await world.call("PATCH", ONE, "ann", enabled=True, remove_groups=["dev"])
    assert (changed.enabled, changed.groups) == (True, [])
    await world.call("DELETE", ONE, "ann")
    assert world.metadata.image.scram_verifier("ann", ScramMechanism.SCRAM_SHA_256) is None
    assert (await world.refused("GET", ONE, "ann")).status == 404
    assert (await world.call("GET", LIST)).items == []


@pytest.mark.parametrize(("method", "path"), [("PATCH", ONE), ("PUT", SECRET), ("DELETE", ONE)])
async def test_what_cannot_be_changed_here(world: World, method: str, path: str) -> None:
    world.users.replace_file_users({"fred": FileUser("fred", roles=("producer",))})
    problem = await world.refused(method, path, "fred")
    assert (problem.status, problem.detail) == (409, "the user is in the users file and changed there")
    assert (await world.refused(method, path, "nobody")).status == 404
    shown = await world.call("GET", ONE, "fred")
    assert (shown.source, shown.roles, shown.mechanisms) == ("file", ["producer"], {})


async def test_names_that_are_taken_or_cannot_be(world: World) -> None:
    world.users.replace_file_users({"fred": FileUser("fred")})
    await world.call("POST", LIST, name="ann")
    for name in ("ann", "fred"):
        assert (await world.refused("POST", LIST, name=name)).status == 409
    for name in ("*", " ann", "a\nb"):
        problem = await world.refused("POST", LIST, name=name)
        assert (problem.status, problem.fields[0].field) == (422, "body.name")
    assert [one.name for one in (await world.call("GET", LIST)).items] == ["ann", "fred"]


async def test_simple_passwords_are_refused_and_not_repeated(world: World) -> None:
    problem = await world.refused("POST", LIST, name="ann", password="canarysimple")
    assert (problem.status, problem.fields[0].field) == (422, "body.password")
    assert problem.fields[0].reason == "needs an upper case letter, a digit, a special character"
    assert not leaks(["canarysimple"], {"problem": problem.body(), "repr": repr(vars(problem))})
    assert world.users.find("ann") is None


async def test_a_group_that_cannot_be_is_refused_by_the_metadata(world: World) -> None:
    await world.call("POST", LIST, name="ann", password=PASSWORD)
    with pytest.raises(RivvenError) as refused:
        await world.call("PATCH", ONE, "ann", add_groups=["*"])
    assert refused.value.code is ErrorCode.INVALID_REQUEST
    with pytest.raises(ValidationError):
        await world.call("PATCH", ONE, "ann", groups=["dev"])
    with pytest.raises(RivvenError):
        await world.call("POST", LIST, name="bob", password=PASSWORD, groups=["*"])
    assert world.users.find("bob") is None


def test_looking_needs_describe_and_everything_else_alter(world: World) -> None:
    rules = {row.method: row.permission for row in world.rows.values()}
    assert rules.pop("GET") == Permission(Operation.DESCRIBE)
    assert set(rules.values()) == {Permission(Operation.ALTER)}
    assert all(row.audited == "user_change" for row in world.rows.values() if row.method != "GET")
