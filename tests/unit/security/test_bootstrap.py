"""The first credential, and that nobody can start a server nobody can log in to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rivven.protocol.scram import ScramMechanism, derive_verifier
from rivven.security.authn.users import check_user_name
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.authorizer import Action, Subject
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.security.bootstrap import (
    DECOY_KEY_FILE,
    NoCredentials,
    allow_everything,
    init_lines,
    load_decoy_key,
    make_first_admin,
    require_credentials,
)
from rivven.security.private_files import PrivateFileError
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
    assert leaks(secrets, {"shown": "\n".join(init_lines(admin))}) == [
        "plain of secret 0 in shown",
        "escaped of secret 0 in shown",
    ]


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


class TestDecoyKey:
    def test_is_made_once_and_kept(self, tmp_path: Path) -> None:
        key = load_decoy_key(tmp_path, os.urandom)
        assert len(key) == 32
        assert load_decoy_key(tmp_path, os.urandom) == key
        assert stat.S_IMODE((tmp_path / DECOY_KEY_FILE).stat().st_mode) == 0o600

    def test_differs_between_data_directories(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        assert load_decoy_key(tmp_path / "a", os.urandom) != load_decoy_key(tmp_path / "b", os.urandom)

    def test_of_another_size_is_refused(self, tmp_path: Path) -> None:
        load_decoy_key(tmp_path, os.urandom)
        (tmp_path / DECOY_KEY_FILE).write_bytes(b"short")
        with pytest.raises(PrivateFileError, match="has 5 bytes instead of 32"):
            load_decoy_key(tmp_path, os.urandom)

    def test_open_to_others_is_refused(self, tmp_path: Path) -> None:
        load_decoy_key(tmp_path, os.urandom)
        (tmp_path / DECOY_KEY_FILE).chmod(0o644)
        with pytest.raises(PrivateFileError, match="chmod 600"):
            load_decoy_key(tmp_path, os.urandom)
