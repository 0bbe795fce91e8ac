"""Routes about Cedar policies: those in force. They are changed where they come from, in their directory."""

from __future__ import annotations

from pydantic import BaseModel, Field

from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.routes import Call, Permission, Route
from rivven.security.authz.cedar.book import Policy
from rivven.security.authz.cedar.engine import CedarAuthorizer
from rivven.security.authz.chain import AuthorizerChain
from rivven.types import Operation


class PolicyInfo(BaseModel):
    """One policy in force."""

    id: str = Field(description="Its @id, as decisions name it.")
    effect: str = Field(description="permit or forbid.")
    file: str
    line: int = Field(description="The line of `file` it begins on, from 1.")
    text: str


def routes(chain: AuthorizerChain) -> list[Route]:
    """The rows of this module."""

    async def listing(call: Call) -> Listing[PolicyInfo]:
        engines = chain.engines.values()
        found = [one for engine in engines if isinstance(engine, CedarAuthorizer) for one in engine.policies]
        return page(found, lambda one: one.id, _shown, call.query)

    return [
        Route(
            "GET",
            "/v1/policies",
            Permission(Operation.DESCRIBE),
            listing,
            "Cedar policies in force; none where Cedar does not decide",
            Listing[PolicyInfo],
            query=PageQuery,
        ),
    ]


def _shown(policy: Policy) -> PolicyInfo:
    return PolicyInfo(
        id=policy.id,
        effect="permit" if policy.permits else "forbid",
        file=policy.file,
        line=policy.line,
        text=policy.text,
    )
