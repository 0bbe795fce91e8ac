"""The section `authorization`: who may do what."""

from __future__ import annotations

from pydantic import Field, field_validator

from rivven.config.values import Strict

SUPER_USERS_MAX = 100  # looked up on every decision, shown in every start-up report


class AuthorizationConfig(Strict):
    """Who may do what."""

    authorizers: list[str] = Field(
        default=["acl"],
        min_length=1,
        max_length=8,
        description="Engines asked; a denial of any of them wins.",
    )
    super_users: list[str] = Field(
        default=[],
        max_length=SUPER_USERS_MAX,
        description="Principals that may do everything, written User:name.",
    )
    allow_everyone_if_no_acl_found: bool = Field(
        default=False, description="Whether a resource without any rule is open to every authenticated user."
    )

    @field_validator("super_users")
    @classmethod
    def _principals(cls, names: list[str]) -> list[str]:
        for name in names:
            kind, colon, user = name.partition(":")
            if not colon or kind.lower() != "user" or not user:
                raise ValueError(f"{name!r} is not of the form User:name")
        return ["User:" + name.partition(":")[2] for name in names]
