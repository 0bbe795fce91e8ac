"""The route of secrets: the right that it takes, and an answer that shows an id at most."""

from __future__ import annotations

from rivven.http.admin.routes import UNSAFE, Call, Permission
from rivven.http.admin.secrets import routes
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.keys.secrets import RotatedSecret
from rivven.types import Operation, Principal


class Secrets:
    """Rotates whatever it is asked to."""

    async def rotate(self, name: str) -> RotatedSecret:
        return RotatedSecret(name, "aa", 2)


async def test_a_rotation_is_answered_and_audited() -> None:
    [row] = routes(Secrets())
    subject = Subject(Principal("User", "alice"), "10.0.0.1")
    access = Access(subject, AuthorizerChain({}))
    call = Call(subject, Authenticated(subject.principal), access, {"name": "token-hash"}, 1, "r")
    answer = await row.handler(call)
    assert answer.model_dump() == {"name": "token-hash", "key_id": "aa", "kept": 2}  # type: ignore[union-attr]
    assert row.permission == Permission(Operation.ALTER) and row.method in UNSAFE
    assert (row.audited, row.target) == ("key_change", "secret:{name}")
