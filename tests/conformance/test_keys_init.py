"""`rivven keys init`: the first keys, made once, before the first start."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.keys_commands import KeysCommand, encrypted
from tests.shipped.broker import RIVVEN, ShippedBroker


def init(broker: ShippedBroker, code: int = 0) -> Any:
    command = [RIVVEN, "keys", "init", "--config", broker.config_path, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def contents(*directories: Path) -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for one in directories for path in one.rglob("*") if path.is_file()}


def test_keys_are_made_once_and_the_broker_starts_with_them(tmp_path: Path) -> None:
    broker = ShippedBroker(tmp_path / "broker", extra=encrypted(tmp_path))
    made = init(broker)
    store = tmp_path / "key-store"
    assert (made["key_store"], made["provider"]) == (str(store), "file")
    for name in ("keyring", "metadata_key"):
        assert Path(made[name]).stat().st_mode & 0o777 == 0o600
    assert store.stat().st_mode & 0o777 == 0o700
    before = contents(store, broker.data)
    assert "has keys already" in init(broker, code=5)
    assert contents(store, broker.data) == before
    with broker:
        assert KeysCommand(broker).current_kek() == made["key_id"]


@pytest.mark.parametrize("lost", ["encryption.key", "keyring"])
def test_lost_keys_are_never_replaced_by_new_ones(tmp_path: Path, lost: str) -> None:
    broker = ShippedBroker(tmp_path / "broker", extra=encrypted(tmp_path))
    made = init(broker)
    Path(made["keyring" if lost == "keyring" else "metadata_key"]).unlink()
    before = contents(tmp_path / "key-store", broker.data)
    init(broker, code=5 if lost == "keyring" else 8)
    assert contents(tmp_path / "key-store", broker.data) == before


def test_not_without_encryption(tmp_path: Path) -> None:
    broker = ShippedBroker(tmp_path / "broker", extra={"storage": {"encryption": {"enabled": False}}})
    assert "storage.encryption.enabled" in init(broker, code=3)
    assert not broker.data.exists()
