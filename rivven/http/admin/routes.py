"""What a route of the Admin API is: a row that states method, path, permission, shapes and what audit hears.

Pure values; the framework that serves them is `application`'s, the order of checks `guard`'s. A part of the
broker adds its rows in a module of its own, ``rivven/http/admin/<noun>.py``, with ``def routes(...) ->
list[Route]``, and one line in `catalogue`.

    Open      no identity needed; yes-or-no answers only
    Permission  one operation on one resource, checked before the body is read
    Self_     any authenticated caller, about himself only
    Asked     the handler asks `call.access` (which resource is asked for stands in the body, or a list is
              filtered); an answer without a question is a bug and fails
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rivven.audit.events import Fact
from rivven.http.admin.problems import Problem
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.types import CLUSTER_NAME, Operation, ResourceType

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

UNSAFE: frozenset[str] = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods that change something: they need application/json, and their rows an audit event."""

_PATH = re.compile(r"(?:/(?:[a-z0-9.-]+|\{[a-z_]+\}))+")
_PARAMETER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Permission:
    """`operation` on the named resource; a `name` in braces is a parameter of the path."""

    operation: Operation
    resource_type: ResourceType = ResourceType.CLUSTER
    name: str = CLUSTER_NAME

    def resource(self, parameters: Mapping[str, str]) -> str:
        """The name asked about in a request with these path parameters."""
        return filled(self.name, parameters)

    def __str__(self) -> str:
        what = self.resource_type.name.lower().replace("_", "-")
        on = "the cluster" if self.resource_type is ResourceType.CLUSTER else f"{what} {self.name}"
        return f"{self.operation.name.lower().replace('_', '-')} on {on}"


@dataclass(frozen=True, slots=True)
class Open:
    """No identity. Such a row answers yes or no and nothing else."""

    why: str

    def __str__(self) -> str:
        return "nobody has to log in"


@dataclass(frozen=True, slots=True)
class Self_:
    """Whoever has logged in, about himself."""

    why: str

    def __str__(self) -> str:
        return "any user"


@dataclass(frozen=True, slots=True)
class Asked:
    """The handler asks `call.access`; `what` says which permissions in words."""

    what: str

    def __str__(self) -> str:
        return self.what


Rule = Permission | Open | Self_ | Asked


class Input(BaseModel):
    """A JSON body: what it does not name is refused, and values are not repeated in errors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is not JSON of a model: its content type."""

    content_type: str


@dataclass(frozen=True, slots=True)
class Raw:
    """What a handler of a `Media` route returns."""

    body: bytes = field(repr=False)
    status: int = 200


@dataclass(slots=True)
class Call:
    """One request that passed the checks of its row: who asks, and what came with it."""

    subject: Subject
    identity: Authenticated
    access: Access
    path: Mapping[str, str]
    now_ms: int
    request_id: str
    query: Any = None
    """The row's `query` model, validated; None when it has none."""
    body: Any = None
    """The row's `request` model, validated; None when it has none."""
    made: str = ""
    """What a handler made whose name nobody knew before, for the audit log (``delegation-token:id``)."""

    def require(self, operation: Operation, resource_type: ResourceType, name: str = CLUSTER_NAME) -> None:
        """For rows of kind `Asked`: raises the 403 problem unless the caller may."""
        if not self.access.allowed(operation, resource_type, name):
            raise denied()


Handler = Callable[[Call], Awaitable[BaseModel | Raw | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `audited` is the audit event's type, required for unsafe methods; `target` names what is
    changed, with path parameters in braces (``user:{name}``), `names` does so where only the body knows.
    `facts` is what the audit log hears of a body; it must leave out what is secret."""

    method: Method
    path: str
    permission: Rule
    handler: Handler
    summary: str
    response: type[BaseModel] | Media | None = None
    request: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    audited: str | None = None
    target: str = "cluster"
    names: Callable[[Call], str] | None = None
    facts: Callable[[Call], Mapping[str, Fact]] | None = None

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"{self.path!r} is not a path of lower case words and {{parameters}}")
        if (self.method in UNSAFE) != (self.audited is not None):
            raise ValueError(f"{self.method} {self.path}: `audited` goes with methods that change something")
        if self.request is not None and self.method not in UNSAFE:
            raise ValueError(f"{self.method} {self.path}: {self.method} has no body")
        if self.request is not None and self.facts is None:
            raise ValueError(f"{self.method} {self.path}: `facts` says what the audit log hears of a body")
        if (self.response is None) != (self.status == 204):
            raise ValueError(f"{self.method} {self.path}: status 204 and no response go together")
        named = self.permission.name if isinstance(self.permission, Permission) else ""
        missing = set(_PARAMETER.findall(named + self.target)) - set(self.parameters)
        if missing:
            raise ValueError(f"{self.method} {self.path}: no parameter {min(missing)}")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(_PARAMETER.findall(self.path))

    def named_target(self, parameters: Mapping[str, str]) -> str:
        """What is changed by a request with these path parameters, for the audit log."""
        return filled(self.target, parameters)


def filled(template: str, parameters: Mapping[str, str]) -> str:
    """`template` with ``{name}`` replaced once by parameters; values are not looked into again."""
    return _PARAMETER.sub(lambda match: parameters[match.group(1)], template)


def denied() -> Problem:
    """The one answer for everything a caller may not do."""
    return Problem(403, "you are not allowed to do this; the audit log says why")
