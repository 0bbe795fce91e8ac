"""The first credential, and that nobody can start a server nobody can log in to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rivven.protocol.scram import ScramMechanism, derive_verifier
from rivven.security.authn.users import check_user_name
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Subject
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.security.bootstrap import (
    NoCredentials,
    allow_everything,
    make_first_admin,
    require_credentials,
)
from rivven.testing.canary import leaks
from rivven.types import CLUSTER_NAME, Principal, ResourceType


def test_the_first_admin_can_log_in_with_every_mechanism() -> None:
    admin = make_first_admin("admin", os.urandom)
    assert [one.mechanism for one in admin.verifiers] == list(ScramMechanism)
    for one in admin.verifiers:
        assert one.iterations == 8192
        assert derive_verifier(one.mechanism, admin.password, one.salt, one.iterations) == one


def test_two_admins_have_nothing_in_common() -> None:
    one, other = make_first_admin("admin", os.urandom), make_first_admin("admin", os.urandom)
    assert one.password != other.password
    assert not {v.salt for v in one.verifiers} & {v.salt for v in other.verifiers}


def test_the_first_admin_may_do_everything_and_nobody_else_anything() -> None:
    grants = allow_everything("boss")
    authorizer = AclAuthorizer(lambda: (1, grants))
    boss = Subject(Principal("User", "boss"), "10.0.0.1", "main")
    other = Subject(Principal("User", "other"), "10.0.0.1", "main")
    for kind, operations in VALID_OPERATIONS.items():
        name = CLUSTER_NAME if kind is ResourceType.CLUSTER else "anything"
        actions = [Action(operation, kind, name) for operation in operations]
        assert all(decision.allowed for decision in authorizer.authorize(boss, actions)), kind
        assert not any(decision.allowed for decision in authorizer.authorize(other, actions)), kind


def test_the_password_is_in_no_repr() -> None:
    admin = make_first_admin("admin", os.urandom)
    outputs = {"repr": repr(admin), "verifiers": repr(admin.verifiers), "grants": repr(admin.grants)}
    secrets = [admin.password, *(one.stored_key for one in admin.verifiers), admin.verifiers[0].salt]
    assert leaks(secrets, outputs) == []
    assert leaks(secrets, {"shown": f"password {admin.password}"}), "the control"


@pytest.mark.parametrize("name", ["", "*", " admin", "ad\nmin", "a" * 256, "a\x00b"])
def test_names_that_cannot_be_users(name: str) -> None:
    with pytest.raises(ValueError, match="a user"):
        make_first_admin(name, os.urandom)


@pytest.mark.parametrize("name", ["admin", "a,b=c", "Ünï", "urn:user:1", "a b", "a" * 255])
def test_names_that_can(name: str) -> None:
    check_user_name(name)


def test_a_start_without_any_user_is_refused_with_the_command() -> None:
    require_credentials(True, None)
    with pytest.raises(NoCredentials, match=r"rivven server init --admin admin$"):
        require_credentials(False, None)
    with pytest.raises(NoCredentials, match=r"rivven server init --config 'my config.yaml' --admin admin$"):
        require_credentials(False, Path("my config.yaml"))
