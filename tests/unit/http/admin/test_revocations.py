"""The routes of revocations: one spelling whatever was typed, refused when it could never match."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from rivven.http.admin import revocations as module
from rivven.http.admin.routes import Call, Permission
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.revocations import Revocations
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.testing.authorizers import AllowAll
from rivven.types import Operation, Principal

ADMIN = Principal("User", "admin")
NOW_MS = 1_000


class World:
    """The routes over a machine that commits at once."""

    def __init__(self) -> None:
        self.machine = MetadataMachine(BrokerValues(1, {}), 1)
        metadata = SimpleNamespace(image=self.machine.image, submit=self.submit)
        self.rows = {row.method: row for row in module.routes(metadata)}  # type: ignore[arg-type]

    async def submit(self, command: Any) -> Any:
        outcome = self.machine.decide(command, 1, NOW_MS)
        for event in outcome.events:
            self.machine.apply(event)
        return outcome.replies[0][1]

    async def __call__(self, method: str, entry: str = "", **body: Any) -> Any:
        row = self.rows[method]
        subject = Subject(ADMIN, "10.0.0.1")
        access = Access(subject, AuthorizerChain({"all": AllowAll()}))
        call = Call(subject, Authenticated(ADMIN), access, {"id": entry}, NOW_MS, "r")
        if row.query is not None:
            call.query = row.query()
        if row.request is not None:
            call.body = row.request(**body)
        return await row.handler(call)


async def test_added_listed_and_taken_back() -> None:
    world = World()
    added = await world(
        "POST", kind="certificate-serial", value="00:0A:3F", issuer="CN=CA", reason="lost", forget_after_ms=99
    )
    assert (added.value, added.issuer, added.revoked_at_ms, added.forget_after_ms) == (
        "a3f",
        "CN=CA",
        NOW_MS,
        99,
    )
    assert (await world("GET")).items == [added]
    await world("DELETE", added.id)
    assert (await world("GET")).items == []
    assert len(world.machine.image.of(Revocations)) == 0


async def test_fingerprints_in_any_spelling_are_one() -> None:
    world = World()
    first = await world("POST", kind="certificate-fingerprint", value=":".join(["AB"] * 32))
    second = await world("POST", kind="certificate-fingerprint", value="ab" * 32)
    assert (first.id, first.value) == (second.id, "ab" * 32)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "password", "value": "x"},
        {"kind": "jwt-id"},
        {"kind": "jwt-id", "value": ""},
        {"kind": "jwt-id", "value": "x" * 3000},
        {"kind": "jwt-id", "value": "x", "other": 1},
        {"kind": "certificate-fingerprint", "value": "ab"},
        {"kind": "jwt-subject", "value": "a", "issued_before_ms": -1},
    ],
)
async def test_what_is_no_revocation(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        await World()("POST", **body)


def test_what_it_takes() -> None:
    rows = World().rows
    assert rows["GET"].permission == Permission(Operation.DESCRIBE)
    assert {rows[method].permission for method in ("POST", "DELETE")} == {Permission(Operation.ALTER)}
