"""Which directories tell of a file, and whether they tell of everything."""

import os
import tempfile
from pathlib import Path

import pytest

from rivven import file_places
from rivven.file_places import LINKS_MAX, Directory, Places, places_of


def mounted(monkeypatch: pytest.MonkeyPatch, directory: Path, **kinds: str) -> None:
    """Say what lies where: an ext4, and other kinds at names below the directory."""
    lines = ["22 1 0:21 / /proc rw,relatime - proc proc rw", "27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw"]
    for name, kind in kinds.items():
        point = str(directory / name).replace(" ", "\\040")
        lines.append(f"40 27 0:50 / {point} rw shared:2 master:1 - {kind} server:/it rw")
    (directory / "mountinfo").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(file_places, "MOUNTS", directory / "mountinfo")


def directories(places: Places) -> set[str]:
    return {one.path for one in places.directories}


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_a_file_shows_in_its_directory_there_or_not(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "users.yaml").write_text("a")
    places = places_of([tmp_path / "users.yaml"])
    status = tmp_path.stat()
    assert places == Places(frozenset({Directory(str(tmp_path), status.st_dev, status.st_ino)}), True)


def test_every_link_on_the_way_shows_where_it_lies(tmp_path: Path) -> None:
    for name in ("secret/..2026", "etc", "store/v1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "secret/..2026/tls.crt").write_text("a")
    (tmp_path / "secret/..data").symlink_to("..2026")
    (tmp_path / "secret/tls.crt").symlink_to("..data/tls.crt")
    (tmp_path / "store/v1/up").symlink_to("../../secret")
    (tmp_path / "etc/current").symlink_to(tmp_path / "store/v1")
    places = places_of([tmp_path / "etc/current/up/tls.crt"])
    assert places.telling
    assert directories(places) == {
        str(tmp_path / name) for name in ("etc", "store/v1", "secret", "secret/..2026")
    }


def test_a_directory_shows_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    places = places_of([tmp_path / "policies"])
    assert places.telling
    assert directories(places) == {str(tmp_path), str(tmp_path / "policies")}


def test_a_path_from_where_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert directories(places_of([Path("a/users.yaml")])) == {str(tmp_path / "a")}


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "virtiofs", "fuse.sshfs", "overlayfs-of-nobody"])
def test_who_changes_files_elsewhere_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounted(monkeypatch, tmp_path, **{"a mount": kind})
    (tmp_path / "a mount/deep").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    assert not places_of([tmp_path / "beside/a", tmp_path / "a mount/deep/a"]).telling
    assert places_of([tmp_path / "beside/a"]).telling
    (tmp_path / "beside/a").symlink_to("../a mount/deep/a")
    assert not places_of([tmp_path / "beside/a"]).telling


def test_the_last_mount_at_a_point_is_the_one_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, tmp_path, data="nfs")
    (tmp_path / "data").mkdir()
    with (tmp_path / "mountinfo").open("a") as file:
        file.write(f"41 27 0:51 / {tmp_path}/data rw - tmpfs tmpfs rw\n")
    assert places_of([tmp_path / "data/a"]).telling


def test_a_file_that_changes_without_its_directory_is_not_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mounted over a name, as containers get single files; or written by another name."""
    for name in ("mounted", "linked"):
        (tmp_path / name).write_text("a")
    assert places_of([tmp_path / "mounted", tmp_path / "linked"]).telling
    mounted(monkeypatch, tmp_path, mounted="ext4")
    assert not places_of([tmp_path / "mounted"]).telling
    assert places_of([tmp_path / "linked"]).telling
    os.link(tmp_path / "linked", tmp_path / "other")
    assert not places_of([tmp_path / "linked"]).telling


@pytest.mark.parametrize("what", ["no directory", "a loop", "no list of mounts", "a long list", "no text"])
def test_what_is_not_known_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    path = tmp_path / "a"
    if what == "no directory":
        path = tmp_path / "gone" / "a"
    elif what == "a loop":
        path.symlink_to("a")
    elif what == "no list of mounts":
        monkeypatch.setattr(file_places, "MOUNTS", tmp_path / "none")
    elif what == "a long list":
        monkeypatch.setattr(file_places, "MOUNTS_BYTES_MAX", 50)
    else:
        path = tmp_path / os.fsdecode(b"\xff") / "a"
        path.parent.mkdir()
    assert places_of([path]) == Places(frozenset(), False)


def test_as_many_links_as_the_system_follows(tmp_path: Path) -> None:
    (tmp_path / "0").write_text("a")
    for i in range(LINKS_MAX + 1):
        (tmp_path / f"{i + 1}").symlink_to(str(i))
    assert places_of([tmp_path / f"{LINKS_MAX}"]).telling
    assert (tmp_path / f"{LINKS_MAX}").read_text() == "a"
    assert not places_of([tmp_path / f"{LINKS_MAX + 1}"]).telling


def test_a_directory_that_may_not_be_listed_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in it can be opened by name, but inotify asks for the right to read it."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        mounted(monkeypatch, directory)
        for name, mode in (("open", 0o755), ("closed", 0o311)):
            (directory / name).mkdir()
            (directory / name / "a").write_text("a")
            (directory / name).chmod(mode)
        directory.chmod(0o755)
        if root:
            os.seteuid(65534)  # root may read every directory
        try:
            assert places_of([directory / "open/a"]).telling
            assert not places_of([directory / "closed/a"]).telling
        finally:
            if root:
                os.seteuid(0)
            (directory / "closed").chmod(0o755)
