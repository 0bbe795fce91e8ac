"""Secrets made once: kept, of the right size, closed to others, or the start is refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rivven.app.failures import ExitCode, StartFailed
from rivven.app.secrets import decoy_key, token_key
from rivven.security.keys.key_file import PrivateFiles
from rivven.security.keys.secrets import Secrets

EACH = pytest.mark.parametrize(
    ("key_of", "name"), [(decoy_key, "scram-decoy.key"), (token_key, "token-hash.key")]
)


def secrets_in(directory: Path) -> Secrets:
    return Secrets(PrivateFiles(), str(directory), os.urandom)


@EACH
def test_is_made_once_private_and_kept(tmp_path: Path, key_of: Callable[[Secrets], bytes], name: str) -> None:
    key = key_of(secrets_in(tmp_path))
    assert len(key) == 32
    assert key_of(secrets_in(tmp_path)) == key == (tmp_path / name).read_bytes()
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_differs_between_uses_and_data_directories(tmp_path: Path) -> None:
    keys = {make(secrets_in(tmp_path / one)) for make in (decoy_key, token_key) for one in ("a", "b")}
    assert len(keys) == 4


@EACH
def test_of_another_size_is_refused(tmp_path: Path, key_of: Callable[[Secrets], bytes], name: str) -> None:
    key_of(secrets_in(tmp_path))
    (tmp_path / name).write_bytes(b"short")
    with pytest.raises(StartFailed, match="has 5 bytes instead of 32") as caught:
        key_of(secrets_in(tmp_path))
    assert caught.value.exit_code is ExitCode.DATA_DIRECTORY
    assert (tmp_path / name).read_bytes() == b"short"


@EACH
def test_open_to_others_is_refused(tmp_path: Path, key_of: Callable[[Secrets], bytes], name: str) -> None:
    key_of(secrets_in(tmp_path))
    (tmp_path / name).chmod(0o644)
    with pytest.raises(StartFailed, match="chmod 600"):
        key_of(secrets_in(tmp_path))


def test_hashes_may_have_several_keys_and_decoys_one(tmp_path: Path) -> None:
    for name in ("token-hash.key", "scram-decoy.key"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(bytes(64))
    assert token_key(secrets_in(tmp_path)) == bytes(64)
    with pytest.raises(StartFailed, match="scram-decoy key has 64 bytes"):
        decoy_key(secrets_in(tmp_path))
    (tmp_path / "token-hash.key").write_bytes(bytes(32 * 17))
    with pytest.raises(StartFailed, match="token-hash key has 544 bytes"):
        token_key(secrets_in(tmp_path))
