"""One topic's key file is damaged, or gone: that topic is offline and says why, all others serve."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conformance.encrypted import EncryptedUse
from tests.conformance.keys_commands import KeysCommand, encrypted
from tests.shipped.broker import ShippedBroker

SECONDS_MAX = 60.0


def test_a_topic_without_its_keys_is_offline_alone_until_the_file_is_back(tmp_path: Path) -> None:
    broker = ShippedBroker(tmp_path / "one", extra=encrypted(tmp_path))
    with broker:
        use, keys = EncryptedUse(broker), KeysCommand(broker)
        for topic in ("lucky", "unlucky"):
            use.create(topic)
            use.produce(topic, 3)
        file = tmp_path / "key-store" / "topics" / f"{keys.topic('unlucky')['topic_id']}.keys"
        assert broker.stop() == 0
        whole = file.read_bytes()
        file.write_bytes(b"")
        broker.start()
        use.produce("lucky", 3)
        assert len(use.consume("lucky", 6)) == 6
        assert keys.topic("unlucky")["problem"].startswith(str(file))
        assert keys.topic("lucky")["problem"] == ""
        assert use.error_of_producing("unlucky") == "KAFKA_STORAGE_ERROR"
        assert file.read_bytes() == b""
        assert str(file) in broker.tail(100_000)
        file.write_bytes(whole)
        deadline = time.monotonic() + SECONDS_MAX
        while keys.topic("unlucky")["problem"]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        use.produce("unlucky", 1)
        assert len(use.consume("unlucky", 4)) >= 4
        assert broker.stop() == 0, broker.tail()
