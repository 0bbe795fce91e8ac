"""The routes of tokens: whose they are, who may, and that a secret is answered once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from rivven.errors import ErrorCode, RivvenError
from rivven.http.admin import tokens
from rivven.http.admin.problems import Problem
from rivven.http.admin.routes import Call, Route
from rivven.security.authn.authenticator import Authenticated, Credential
from rivven.security.authn.token_text import parse_token
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.tasks import Tasks
from rivven.types import Operation, Principal, ResourceType
from tests.unit.api.token_world import ALICE, BOB, HOUR, PASSWORD, TokenWorld

ADMIN = Principal("User", "admin")
TOKEN = Credential("token", "abcdefghijkl2345", 1)


class Caller:
    """Calls rows as the guard would, after validation."""

    def __init__(self, world: TokenWorld) -> None:
        self._world = world
        self.rows = {(row.method, row.path): row for row in tokens.routes(world.service)}

    async def __call__(
        self,
        method: str,
        path: str,
        who: Principal = ALICE,
        *,
        credential: Credential = PASSWORD,
        token_id: str = "",
        query: dict[str, Any] | None = None,
        **body: Any,
    ) -> Any:
        row: Route = self.rows[method, path]  # type: ignore[index]
        subject = Subject(who, "10.0.0.1", "admin", tls=True)
        access = Access(subject, self._world.chain)
        call = Call(
            subject,
            Authenticated(who, credential=credential),
            access,
            {"id": token_id} if "{id}" in path else {},
            self._world.clock.now_ms(),
            "1",
            query=row.query(**(query or {})) if row.query is not None else None,
            body=row.request(**body) if row.request is not None else None,
        )
        try:
            return await row.handler(call)
        finally:
            assert access.used, "a row of kind Asked must ask"

    async def status(self, *arguments: Any, **named: Any) -> int | ErrorCode:
        """How it is refused."""
        with pytest.raises((Problem, RivvenError)) as caught:
            await self(*arguments, **named)
        error = caught.value
        return error.status if isinstance(error, Problem) else error.code


LIST, ONE, ROTATE = "/v1/tokens", "/v1/tokens/{id}", "/v1/tokens/{id}/rotate"


@pytest.fixture
async def world() -> AsyncIterator[TokenWorld]:
    tasks = Tasks()
    made = TokenWorld(tasks)
    await made.metadata.start()
    yield made
    await tasks.cancel_all()


@pytest.fixture
def call(world: TokenWorld) -> Caller:
    return Caller(world)


async def test_everybody_manages_its_own(world: TokenWorld, call: Caller) -> None:
    made = await call(
        "POST", LIST, name="service-a", ttl_ms=HOUR, scope=["topic:a-*:produce"], allowed_cidrs=["10.0.0.1"]
    )
    info = made.info
    assert parse_token(made.token)[0] == info.id
    assert (info.owner, info.creator, info.state, info.version) == ("User:alice", "User:alice", "active", 1)
    assert (info.scope, info.allowed_cidrs) == (["topic:a-*:produce"], ["10.0.0.1/32"])
    assert info.expires_at_ms == info.max_expires_at_ms == world.clock.now_ms() + HOUR
    assert made.token not in repr(made)
    assert made.kafka_password not in repr(made)
    assert [one.id for one in (await call("GET", LIST)).items] == [info.id]
    assert (await call("GET", ONE, token_id=info.id)) == info
    rotated = await call("POST", ROTATE, token_id=info.id, overlap_ms=1000)
    assert rotated.token != made.token
    assert rotated.info.old_secret_until_ms == world.clock.now_ms() + 1000
    world.clock.at_ms += 1000
    assert (await call("GET", ONE, token_id=info.id)).old_secret_until_ms is None
    revoked = await call("DELETE", ONE, token_id=info.id)
    assert (revoked.state, revoked.revoked_at_ms) == ("revoked", world.clock.now_ms())


async def test_a_token_rests_on_what_its_owner_made_it_with(world: TokenWorld, call: Caller) -> None:
    """Whoever rotates it for the owner does not vouch for it."""
    first, second = (Credential("jwt", name, 1, "https://issuer", "alice", 5) for name in ("one", "two"))
    made = (await call("POST", LIST, name="a", credential=first)).info.id

    def origin() -> str | None:
        found = world.tokens.find(made)
        return None if found is None or found.origin is None else found.origin.id

    assert origin() == "one"
    await call("POST", ROTATE, token_id=made)
    await call("POST", ROTATE, ADMIN, credential=second, token_id=made)
    assert origin() == "one"
    await call("POST", ROTATE, credential=second, token_id=made)
    assert origin() == "two"


async def test_a_token_manages_no_tokens(world: TokenWorld, call: Caller) -> None:
    token, _ = await world.issue()
    for who in (ALICE, ADMIN):
        for arguments in (("POST", LIST), ("POST", ROTATE), ("DELETE", ONE)):
            body = {"name": "more"} if arguments == ("POST", LIST) else {}
            refused = await call.status(*arguments, who, credential=TOKEN, token_id=token.token_id, **body)
            assert refused is ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
    assert len(world.tokens) == 1
    assert (await call("GET", ONE, credential=TOKEN, token_id=token.token_id)).id == token.token_id


async def test_those_of_others_take_permissions(world: TokenWorld, call: Caller) -> None:
    token, _ = await world.issue(BOB)
    of_bob = {"token_id": token.token_id}
    assert (await call("GET", LIST)).items == []
    assert await call.status("GET", ONE, **of_bob) == 403
    assert await call.status("DELETE", ONE, **of_bob) == 403
    assert await call.status("POST", ROTATE, **of_bob) == 403
    assert await call.status("POST", LIST, name="x", owner="User:bob") == 403
    await world.allow("alice", Operation.DESCRIBE_TOKENS, ResourceType.USER, "User:bob")
    assert [one.id for one in (await call("GET", LIST)).items] == [token.token_id]
    assert (await call("GET", LIST, query={"owner": "User:alice"})).items == []
    assert await call.status("DELETE", ONE, **of_bob) == 403, "seeing is not changing"
    await world.allow("alice", Operation.CREATE_TOKENS, ResourceType.USER, "User:bob")
    made = await call("POST", LIST, name="x", owner="User:bob")
    assert (made.info.owner, made.info.creator) == ("User:bob", "User:alice")
    assert (await call("POST", ROTATE, **of_bob)).info.version == 2
    assert (await call("DELETE", ONE, **of_bob)).state == "revoked"


async def test_one_token_may_be_shown_by_its_id(world: TokenWorld, call: Caller) -> None:
    token, _ = await world.issue(BOB)
    await world.allow("alice", Operation.DESCRIBE, ResourceType.DELEGATION_TOKEN, token.token_id)
    assert (await call("GET", ONE, token_id=token.token_id)).owner == "User:bob"


async def test_what_there_is_not_looks_like_anothers(world: TokenWorld, call: Caller) -> None:
    for method, path in (("GET", ONE), ("DELETE", ONE), ("POST", ROTATE)):
        assert await call.status(method, path, token_id="abcdefghijkl2345") == 403
        assert await call.status(method, path, ADMIN, token_id="abcdefghijkl2345") == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x", "ttl_ms": 0},
        {"name": "x", "ttl_ms": "1000"},
        {"name": "x", "scope": []},
        {"name": "x", "scope": ["nonsense"]},
        {"name": "x", "scope": ["topic:a:fly"]},
        {"name": "x", "scope": ["topic:" + "a" * 600 + ":produce"]},
        {"name": "x", "allowed_cidrs": ["10.0.0.1/8"]},
        {"name": "x", "owner": "alice"},
        {"name": "x", "owner": "Group:staff"},
        {"name": "x", "surprise": 1},
    ],
)
def test_bodies_are_strict(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        tokens.TokenRequest(**wrong)


def test_every_change_is_audited(call: Caller) -> None:
    changing = {key for key, row in call.rows.items() if row.audited == "token_change"}
    assert changing == {("POST", LIST), ("POST", ROTATE), ("DELETE", ONE)}
