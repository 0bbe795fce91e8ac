"""Files for their owner only: never readable by others, never half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rivven.security import private_files
from rivven.security.private_files import (
    PrivateFileError,
    make_private_directory,
    read_bounded,
    read_private,
    write_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_written_whole_and_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_private(tmp_path / "key", b"secret")
    finally:
        os.umask(old)
    assert mode(tmp_path / "key") == 0o600
    assert read_private(tmp_path / "key") == b"secret"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_replacing_an_open_file_closes_it_to_others(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert mode(path) == 0o600
    assert path.read_bytes() == b"new"


def test_a_stray_temporary_file_or_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / ".key.new").symlink_to(victim)
    write_private(tmp_path / "key", b"secret")
    assert victim.read_bytes() == b"untouched"
    assert not (tmp_path / "key").is_symlink()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "key", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(private_files.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_private(tmp_path / "key", b"new")
    assert (tmp_path / "key").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_order_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is synced before the name is, and the directory after."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def traced_fsync(descriptor: int) -> None:
        done.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def traced_replace(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(private_files.os, "fsync", traced_fsync)
    monkeypatch.setattr(private_files.os, "replace", traced_replace)
    write_private(tmp_path / "key", b"x")
    assert done == ["sync file", "rename", "sync directory"]


def test_a_secret_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"x")
    for bits in (0o640, 0o604, 0o660):
        path.chmod(bits)
        with pytest.raises(PrivateFileError, match="chmod 600"):
            read_private(path)
        assert read_bounded(path) == b"x"


def test_reading_what_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    assert read_private(tmp_path / "nothing") is None
    with pytest.raises(PrivateFileError, match="Is a directory"):
        read_private(tmp_path)
    (tmp_path / "big").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(PrivateFileError, match="larger than"):
        read_bounded(tmp_path / "big")


def test_a_directory_is_made_for_its_owner(tmp_path: Path) -> None:
    make_private_directory(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700
    make_private_directory(tmp_path / "a" / "b")


def test_an_open_directory_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    for bits in (0o755, 0o701, 0o770):
        path.chmod(bits)
        with pytest.raises(PrivateFileError, match=f"chmod 700 {path}"):
            make_private_directory(path)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(PrivateFileError, match="not a directory"):
        make_private_directory(tmp_path / "data")
    with pytest.raises(PrivateFileError, match="Not a directory"):
        make_private_directory(tmp_path / "data" / "below")


def test_a_directory_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files.os, "geteuid", lambda: 12345)
    with pytest.raises(PrivateFileError, match="belongs to another user"):
        make_private_directory(tmp_path)
