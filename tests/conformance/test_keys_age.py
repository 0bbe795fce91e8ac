"""`key_rotation_days` through the shipped broker: an old KEK is replaced, and nothing stays under it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rivven.security.keys.key_file import PrivateFiles
from rivven.security.keys.keyring_file import KEYRING_NAME, KeyringFile
from tests.conformance.client import Client
from tests.conformance.keys_commands import MARKER, KeysCommand, encrypted
from tests.shipped.broker import ShippedBroker

DAYS = 90
DAY_MS = 86_400_000
WAIT_SECONDS_MAX = 20.0
PLAIN = "sasl_plaintext"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def everything_is_under(keys: KeysCommand, kek: str) -> bool:
    rested_on = [one["key_id"] for one in keys.keks() if one["topic_keys"] or one["wraps_metadata_key"]]
    return rested_on == [kek]


def test_a_key_of_ninety_days_is_replaced_and_what_a_rotation_left_is_rewrapped(tmp_path: Path) -> None:
    extra = encrypted(tmp_path, key_rotation_days=DAYS)
    broker = ShippedBroker(tmp_path / "broker", protocols=("sasl_ssl", PLAIN), extra=extra)
    keys = KeysCommand(broker)
    with broker, Client(broker.connection(PLAIN)) as client:
        client.create_topic("orders")
        client.produced("orders", MARKER)
        young = keys.current_kek()
        assert broker.stop() == 0
    then_ms = int(time.time() * 1000) - DAYS * DAY_MS
    keyring = KeyringFile(PrivateFiles(), str(tmp_path / "key-store" / KEYRING_NAME), now_ms=lambda: then_ms)
    old = keyring.rotate("")
    with broker:
        wait_for(lambda: keys.current_kek() not in (young, old))
        made = keys.current_kek()
        wait_for(lambda: everything_is_under(keys, made))
        events = keys.web.get("/v1/audit/events?type=key_change&limit=10").json["items"]
        assert [one["result"] for one in events if one["resource"] == "kek:"] == ["intent", "success"]
        assert events[-1]["details"]["key_rotation_days"] == DAYS
        by_hand = keys.json("rotate")["key_id"]
        assert not everything_is_under(keys, by_hand)
        broker.kill()
    with broker, Client(broker.connection(PLAIN)) as client:
        wait_for(lambda: everything_is_under(keys, by_hand))
        assert keys.current_kek() == by_hand, "a key of today is not replaced"
        assert client.values("orders") == [MARKER]
