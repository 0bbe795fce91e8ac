"""The section `authorization`: who may do what."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from rivven.config.policies import SUPER_USERS_MAX, CedarConfig, RbacConfig, ShadowConfig, super_user_names
from rivven.config.values import Strict


class AuthorizationConfig(Strict):
    """Who may do what."""

    authorizers: list[str] = Field(
        default=["acl", "rbac"],
        min_length=1,
        max_length=8,
        description="Engines asked; a denial of any of them wins.",
    )
    super_users: list[str] = Field(
        default=[],
        max_length=SUPER_USERS_MAX,
        description="Principals that may do everything, written User:name.",
    )
    rbac: RbacConfig = Field(default=RbacConfig(), description="Roles, for the authorizer `rbac`.")
    allow_everyone_if_no_acl_found: bool = Field(
        default=False, description="Whether a resource without any rule is open to every authenticated user."
    )
    cedar: CedarConfig = Field(default=CedarConfig(), description="Policies of the authorizer `cedar`.")
    shadow: ShadowConfig = Field(
        default=ShadowConfig(), description="A candidate tried beside what is in force, without effect."
    )

    @field_validator("authorizers")
    @classmethod
    def _once_each(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError("names an authorizer twice")
        return names

    @model_validator(mode="after")
    def _roles_are_used(self) -> AuthorizationConfig:
        if self.rbac.file is not None and not {"acl", "rbac", "cedar"} & set(self.authorizers):
            raise ValueError("rbac.file: has no effect without rbac among the authorizers")
        return self

    @field_validator("super_users")
    @classmethod
    def _principals(cls, names: list[str]) -> list[str]:
        return super_user_names(names)

    @model_validator(mode="after")
    def _policies_are_used(self) -> AuthorizationConfig:
        tried = (self.shadow.authorizers or self.authorizers) if self.shadow.given else []
        here, there = self.cedar.policy_dir is not None, self.shadow.cedar.policy_dir is not None
        if self.shadow.acl.file is not None and "acl" not in tried:
            raise ValueError("shadow.acl.file: has no effect without acl among the authorizers")
        if "cedar" in self.authorizers and not here:
            raise ValueError("cedar.policy_dir: is required by the authorizer cedar")
        if here and "cedar" not in (*self.authorizers, *tried):
            raise ValueError("cedar.policy_dir: has no effect without cedar among the authorizers")
        if "cedar" in tried and not here and not there:
            raise ValueError("shadow.cedar.policy_dir: is required by the authorizer cedar")
        if there and "cedar" not in tried:
            raise ValueError("shadow.cedar.policy_dir: has no effect without cedar among the authorizers")
        return self
