"""Tokens over real metadata: a clock the test moves, users it names, ACLs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.session import ListenerInfo, Session
from rivven.api.tokens import TokenService, TokenTerms
from rivven.config.broker_settings import broker_defaults
from rivven.metadata.commands import CreateAcls
from rivven.metadata.service import MetadataService
from rivven.metadata.tokens import Tokens
from rivven.security.authn.authenticator import Authenticated, Credential
from rivven.security.authn.token_text import TokenHashKeys
from rivven.security.authn.token_uses import TokenUses
from rivven.security.authn.tokens import TokenAuthentication
from rivven.security.authz.access import Access
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.chain import AuthorizerChain
from rivven.tasks import Tasks
from rivven.testing.journal import MemoryJournal
from rivven.types import (
    AclBinding,
    Operation,
    PatternType,
    Permission,
    Principal,
    ResourceType,
)

LISTENER = ListenerInfo("main", tls=True, sasl=True, advertised_host="broker.example", advertised_port=9092)
ALICE, BOB = Principal("User", "alice"), Principal("User", "bob")
HOUR = 3_600_000
PASSWORD = Credential("password", "alice", 1)


class MovedClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.at_ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic(self) -> float:
        return self.at_ms / 1000


@dataclass
class User:
    enabled: bool = True
    groups: tuple[str, ...] = ()


class TokenWorld:
    """`User:alice` and `User:bob` are local users without rights; `User:admin` is a super user."""

    def __init__(self, tasks: Tasks, journal: MemoryJournal | None = None) -> None:
        self.journal = journal or MemoryJournal()
        self.clock = MovedClock()
        self.metadata = MetadataService(
            self.journal,
            self.clock,
            tasks,
            node_id=1,
            broker=broker_defaults(),
            entropy=random.Random(5).randbytes,
        )
        self.users: dict[str, User] = {"alice": User(), "bob": User()}
        self.uses = TokenUses()
        self.key = TokenHashKeys(b"k" * 32)
        self.service = TokenService(
            self.metadata,
            self.key,
            self.uses,
            self.clock,
            random.Random(7).randbytes,
            lambda name: name in self.users,
        )
        self.authentication = TokenAuthentication(lambda: self.tokens, self, self.key, self.uses.used)
        self.chain = AuthorizerChain({"acl": AclAuthorizer(lambda: self.metadata.image.acls)}, ["User:admin"])

    def find(self, name: str) -> User | None:
        return self.users.get(name)

    @property
    def tokens(self) -> Tokens:
        return self.metadata.image.of(Tokens)

    async def issue(self, owner: Principal = ALICE, **terms: Any) -> Any:
        """(token, its secret); an hour long, by its owner, unless said otherwise."""
        values: dict[str, Any] = {"creator": owner, "lifetime_ms": HOUR, "validity_ms": HOUR}
        return await self.service.issue(TokenTerms(owner, **(values | terms)))

    async def allow(self, user: str, operation: Operation, kind: ResourceType, name: str) -> None:
        rule = AclBinding(kind, name, PatternType.LITERAL, f"User:{user}", "*", operation, Permission.ALLOW)
        assert await self.metadata.submit(CreateAcls((rule,))) == [None]

    def context(
        self, principal: Principal | None = ALICE, credential: Credential = PASSWORD, **identity: Any
    ) -> RequestContext:
        """A request of this principal; None is a peer nobody authenticated."""
        session = Session(LISTENER, "10.0.0.1", None)
        if principal is None:
            session.become_anonymous()
        else:
            session.become(Authenticated(principal, credential=credential, **identity), "PLAIN")
        assert session.subject is not None
        access = Access(session.subject, self.chain)
        return RequestContext(38, 3, 1, "test", session, access, self.clock.now_ms())
