"""Proof of erasure: copies of the data directory from before, with the keys from after, and with those from
before as the control."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from rivven.errors import ErrorCode
from tests.conformance.client import Client
from tests.conformance.keys_commands import MARKER, KeysCommand, encrypted, found_in
from tests.shipped.broker import BrokerDidNotStart, ShippedBroker

GONE, KEPT = "gone", "kept"
BOOTSTRAP = "encryption.key"
PLAIN = "sasl_plaintext"


@dataclass(frozen=True, slots=True)
class Copies:
    """What somebody may have kept: the data and the key store of before, the key store of after."""

    broker: ShippedBroker
    data: Path
    keys_before: Path
    keys_after: Path
    bootstrap_after: Path


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    place = tmp_path_factory.mktemp("erased")
    store = place / "key-store"
    broker = ShippedBroker(place / "broker", protocols=("sasl_ssl", PLAIN), extra=encrypted(place))
    with broker, Client(broker.connection(PLAIN)) as client:
        for topic in (GONE, KEPT):
            client.create_topic(topic)
            client.produced(topic, *[MARKER] * 20)
    shutil.copytree(broker.data, place / "data-before")
    shutil.copytree(store, place / "keys-before")
    with broker:
        KeysCommand(broker)("shred", "--topic", GONE, "--yes")
    shutil.copytree(store, place / "keys-after")
    shutil.copy(broker.data / BOOTSTRAP, place / BOOTSTRAP)
    return Copies(
        broker, place / "data-before", place / "keys-before", place / "keys-after", place / BOOTSTRAP
    )


def restored(copies: Copies, place: Path, store: Path, keyring: Path, bootstrap: Path) -> ShippedBroker:
    """A broker over a copy of the old data, with these keys."""
    data = place / "data"
    shutil.copytree(copies.data, data)
    shutil.copytree(store, place / "keys")
    shutil.copy(keyring / "keyring", place / "keys" / "keyring")
    shutil.copy(bootstrap, data / BOOTSTRAP)
    broker = copies.broker
    settings = yaml.safe_load(broker.config_path.read_text())["storage"]["encryption"]
    encryption = {**settings, "key_directory": str(place / "keys")}
    broker.change(data_dir=str(data), storage={"encryption": encryption})
    return broker


def test_with_the_keys_of_before_everything_can_be_read(copies: Copies, tmp_path: Path) -> None:
    before = copies.keys_before
    with (
        restored(copies, tmp_path, before, before, copies.data / BOOTSTRAP) as broker,
        Client(broker.connection(PLAIN)) as client,
    ):
        for topic in (GONE, KEPT):
            assert client.values(topic) == [MARKER] * 20


def test_with_the_keys_of_after_the_shredded_topic_cannot(copies: Copies, tmp_path: Path) -> None:
    after = copies.keys_after
    with (
        restored(copies, tmp_path, after, after, copies.bootstrap_after) as broker,
        Client(broker.connection(PLAIN)) as client,
    ):
        assert client.values(KEPT) == [MARKER] * 20
        answer = client.fetch(GONE, 0)
        assert answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR
        assert not answer.records
    assert found_in(tmp_path) == []


@pytest.mark.parametrize("whose", ["data", "key store"])
def test_old_wrapped_keys_do_not_open_with_the_keyring_of_after(
    copies: Copies, tmp_path: Path, whose: str
) -> None:
    """An older copy of the key store is as useless as the data, once the KEK is destroyed."""
    bootstrap = copies.data / BOOTSTRAP if whose == "data" else copies.bootstrap_after
    broker = restored(copies, tmp_path, copies.keys_before, copies.keys_after, bootstrap)
    if whose == "data":
        with pytest.raises(BrokerDidNotStart, match="destroyed"):
            broker.start()
        return
    with broker, Client(broker.connection(PLAIN)) as client:
        for topic in (GONE, KEPT):  # the wrapped keys of both are from before
            assert client.fetch(topic, 0).error_code == ErrorCode.KAFKA_STORAGE_ERROR
