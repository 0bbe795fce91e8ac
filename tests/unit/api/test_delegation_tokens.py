"""APIs 38-41 without sockets: what the wire tests cannot reach. See conformance/test_delegation_tokens.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rivven.api import delegation_tokens, tokens
from rivven.api.delegation_tokens import DelegationTokenHandlers
from rivven.api.tokens import TOKENS_A_TURN
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata.token_records import Token, TokenOrigin, TokenSecret, TokenStored
from rivven.protocol import messages as m
from rivven.security.authn.authenticator import Credential
from rivven.tasks import Tasks
from rivven.types import Operation, Principal, ResourceType
from tests.unit.api.token_world import ALICE, BOB, HOUR, TokenWorld

DAY = 24 * HOUR
TOKEN = Credential("token", "abcdefghijkl2345", 1)


@pytest.fixture
async def world() -> AsyncIterator[TokenWorld]:
    tasks = Tasks()
    made = TokenWorld(tasks)
    await made.metadata.start()
    yield made
    await tasks.cancel_all()


@pytest.fixture
def handlers(world: TokenWorld) -> DelegationTokenHandlers:
    return DelegationTokenHandlers(world.service, 7 * DAY, DAY)


def changes(handlers: DelegationTokenHandlers) -> list[tuple[Callable[..., Awaitable[Any]], Any]]:
    return [
        (handlers.create_delegation_token, m.CreateDelegationTokenRequest()),
        (handlers.renew_delegation_token, m.RenewDelegationTokenRequest()),
        (handlers.expire_delegation_token, m.ExpireDelegationTokenRequest()),
    ]


async def test_the_sessions_credential_is_what_the_token_rests_on(
    world: TokenWorld, handlers: DelegationTokenHandlers
) -> None:
    jwt = Credential("jwt", "id-1", 1, "https://issuer", "alice", 5)
    await handlers.create_delegation_token(world.context(ALICE, jwt), m.CreateDelegationTokenRequest())
    [token] = world.tokens
    assert token.origin == TokenOrigin("jwt", "id-1", "https://issuer", "alice", issued_at_ms=5)


async def test_nobody_and_tokens_manage_nothing(world: TokenWorld, handlers: DelegationTokenHandlers) -> None:
    for context in (
        world.context(None),
        world.context(ALICE, TOKEN),
        world.context(ALICE, scope=("topic:a:produce",)),
        world.context(Principal("User", "admin"), TOKEN),
    ):
        for handle, request in changes(handlers):
            with pytest.raises(RivvenError) as caught:
                await handle(context, request)
            assert caught.value.code is ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
            assert context.access.used
    assert len(world.tokens) == 0


async def test_an_owner_without_a_type_is_a_user(
    world: TokenWorld, handlers: DelegationTokenHandlers
) -> None:
    await world.allow("alice", Operation.CREATE_TOKENS, ResourceType.USER, "User:bob")
    request = m.CreateDelegationTokenRequest(owner_principal_type=None, owner_principal_name="bob")
    answer = await handlers.create_delegation_token(world.context(), request)
    assert (answer.principal_type, answer.principal_name) == ("User", "bob")
    assert world.tokens.find(answer.token_id).creator == ALICE  # type: ignore[union-attr]


async def test_renewers_named_twice_count_once(world: TokenWorld, handlers: DelegationTokenHandlers) -> None:
    bob = m.CreateDelegationTokenRequest.CreatableRenewers(principal_type="User", principal_name="bob")
    request = m.CreateDelegationTokenRequest(renewers=[bob, bob])
    answer = await handlers.create_delegation_token(world.context(), request)
    assert world.tokens.find(answer.token_id).renewers == (BOB,)  # type: ignore[union-attr]


async def test_failures_hold_no_times(handlers: DelegationTokenHandlers) -> None:
    code = ErrorCode.UNKNOWN_SERVER_ERROR
    created = delegation_tokens.create_failed(None, 3, code)
    assert (created.error_code, created.hmac, created.expiry_timestamp_ms) == (code, b"", -1)
    assert delegation_tokens.renew_failed(None, 2, code).expiry_timestamp_ms == -1
    assert delegation_tokens.expire_failed(None, 2, code).expiry_timestamp_ms == -1
    assert delegation_tokens.describe_failed(None, 3, code).tokens == []


async def test_many_tokens_are_looked_at_in_turns(
    world: TokenWorld, handlers: DelegationTokenHandlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 2 * TOKENS_A_TURN + 1
    for index in range(number):
        owner = ALICE if index % 2 else BOB
        token_id = f"{index:016d}"
        # The journal would take a second; `TOKENS_PER_OWNER_MAX` is not asked about here.
        now_ms = world.clock.now_ms()
        token = Token(
            token_id=token_id,
            owner=owner,
            creator=owner,
            label="",
            secret=TokenSecret(token_id.encode() * 2, "k", ()),
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + HOUR,
            max_expires_at_ms=now_ms + HOUR,
        )
        world.metadata.image.apply(TokenStored(token))
    turns = 0
    sleep = tokens.asyncio.sleep

    async def counted(seconds: float) -> None:
        nonlocal turns
        turns += 1
        await sleep(seconds)

    monkeypatch.setattr(tokens.asyncio, "sleep", counted)
    request = m.DescribeDelegationTokenRequest(owners=None)
    answer = await handlers.describe_delegation_token(world.context(), request)
    assert turns == 3
    assert {token.principal_name for token in answer.tokens} == {"alice"}
    assert len(answer.tokens) == number // 2
    admin = await handlers.describe_delegation_token(world.context(Principal("User", "admin")), request)
    assert len(admin.tokens) == number
