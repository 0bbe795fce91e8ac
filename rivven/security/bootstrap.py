"""The first credential: made when a data directory has none, shown once, stored only as verifiers.

Nobody can log in to create the first user, so it is made here: by the first start in development, by
``rivven server init`` elsewhere. What it returns must be submitted to the metadata by the caller, AFTER the
client files are written and BEFORE the password is shown: a crash in between then repeats the first start
instead of losing the password. It must not print or log.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from rivven.protocol.scram import ScramVerifier
from rivven.security.authn.authenticator import Entropy
from rivven.security.authn.passwords import GENERATED_ITERATIONS, generate_password, verifiers_of
from rivven.security.authn.users import check_user_name
from rivven.types import (
    CLUSTER_NAME,
    WILDCARD,
    AclBinding,
    Operation,
    PatternType,
    Permission,
    Principal,
    ResourceType,
)

DEV_ADMIN = "admin"


class NoCredentials(Exception):
    """A server that requires authentication has no user; the message says which command makes one."""


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The first user: its password (to be shown once), its verifiers and its rules (to be submitted)."""

    name: str
    password: str = field(repr=False)
    verifiers: tuple[ScramVerifier, ...]
    grants: tuple[AclBinding, ...]


def make_first_admin(name: str, entropy: Entropy, iterations: int = GENERATED_ITERATIONS) -> FirstAdmin:
    """A user with a random password, verifiers for every SCRAM mechanism and rules that allow everything.

    Raises ValueError for a name that cannot be a user.
    """
    check_user_name(name)
    password = generate_password(entropy)
    return FirstAdmin(name, password, verifiers_of(password, entropy, iterations), allow_everything(name))


def allow_everything(name: str) -> tuple[AclBinding, ...]:
    """Rules that let a user do everything; ordinary ones, which can be listed, removed, and denied."""
    principal = str(Principal("User", name))
    names = {ResourceType.CLUSTER: CLUSTER_NAME}
    kinds = (
        ResourceType.TOPIC,
        ResourceType.GROUP,
        ResourceType.CLUSTER,
        ResourceType.TRANSACTIONAL_ID,
        ResourceType.DELEGATION_TOKEN,
        ResourceType.USER,
    )
    return tuple(
        AclBinding(
            kind,
            names.get(kind, WILDCARD),
            PatternType.LITERAL,
            principal,
            WILDCARD,
            Operation.ALL,
            Permission.ALLOW,
        )
        for kind in kinds
    )


def require_credentials(any_user: bool, config_path: Path | None) -> None:
    """Raises NoCredentials when there is no user and so nobody could ever log in."""
    if any_user:
        return
    config = f" --config {shlex.quote(str(config_path))}" if config_path is not None else ""
    raise NoCredentials(
        "no user exists yet, so nobody could log in; make the first one with: "
        f"rivven server init{config} --admin admin"
    )
