"""The service that makes and changes tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rivven.api.tokens import may_manage_tokens
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata.token_records import TokenOrigin
from rivven.security.authn.authenticator import Authenticated, Credential, Rejected
from rivven.security.authn.token_text import NewToken, parse_token
from rivven.security.authz.authorizer import Subject
from rivven.tasks import Tasks
from rivven.testing.canary import leaks
from rivven.types import ANONYMOUS, Principal
from tests.unit.api.token_world import ALICE, HOUR, TokenWorld

HOST = "10.0.0.1"


@pytest.fixture
async def world() -> AsyncIterator[TokenWorld]:
    tasks = Tasks()
    made = TokenWorld(tasks)
    await made.metadata.start()
    yield made
    await tasks.cancel_all()


def verify(world: TokenWorld, new: NewToken) -> Authenticated | Rejected:
    return world.authentication.verify(new.text, host=HOST, now_ms=world.clock.now_ms())


async def test_what_is_issued_proves_its_owner(world: TokenWorld) -> None:
    token, new = await world.issue(label="service-a", scope=("role:producer",))
    assert parse_token(new.text) == (token.token_id, new.secret)
    proved = verify(world, new)
    assert isinstance(proved, Authenticated)
    assert (proved.principal, proved.scope) == (ALICE, ("role:producer",))
    assert world.service.find(token.token_id).last_used_from == HOST  # type: ignore[union-attr]
    assert world.tokens.find(token.token_id).last_used_ms is None  # type: ignore[union-attr]


async def test_whether_the_owner_is_local_is_remembered(world: TokenWorld) -> None:
    local, _ = await world.issue()
    foreign, _ = await world.issue(Principal("User", "idp-carol"))
    assert (local.local_owner, foreign.local_owner) == (True, False)


async def test_rotating_keeps_id_and_salt_and_ends_the_old_secret(world: TokenWorld) -> None:
    token, old = await world.issue()
    rotated, new = await world.service.rotate(token.token_id, HOUR // 2)
    assert (rotated.token_id, new.token_id, rotated.version) == (token.token_id, token.token_id, 2)
    salts = {one.salt for secret in (rotated.secret, token.secret) for one in secret.verifiers}
    assert len(salts) == 1, "a SCRAM login says its salt before it shows which secret it has"
    assert isinstance(verify(world, old), Authenticated)
    assert isinstance(verify(world, new), Authenticated)
    world.clock.at_ms += HOUR // 2
    assert isinstance(verify(world, old), Rejected)
    assert isinstance(verify(world, new), Authenticated)
    again, newest = await world.service.rotate(token.token_id, 0)
    assert again.version == 3
    assert isinstance(verify(world, new), Rejected)
    assert isinstance(verify(world, newest), Authenticated)


JWT = Credential("jwt", "id-1", 7, "https://issuer", "alice", 5)
CERTIFICATE = Credential("certificate", "ab" * 32, 0, "CN=CA", serial="a3f")


async def test_what_others_vouched_for_is_remembered(world: TokenWorld) -> None:
    of_jwt, _ = await world.issue(made_with=JWT)
    of_certificate, _ = await world.issue(made_with=CERTIFICATE)
    own, _ = await world.issue(made_with=Credential("password", "alice", 1))
    assert of_jwt.origin == TokenOrigin("jwt", "id-1", "https://issuer", "alice", issued_at_ms=5)
    assert of_certificate.origin == TokenOrigin("certificate", "ab" * 32, "CN=CA", serial="a3f")
    assert own.origin is None
    rotated, _ = await world.service.rotate(of_jwt.token_id, 0)
    assert rotated.origin == of_jwt.origin
    renewed, _ = await world.service.rotate(of_jwt.token_id, 0, CERTIFICATE)
    assert renewed.origin == of_certificate.origin


async def test_moving_the_end_goes_by_the_secret(world: TokenWorld) -> None:
    _, new = await world.issue(validity_ms=1000)
    moved = await world.service.renew(new.secret, ALICE, HOUR)
    assert moved.expires_at_ms == world.clock.now_ms() + HOUR
    ended = await world.service.expire(new.secret, ALICE, -1)
    assert ended.revoked_at_ms == world.clock.now_ms()
    with pytest.raises(RivvenError) as caught:
        await world.service.renew(b"another", ALICE, 1)
    assert caught.value.code is ErrorCode.DELEGATION_TOKEN_NOT_FOUND


async def test_what_there_is_not_cannot_be_revoked_or_rotated(world: TokenWorld) -> None:
    for change in (world.service.revoke("nothing"), world.service.rotate("nothing", 0)):
        with pytest.raises(RivvenError) as caught:
            await change
        assert caught.value.code is ErrorCode.DELEGATION_TOKEN_NOT_FOUND
    assert world.service.find("nothing") is None


async def test_the_journal_and_reprs_hold_no_secret(world: TokenWorld) -> None:
    token, new = await world.issue()
    rotated, newer = await world.service.rotate(token.token_id, HOUR)
    said = {f"record {n}": record.value for n, record in enumerate(world.journal.records)}
    said["reprs"] = repr([token, rotated, new, newer]).encode()
    secrets = [form for one in (new, newer) for form in (one.secret, one.kafka_password, one.text)]
    assert leaks(secrets, said) == []
    assert leaks([token.token_id], said) != [], "the control"


@pytest.mark.parametrize(
    ("principal", "credential", "scope", "may"),
    [
        (ALICE, Credential("password", "alice"), None, True),
        (ALICE, Credential("certificate", "ab"), None, True),
        (ALICE, Credential("jwt", "j"), None, True),
        (ALICE, Credential("token", "t"), None, False),
        (ALICE, Credential("jwt", "j"), ("topic:a:produce",), False),
        (ANONYMOUS, Credential(), None, False),
    ],
)
def test_who_may_manage_tokens_at_all(
    principal: Principal, credential: Credential, scope: tuple[str, ...] | None, may: bool
) -> None:
    assert may_manage_tokens(Subject(principal, HOST, scope=scope), credential) is may
