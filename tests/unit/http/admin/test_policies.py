"""The rows about policies: those of the Cedar engine in the chain, page by page."""

from __future__ import annotations

from pathlib import Path

from rivven.http.admin.pages import PageQuery
from rivven.http.admin.policies import routes
from rivven.http.admin.routes import Call, Permission
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.access import Access
from rivven.security.authz.chain import AuthorizerChain
from rivven.testing.authorizers import AllowAll
from rivven.types import Operation
from tests.unit.security.authz.cedar.policy_world import authorizer, user

POLICIES = """
@id("b") forbid(principal == User::"x", action, resource);
@id("a") permit(principal, action, resource);
"""


async def listed(chain: AuthorizerChain, **query: object) -> tuple[list[dict[str, object]], str | None]:
    [row] = routes(chain)
    subject = user()
    call = Call(
        subject,
        Authenticated(subject.principal),
        Access(subject, chain),
        {},
        0,
        "r",
        query=PageQuery(**query),  # type: ignore[arg-type]
    )
    answer = (await row.handler(call)).model_dump()  # type: ignore[union-attr]
    return answer["items"], answer["next"]


async def test_policies_in_order_of_their_ids(tmp_path: Path) -> None:
    chain = AuthorizerChain({"allow": AllowAll(), "cedar": authorizer(tmp_path, POLICIES)})
    items, more = await listed(chain)
    assert [(one["id"], one["effect"], one["line"]) for one in items] == [
        ("a", "permit", 3),
        ("b", "forbid", 2),
    ]
    assert items[0]["file"] == str(tmp_path / "a.cedar")
    assert str(items[0]["text"]).startswith('@id("a") permit')
    assert more is None
    items, more = await listed(chain, limit=1)
    assert ([one["id"] for one in items], more) == (["a"], "a")
    items, _ = await listed(chain, limit=1, after="a")
    assert [one["id"] for one in items] == ["b"]


async def test_where_cedar_does_not_decide_there_are_none() -> None:
    assert await listed(AuthorizerChain({"allow": AllowAll()})) == ([], None)


def test_the_cluster_must_be_describable() -> None:
    [row] = routes(AuthorizerChain({}))
    assert row.permission == Permission(Operation.DESCRIBE)
