"""The authorisation seam: who asks, what for, and what an engine answers.

Engines (ACLs, roles, policies) implement `Authorizer`; several form a chain in which any DENY wins (see
`chain`). Nothing here knows an engine, an API or a socket.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from rivven.types import Operation, Principal, ResourceType

NAME_CHARACTERS_KEPT = 512
"""Answers about longer names are not remembered. No topic has one, but whoever is logged in can ask for names
of 32 KiB, and tens of thousands of them would be gigabytes."""


def canonical_host(text: str) -> str:
    """One spelling per address: IPv4-mapped IPv6 becomes IPv4, IPv6 is compressed, zone ids are dropped.

    Text that is no IP address (``*`` among it) comes back unchanged. Rules written by Java tools spell
    ``::1`` as ``0:0:0:0:0:0:0:1``; dual-stack sockets report IPv4 peers as ``::ffff:a.b.c.d``.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks: the principal of a session, the groups it belongs to, and how it came in.

    `scope` is a ceiling on whatever else would be allowed, None without one. `client_id` is what the client
    says of itself: never a reason to trust it. `key` identifies everything that address- and name-based rules
    can depend on, `session_key` everything at all; caches use them.
    """

    principal: Principal
    host: str
    listener: str = ""
    groups: tuple[str, ...] = ()
    mechanism: str = ""
    tls: bool = False
    client_id: str = ""
    scope: tuple[str, ...] | None = None
    key: tuple[str, ...] = field(init=False, compare=False, repr=False, default=())
    session_key: tuple[object, ...] = field(init=False, compare=False, repr=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", canonical_host(self.host))
        key = (str(self.principal), self.host, *self.groups)
        object.__setattr__(self, "key", key)
        way_in = (self.listener, self.mechanism, self.tls, self.client_id)
        object.__setattr__(self, "session_key", (key, self.scope, *way_in))


class Action(NamedTuple):
    """What a subject wants: one operation on one named resource."""

    operation: Operation
    resource_type: ResourceType
    resource_name: str


class Verdict(Enum):
    """What one engine says; NO_OPINION leaves the decision to the rest of the chain (nobody: denied)."""

    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer about one action. `reason` is for the operator (logs, audit), never for the client.

    `engine` is the configured name of who decided, `rule` the id of what decided - a rule in words, a role, a
    policy - with ``file:line`` where it stands in a file; both empty where nothing decided.
    """

    allowed: bool
    reason: str
    verdict: Verdict
    engine: str = ""
    rule: str = ""

    def __post_init__(self) -> None:
        if self.allowed is not (self.verdict is Verdict.ALLOW):
            raise ValueError(f"allowed={self.allowed} contradicts the verdict {self.verdict.value}")

    @classmethod
    def allow(cls, reason: str, *, engine: str = "", rule: str = "") -> Decision:
        return cls(True, reason, Verdict.ALLOW, engine, rule)

    @classmethod
    def deny(cls, reason: str, *, engine: str = "", rule: str = "") -> Decision:
        return cls(False, reason, Verdict.DENY, engine, rule)

    @classmethod
    def no_opinion(cls, reason: str, *, engine: str = "") -> Decision:
        return cls(False, reason, Verdict.NO_OPINION, engine)


class Authorizer(Protocol):
    """An engine. Both methods are synchronous, use local state only, and never raise for any names."""

    def authorize(self, subject: Subject, actions: Sequence[Action]) -> list[Decision]:
        """One decision per action, in order."""
        ...

    def authorize_any(self, subject: Subject, operation: Operation, resource_type: ResourceType) -> Decision:
        """Whether some resource of the type exists (or could) on which the operation is allowed (KIP-679)."""
        ...
