"""Routes about roles: which there are, who has them, and changing those that are not of a file."""

from __future__ import annotations

from pydantic import BaseModel, Field

from rivven.actions import Permit, WordError, parse_member
from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.problems import Problem, not_found
from rivven.http.admin.routes import Call, Input, Permission, Route
from rivven.metadata.roles import (
    DESCRIPTION_LENGTH_MAX,
    MEMBERS_PER_COMMAND_MAX,
    PERMISSIONS_MAX,
    DeleteRole,
    DynamicRole,
    GrantRole,
    PutRole,
    RevokeRole,
)
from rivven.metadata.service import MetadataService
from rivven.security.authz.roles import Role, RoleDirectory
from rivven.types import Operation


class PermissionEntry(Input):
    """Actions on the resources of a pattern."""

    resource: str = Field(max_length=2_048, description="topic:orders-*, group:x, cluster, or *.")
    actions: list[str] = Field(min_length=1, max_length=100, description="produce, consume, ...")


class RoleInfo(BaseModel):
    """One role."""

    name: str
    source: str = Field(description="built-in, file or metadata.")
    where: str = Field(description="File and line, for a role of the roles file.")
    description: str
    permissions: list[PermissionEntry]


class MemberInfo(BaseModel):
    """Somebody who has a role."""

    member: str = Field(description="user:NAME or group:NAME.")
    source: str = Field(description="metadata, file (the roles file), users-file or issuer.")
    where: str = Field(description="File and line, for a binding of the roles file.")


class NewRole(Input):
    """A role to create."""

    name: str = Field(max_length=100)
    description: str = Field(default="", max_length=DESCRIPTION_LENGTH_MAX)
    permissions: list[PermissionEntry] = Field(max_length=PERMISSIONS_MAX)


class RoleChange(Input):
    """What a role becomes."""

    description: str = Field(default="", max_length=DESCRIPTION_LENGTH_MAX)
    permissions: list[PermissionEntry] = Field(max_length=PERMISSIONS_MAX)


class Members(Input):
    """Users and groups."""

    members: list[str] = Field(
        min_length=1, max_length=MEMBERS_PER_COMMAND_MAX, description="user:NAME or group:NAME."
    )


class ChangedMembers(BaseModel):
    """Those for whom something has changed."""

    changed: list[str]


DESCRIBE, ALTER = Permission(Operation.DESCRIBE), Permission(Operation.ALTER)


class RoleRoutes:
    """The handlers, over the directory of all roles and the metadata that holds the dynamic ones."""

    def __init__(self, roles: RoleDirectory, metadata: MetadataService) -> None:
        self._roles = roles
        self._metadata = metadata

    async def listing(self, call: Call) -> Listing[RoleInfo]:
        return page(self._roles.roles(), lambda role: role.name, _shown, call.query)

    async def one(self, call: Call) -> RoleInfo:
        return _shown(self._find(call.path["name"]))

    async def members(self, call: Call) -> Listing[MemberInfo]:
        name = self._find(call.path["name"]).name
        found = {one.member: one for one in reversed(self._roles.bindings()) if one.role == name}
        return page(
            found.values(),
            lambda one: _word(one.member),
            lambda one: MemberInfo(member=_word(one.member), source=one.source, where=one.where),
            call.query,
        )

    async def create(self, call: Call) -> RoleInfo:
        body: NewRole = call.body
        return await self._put(body.name, body, replace=False)

    async def replace(self, call: Call) -> RoleInfo:
        name = self._find(call.path["name"]).name
        return await self._put(name, call.body, replace=True)

    async def delete(self, call: Call) -> None:
        role = self._find(call.path["name"])
        self._check_dynamic(role.name)
        await self._metadata.submit(DeleteRole(role.name))

    async def grant(self, call: Call) -> ChangedMembers:
        role = self._find(call.path["name"])
        changed = await self._metadata.submit(GrantRole(role.name, tuple(call.body.members)))
        return ChangedMembers(changed=[_word(member) for member in changed])

    async def revoke(self, call: Call) -> ChangedMembers:
        """A role that was deleted since may still be taken from somebody."""
        name, member = call.path["name"], call.path["member"]
        try:
            principal = parse_member(member)
        except WordError as error:
            raise Problem(422, str(error)) from None
        changed = await self._metadata.submit(RevokeRole(name, (member,)))
        if not changed:
            held = [one for one in self._roles.bindings() if (one.role, one.member) == (name, principal)]
            if held:
                raise Problem(409, f"{member} has the role by a file: {held[0].where or held[0].source}")
            raise not_found(f"{member} does not have the role {name}")
        return ChangedMembers(changed=[_word(one) for one in changed])

    def _find(self, name: str) -> Role:
        role = self._roles.find(name)
        if role is None:
            raise not_found("there is no such role")
        return role

    def _check_dynamic(self, name: str) -> None:
        role = self._roles.find(name)
        if role is not None and role.source == "file":
            raise Problem(409, f"the role is of the roles file ({role.where}): change it there")
        if role is not None and role.source == "built-in":
            raise Problem(409, "the role is built in; a role of its name in the roles file replaces it")

    async def _put(self, name: str, body: NewRole | RoleChange, *, replace: bool) -> RoleInfo:
        self._check_dynamic(name)
        permits = tuple(Permit(one.resource, tuple(one.actions)) for one in body.permissions)
        await self._metadata.submit(PutRole(DynamicRole(name, permits, body.description), replace))
        return _shown(self._find(name))


