"""Routes about users: what Kafka's API has no words for - enabled, groups, passwords checked for complexity.

A password arrives over TLS only, is turned into verifiers at once and kept nowhere. Users of the users file
are shown and changed by nobody but the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from rivven.errors import ErrorCode, RivvenError
from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.problems import FieldProblem, Problem, not_found
from rivven.http.admin.routes import Call, Input, Permission, Route
from rivven.metadata.commands import AlterScram, ScramDeletion, StoreScram
from rivven.metadata.service import MetadataService
from rivven.metadata.users import AlterUser, check_group
from rivven.protocol.scram import ScramVerifier
from rivven.security.authn.authenticator import Entropy
from rivven.security.authn.passwords import (
    PASSWORD_LENGTH_MAX,
    complexity_problems,
    generate_password,
    verifiers_of,
)
from rivven.security.authn.services import AuthenticationServices
from rivven.security.authn.users import USER_NAME_LENGTH_MAX, User, check_user_name
from rivven.types import Operation

AUDITED = "user_change"

GROUPS_MAX = 100
"""As many as the metadata takes for one user."""

Group = Annotated[str, Field(min_length=1, max_length=256)]


class UserInfo(BaseModel):
    """One user."""

    name: str
    enabled: bool
    groups: list[str]
    roles: list[str] = Field(description="Roles the users file gives; bindings are listed with the roles.")
    source: str = Field(description="file or metadata; a file's users are changed there.")
    mechanisms: dict[str, int] = Field(description="SCRAM mechanisms with their iterations.")


class NewUser(Input):
    """A user to be made."""

    name: str = Field(min_length=1, max_length=USER_NAME_LENGTH_MAX)
    password: SecretStr | None = Field(
        default=None,
        max_length=PASSWORD_LENGTH_MAX,
        description="8 characters with upper and lower case, a digit and another sign; null: a random one.",
    )
    groups: list[Group] = Field(default=[], max_length=GROUPS_MAX)


class NewPassword(Input):
    """A password to be set."""

    password: SecretStr | None = Field(
        default=None, max_length=PASSWORD_LENGTH_MAX, description="As for a new user; null: a random one."
    )


class UserChange(Input):
    """What to change; what is null or empty stays."""

    enabled: bool | None = None
    add_groups: list[Group] = Field(default=[], max_length=GROUPS_MAX)
    remove_groups: list[Group] = Field(default=[], max_length=GROUPS_MAX)


class PasswordSet(BaseModel):
    """The user as it is now."""

    user: UserInfo
    password: str | None = Field(
        repr=False, description="The random password, shown once; null for a given one."
    )


class UserRoutes:
    """The handlers; `iterations` is what typed passwords get (``auth.scram.iterations``)."""

    def __init__(
        self, metadata: MetadataService, services: AuthenticationServices, entropy: Entropy, iterations: int
    ) -> None:
        self._metadata = metadata
        self._users = services.users
        self._passwords = services.passwords
        self._entropy = entropy
        self._iterations = iterations

    async def listing(self, call: Call) -> Listing[UserInfo]:
        """Every user."""
        return page(
            self._users.names(), lambda name: name, lambda name: _shown(self._found(name)), call.query
        )

    async def show(self, call: Call) -> UserInfo:
        """One user."""
        return _shown(self._found(call.path["name"]))

    async def create(self, call: Call) -> PasswordSet:
        """Make a user; 409 when there is one."""
        name = call.body.name
        try:
            check_user_name(name)
        except ValueError as error:
            raise _wrong("body.name", str(error)) from None
        for group in call.body.groups:
            check_group(group)
        if self._users.find(name) is not None:
            raise Problem(409, "there is a user of this name", error=ErrorCode.DUPLICATE_RESOURCE.name)
        return await self._set_password(name, call.body.password, new=True, groups=tuple(call.body.groups))

    async def set_password(self, call: Call) -> PasswordSet:
        """Replace the password of a user for every mechanism; its sessions end."""
        return await self._set_password(self._own(call).name, call.body.password)

    async def change(self, call: Call) -> UserInfo:
        """Enable, disable, add to groups, take out of groups."""
        name, body = self._own(call).name, call.body
        command = AlterUser(name, body.enabled, tuple(body.add_groups), tuple(body.remove_groups))
        await self._metadata.submit(command)
        return _shown(self._found(name))

    async def delete(self, call: Call) -> None:
        """Remove every credential and setting; its sessions end."""
        user = self._own(call)
        deletions = tuple(ScramDeletion(user.name, mechanism.code) for mechanism, _ in user.mechanisms)
        results = await self._metadata.submit(AlterScram(deletions=deletions))
        refusal: RivvenError | None = results[user.name]
        if refusal is not None:
            raise refusal

    def _found(self, name: str) -> User:
        user = self._users.find(name)
        if user is None:
            raise not_found("there is no such user")
        return user

    def _own(self, call: Call) -> User:
        """A user that may be changed here."""
        user = self._found(call.path["name"])
        if user.source == "file":
            raise Problem(409, "the user is in the users file and changed there")
        return user

    async def _set_password(
        self, name: str, given: SecretStr | None, *, new: bool = False, groups: tuple[str, ...] = ()
    ) -> PasswordSet:
        generated = generate_password(self._entropy) if given is None else None
        password = generated or ("" if given is None else given.get_secret_value())
        verifiers = await self._passwords.work(self._derivation(password, generated is not None))
        await self._metadata.submit(StoreScram(name, verifiers, new, groups))
        return PasswordSet(user=_shown(self._found(name)), password=generated)

    def _derivation(self, password: str, generated: bool) -> Callable[[], tuple[ScramVerifier, ...]]:
        if generated:
            return lambda: verifiers_of(password, self._entropy)
        problems = complexity_problems(password)
        if problems:
            raise _wrong("body.password", f"needs {', '.join(problems)}")
        return lambda: verifiers_of(password, self._entropy, self._iterations)


def routes(
    metadata: MetadataService, services: AuthenticationServices, entropy: Entropy, iterations: int
) -> list[Route]:
    """The rows of this module."""
    users = UserRoutes(metadata, services, entropy, iterations)
    look, change = Permission(Operation.DESCRIBE), Permission(Operation.ALTER)
    return [
        Route("GET", "/v1/users", look, users.listing, "All users", Listing[UserInfo], query=PageQuery),
        Route(
            "POST",
            "/v1/users",
            change,
            users.create,
            "Make a user",
            PasswordSet,
            request=NewUser,
            status=201,
            audited=AUDITED,
            names=lambda call: f"user:{call.body.name}",
            facts=lambda call: {"change": "create", "groups": call.body.groups},
        ),
        Route("GET", "/v1/users/{name}", look, users.show, "One user", UserInfo),
        Route(
            "PATCH",
            "/v1/users/{name}",
            change,
            users.change,
            "Enable or disable a user, change its groups",
            UserInfo,
            request=UserChange,
            audited=AUDITED,
            facts=lambda call: call.body.model_dump(exclude_defaults=True),
            target="user:{name}",
        ),
        Route(
            "PUT",
            "/v1/users/{name}/password",
            change,
            users.set_password,
            "Replace a user's password; its sessions end",
            PasswordSet,
            request=NewPassword,
            audited=AUDITED,
            facts=lambda _call: {"change": "set credential"},
            target="user:{name}",
        ),
        Route(
            "DELETE",
            "/v1/users/{name}",
            change,
            users.delete,
            "Delete a user; its sessions end",
            status=204,
            audited=AUDITED,
            target="user:{name}",
        ),
    ]


def _shown(user: User) -> UserInfo:
    return UserInfo(
        name=user.name,
        enabled=user.enabled,
        groups=list(user.groups),
        roles=list(user.roles),
        source=user.source,
        mechanisms={mechanism.value: iterations for mechanism, iterations in user.mechanisms},
    )


def _wrong(field: str, reason: str) -> Problem:
    return Problem(
        422, "the request is not what this route takes", fields=[FieldProblem(field=field, reason=reason)]
    )
