"""An older copy of the data with the newest key store: keys of topics that are not in it are taken along."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conformance.client import Client
from tests.conformance.keys_commands import MARKER, KeysCommand, encrypted
from tests.shipped.broker import ShippedBroker

PLAIN = "sasl_plaintext"
BOOTSTRAP = "encryption.key"


def test_shredding_keeps_the_keys_of_topics_that_are_only_in_another_copy(tmp_path: Path) -> None:
    broker = ShippedBroker(tmp_path / "broker", protocols=("sasl_ssl", PLAIN), extra=encrypted(tmp_path))
    keys = KeysCommand(broker)
    older, newer = tmp_path / "older", tmp_path / "newer"
    with broker, Client(broker.connection(PLAIN)) as client:
        client.create_topic("gone")
        client.produced("gone", MARKER)
        assert broker.stop() == 0
    shutil.copytree(broker.data, older)
    with broker, Client(broker.connection(PLAIN)) as client:
        client.create_topic("late")
        client.produced("late", MARKER)
        late = str(client.topic_id("late"))
        assert broker.stop() == 0
    broker.data.rename(newer)
    older.rename(broker.data)
    file = tmp_path / "key-store" / "topics" / f"{late}.keys"
    whole = file.read_bytes()
    with broker:
        assert f"topics that do not exist here ({late})" in broker.logged()
        assert keys.web.post("/v1/keys/shred", {"topic": "gone"}).status == 200
        assert broker.stop() == 0
    assert file.read_bytes() != whole
    shutil.copy(broker.data / BOOTSTRAP, newer / BOOTSTRAP)
    broker.data.rename(older)
    newer.rename(broker.data)
    with broker, Client(broker.connection(PLAIN)) as client:
        assert client.values("late") == [MARKER], "its keys are under the fresh KEK"
