"""The parts of `authorization` that a candidate can have too: roles, Cedar policies; and the candidate
itself.
"""

from __future__ import annotations

from pydantic import Field, field_validator

from rivven.config.values import FilePath, Strict

SUPER_USERS_MAX = 100  # looked up on every decision, shown in every start-up report


def super_user_names(names: list[str]) -> list[str]:
    """``User:name`` in Kafka's spelling; raises ValueError for anything else."""
    for name in names:
        kind, colon, user = name.partition(":")
        if not colon or kind.lower() != "user" or not user:
            raise ValueError(f"{name!r} is not of the form User:name")
    return ["User:" + name.partition(":")[2] for name in names]


class RbacConfig(Strict):
    """Roles from a file."""

    file: FilePath | None = Field(
        default=None,
        description=(
            "A roles file (rbac.yaml): roles, and the users and groups that have them. Read again when it "
            "changes; a file that cannot be used leaves the roles from before."
        ),
    )


class CedarConfig(Strict):
    """Where the policies of the authorizer `cedar` are."""

    policy_dir: FilePath | None = Field(
        default=None, description="Directory with *.cedar files; taken over when it changes."
    )
    schema_path: FilePath | None = Field(
        default=None,
        description="Cedar schema policies must validate against, instead of the shipped one "
        "(`rivven policy schema`).",
    )


class AclFileConfig(Strict):
    """Access rules that are only tried."""

    file: FilePath | None = Field(
        default=None,
        description="Access rules as `rivven acl list -o json` prints them; taken over when it changes.",
    )


class ShadowConfig(Strict):
    """A candidate evaluated beside what is in force: differences are counted and recorded, answers stay."""

    authorizers: list[str] | None = Field(
        default=None, min_length=1, max_length=8, description="Its engines; those in force if not given."
    )
    super_users: list[str] | None = Field(
        default=None, max_length=SUPER_USERS_MAX, description="Its super users; those in force if not given."
    )
    allow_everyone_if_no_acl_found: bool | None = Field(
        default=None, description="Its answer for resources without a rule; the one in force if not given."
    )
    acl: AclFileConfig = Field(
        default=AclFileConfig(), description="Its access rules; those in force if not given."
    )
    rbac: RbacConfig = Field(
        default=RbacConfig(), description="Its roles file; the one in force if not given."
    )
    cedar: CedarConfig = Field(
        default=CedarConfig(), description="Its policies; those in force if not given."
    )

    @property
    def given(self) -> bool:
        """Whether the candidate differs from what is in force at all."""
        parts = (self.authorizers, self.super_users, self.allow_everyone_if_no_acl_found)
        files = (self.acl.file, self.rbac.file, self.cedar.policy_dir)
        return any(part is not None for part in (*parts, *files))

    @field_validator("super_users")
    @classmethod
    def _principals(cls, names: list[str] | None) -> list[str] | None:
        return None if names is None else super_user_names(names)
