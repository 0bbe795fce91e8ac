"""DescribeUserScramCredentials and AlterUserScramCredentials (KIP-554)."""

from __future__ import annotations

from typing import Any

from rivven.api.credentials import CredentialHandlers
from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.protocol.scram import ScramMechanism, derive_verifier, salted_password
from rivven.security.authn.users import FileUser
from rivven.types import Operation
from tests.unit.api.administration import World

DESCRIBE, ALTER = ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS, ApiKey.ALTER_USER_SCRAM_CREDENTIALS
SALT = b"salt of sixteen b"


def upsertion(name: str, mechanism: int = 1, iterations: int = 4096) -> Any:
    kind = ScramMechanism.from_code(mechanism)
    return m.AlterUserScramCredentialsRequest.ScramCredentialUpsertion(
        name=name,
        mechanism=mechanism,
        iterations=iterations,
        salt=SALT,
        salted_password=salted_password(kind, "pw", SALT, 4096) if kind else b"x",
    )


def deletion(name: str, mechanism: int = 1) -> Any:
    return m.AlterUserScramCredentialsRequest.ScramCredentialDeletion(name=name, mechanism=mechanism)


async def alter(
    world: World, upsertions: Any = (), deletions: Any = (), user: str = "admin"
) -> dict[str, int]:
    request = m.AlterUserScramCredentialsRequest(upsertions=list(upsertions), deletions=list(deletions))
    answer = await world.call(ALTER, 0, request, user=user)
    assert all(bool(one.error_message) == bool(one.error_code) for one in answer.results)
    return {one.user: one.error_code for one in answer.results}


async def describe(world: World, *users: str, user: str = "admin") -> Any:
    name = m.DescribeUserScramCredentialsRequest.UserName
    request = m.DescribeUserScramCredentialsRequest(users=[name(name=one) for one in users] or None)
    return await world.call(DESCRIBE, 0, request, user=user)


async def test_a_user_can_log_in_as_soon_as_the_creation_is_answered(world: World) -> None:
    assert await alter(world, [upsertion("ann"), upsertion("ann", 2, 8192), upsertion("bob")]) == {
        "ann": 0,
        "bob": 0,
    }
    verifier = world.metadata.image.scram_verifier("ann", ScramMechanism.SCRAM_SHA_256)
    assert verifier == derive_verifier(ScramMechanism.SCRAM_SHA_256, "pw", SALT, 4096)
    answer = await describe(world)
    assert (answer.error_code, answer.error_message) == (0, None)
    infos = {
        result.user: [(info.mechanism, info.iterations) for info in result.credential_infos]
        for result in answer.results
    }
    assert infos == {"ann": [(1, 4096), (2, 8192)], "bob": [(1, 4096)]}


async def test_names_that_would_mean_something_else_are_no_users(world: World) -> None:
    names = ("*", " ann", "a\nb", "x" * 256)
    assert await alter(world, [upsertion(name) for name in names]) == dict.fromkeys(
        names, ErrorCode.UNACCEPTABLE_CREDENTIAL
    )
    assert await alter(world, deletions=[deletion("*")]) == {"*": ErrorCode.RESOURCE_NOT_FOUND}


async def test_named_users(world: World) -> None:
    await alter(world, [upsertion("ann")])
    answer = await describe(world, "ann", "nobody", "twice", "twice")
    assert {one.user: one.error_code for one in answer.results} == {
        "ann": 0,
        "nobody": ErrorCode.RESOURCE_NOT_FOUND,
        "twice": ErrorCode.DUPLICATE_RESOURCE,
    }
    assert (await describe(world)).error_code == 0


async def test_deletion_and_refusals_are_answered_per_user(world: World) -> None:
    await alter(world, [upsertion("ann"), upsertion("bob")])
    answer = await alter(
        world,
        [upsertion("few", 1, 100), upsertion("odd", 5), upsertion("")],
        [deletion("ann"), deletion("bob", 2), deletion("nobody")],
    )
    assert answer == {
        "ann": 0,
        "bob": ErrorCode.RESOURCE_NOT_FOUND,
        "nobody": ErrorCode.RESOURCE_NOT_FOUND,
        "few": ErrorCode.UNACCEPTABLE_CREDENTIAL,
        "odd": ErrorCode.UNSUPPORTED_SASL_MECHANISM,
        "": ErrorCode.UNACCEPTABLE_CREDENTIAL,
    }
    assert world.metadata.image.scram_users() == ["bob"]


async def test_only_those_who_may(world: World) -> None:
    assert (await describe(world, user="ann")).error_code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED
    assert await alter(world, [upsertion("x")], [deletion("y")], user="ann") == {"y": 31, "x": 31}
    await world.allow("ann", Operation.ALTER)  # implies describing
    assert await alter(world, [upsertion("x")], user="ann") == {"x": 0}
    assert (await describe(world, user="ann")).error_code == 0


async def test_users_of_the_file_are_described_and_changed_by_nobody(world: World) -> None:
    verifier = derive_verifier(ScramMechanism.SCRAM_SHA_256, "pw", SALT, 8192)
    world.users.replace_file_users(
        {"fred": FileUser("fred", verifiers=(verifier,)), "tokens-only": FileUser("tokens-only")}
    )
    assert await alter(world, [upsertion("ann")]) == {"ann": 0}
    answer = await describe(world)
    assert {one.user: [info.iterations for info in one.credential_infos] for one in answer.results} == {
        "ann": [4096],
        "fred": [8192],
    }
    unacceptable = ErrorCode.UNACCEPTABLE_CREDENTIAL
    assert await alter(world, [upsertion("fred"), upsertion("bob")], [deletion("tokens-only")]) == {
        "tokens-only": unacceptable,
        "fred": unacceptable,
        "bob": 0,
    }
    assert await alter(world, deletions=[deletion("fred")]) == {"fred": unacceptable}
    assert world.metadata.image.scram_users() == ["ann", "bob"]
    assert (await describe(world, "tokens-only")).results[0].error_code == ErrorCode.RESOURCE_NOT_FOUND


async def test_few_iterations_are_refused_by_the_configured_minimum(world: World) -> None:
    few, enough = upsertion("ann", iterations=4096), upsertion("ann", 2, 20_000)
    handlers = CredentialHandlers(world.metadata, world.users, min_iterations=20_000)
    request = m.AlterUserScramCredentialsRequest(upsertions=[few, enough], deletions=[])
    answer = await handlers.alter_user_scram_credentials(None, request)  # type: ignore[arg-type]
    [result] = answer.results
    assert result.error_code == ErrorCode.UNACCEPTABLE_CREDENTIAL
    assert "at least 20000 iterations (auth.scram.min_iterations)" in result.error_message
    assert world.metadata.image.scram_users() == []
    request = m.AlterUserScramCredentialsRequest(upsertions=[enough], deletions=[])
    await handlers.alter_user_scram_credentials(None, request)  # type: ignore[arg-type]
    assert world.metadata.image.scram_users() == ["ann"]