def routes(roles: RoleDirectory, metadata: MetadataService) -> list[Route]:
    """The rows of this module."""
    on = RoleRoutes(roles, metadata)
    change, this = "role_change", "role:{name}"
    return [
        Route("GET", "/v1/roles", DESCRIBE, on.listing, "Every role", Listing[RoleInfo], query=PageQuery),
        Route("GET", "/v1/roles/{name}", DESCRIBE, on.one, "One role", RoleInfo),
        Route(
            "GET",
            "/v1/roles/{name}/members",
            DESCRIBE,
            on.members,
            "Who has a role",
            Listing[MemberInfo],
            query=PageQuery,
        ),
        Route(
            "POST",
            "/v1/roles",
            ALTER,
            on.create,
            "Create a role",
            RoleInfo,
            NewRole,
            audited=change,
            names=lambda call: f"role:{call.body.name}",
            facts=_permissions,
        ),
        Route(
            "PUT",
            "/v1/roles/{name}",
            ALTER,
            on.replace,
            "Change a role",
            RoleInfo,
            RoleChange,
            audited=change,
            facts=_permissions,
            target=this,
        ),
        Route(
            "DELETE",
            "/v1/roles/{name}",
            ALTER,
            on.delete,
            "Delete a role; nobody has it any more",
            status=204,
            audited=change,
            target=this,
        ),
        Route(
            "POST",
            "/v1/roles/{name}/members",
            ALTER,
            on.grant,
            "Give users and groups a role",
            ChangedMembers,
            Members,
            audited=change,
            facts=lambda call: {"given_to": call.body.members},
            target=this,
        ),
        Route(
            "DELETE",
            "/v1/roles/{name}/members/{member}",
            ALTER,
            on.revoke,
            "Take a role from a user or group",
            ChangedMembers,
            audited=change,
            facts=lambda call: {"taken_from": call.path["member"]},
            target=this,
        ),
    ]


def _permissions(call: Call) -> dict[str, list[str]]:
    """What a role is to let through, for the audit log: ``topic:orders-*:produce,describe``."""
    return {"permissions": [f"{one.resource}:{','.join(one.actions)}" for one in call.body.permissions]}


def _shown(role: Role) -> RoleInfo:
    return RoleInfo(
        name=role.name,
        source=role.source,
        where=role.where if role.source == "file" else "",
        description=role.description,
        permissions=[
            PermissionEntry(resource=permit.resource, actions=list(permit.actions)) for permit in role.permits
        ],
    )


def _word(principal: str) -> str:
    kind, _, name = principal.partition(":")
    return f"{kind.lower()}:{name}"
