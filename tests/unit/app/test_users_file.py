"""Reading the users file and following it: what is taken over, and what leaves everything as it was."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.users_file import FILE_BYTES_MAX, UsersFile, read_users_file
from rivven.security.authn.user_files import UsersFileError
from rivven.security.authn.users import FileUser, Users
from rivven.telemetry import Metrics
from tests.unit.security.authn.directory import Store, Stored
from tests.unit.security.authn.test_user_files import HASH, VERIFIER


def refused(metrics: Metrics) -> float:
    family = next(one for one in metrics.families() if one.name == "rivven_users_file_refused")
    return next(child.value for _, child in family.children())  # type: ignore[union-attr]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "users.yaml"
    made.touch(mode=0o600)
    return made


def test_who_else_may_read_or_write_the_file_matters(path: Path) -> None:
    path.write_text(f"users: {{ann: {{password_hash: '{HASH}'}}}}\n")
    path.chmod(0o640)
    assert read_users_file(path) == ({"ann": FileUser("ann", verifiers=(VERIFIER,))}, None)
    path.chmod(0o644)
    assert "chmod o-r" in str(read_users_file(path)[1])
    path.chmod(0o646)
    with pytest.raises(UsersFileError, match="may change it: chmod o-w"):
        read_users_file(path)


def test_a_missing_or_huge_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsersFileError, match=r"none\.yaml: No such file"):
        read_users_file(tmp_path / "none.yaml")
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(UsersFileError, match="larger than"):
        read_users_file(huge)


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """As Kubernetes mounts a secret: `next` waits to take the place of `data`."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "users.yaml", f"users: {{{name}: {{}}}}\n")
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "users.yaml").symlink_to("data/users.yaml")
    return tmp_path


def write(path: Path, text: str | None) -> None:
    """This content, or no file."""
    if text is None:
        path.unlink()
    else:
        path.touch(mode=0o600)
        path.write_text(text)


class TestFollowing:
    """The file as a running broker sees it."""

    def follow(self, path: Path, store: Store | None = None) -> tuple[UsersFile, Users, Metrics]:
        users, metrics = Users(store or Store()), Metrics()
        return UsersFile(path, users, metrics), users, metrics

    async def test_a_change_is_taken_over_and_told(self, path: Path) -> None:
        write(path, "users: {ann: {}}\n")
        file, users, metrics = self.follow(path)
        file.load()
        assert users.names() == ["ann"]
        told: list[list[str]] = []
        file.changed = lambda: told.append(users.names())
        assert not await file.look_once()
        write(path, "users: {ann: {}, bob: {groups: [dev]}}\n")
        assert await file.look_once()
        assert told == [["ann", "bob"]]
        assert refused(metrics) == 0

    async def test_a_wrong_file_changes_nothing_and_a_right_one_mends_it(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(path, "users: {ann: {}}\n")
        file, users, metrics = self.follow(path)
        file.load()
        told: list[int] = []
        file.changed = lambda: told.append(1)
        version = users.version
        for wrong in ("users: {ann: {}, bob: 7}\n", "users: [\n"):
            write(path, wrong)
            with caplog.at_level(logging.ERROR, "rivven.auth"):
                assert await file.look_once()
            assert (users.names(), users.version, refused(metrics)) == (["ann"], version, 1)
        write(path, None)
        assert await file.look_once()
        assert users.names() == ["ann"]
        assert told == []
        assert "users.bob: must be a mapping" in caplog.text
        assert "No such file" in caplog.text
        write(path, "users: {eve: {}}\n")
        assert await file.look_once()
        assert (users.names(), refused(metrics), told) == (["eve"], 0, [1])

    async def test_the_symlink_swap_of_a_mounted_secret_is_seen(self, mounted: Path) -> None:
        file, users, _ = self.follow(mounted / "users.yaml")
        file.load()
        assert users.names() == ["one"]
        os.replace(mounted / "next", mounted / "data")
        assert await file.look_once()
        assert users.names() == ["two"]

    def test_at_the_start_a_wrong_file_or_a_name_in_both_places_is_an_end(self, path: Path) -> None:
        write(path, "users: {ann: 7}\n")
        with pytest.raises(StartFailed, match=r"auth\.users_file: .*users\.ann: must be a mapping") as told:
            self.follow(path)[0].load()
        assert told.value.exit_code == ExitCode.CONFIG
        write(path, "users: {ann: {}}\n")
        store = Store(Stored("ann", verifiers=(VERIFIER,)))
        with pytest.raises(StartFailed, match="in the users file and in the metadata at once: ann") as told:
            self.follow(path, store)[0].load()
        assert "rivven user delete" in told.value.hint
