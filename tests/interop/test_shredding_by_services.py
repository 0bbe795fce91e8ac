"""Shredding where a key service has the last word: it refuses to destroy, takes time, or is called off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.encrypted import EncryptedUse
from tests.conformance.keys_commands import KeysCommand
from tests.conformance.process import metric
from tests.interop.test_encrypted_by_services import kms_section
from tests.shipped.broker import ShippedBroker
from tests.shipped.kms import MotoServer, ScriptedKms

WAIT_SECONDS_MAX = 60.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ShippedBroker]:
    """Not started, without `storage`; it must log no traceback."""
    made = ShippedBroker(tmp_path / "one")
    yield made
    if made.running:
        assert made.stop() == 0, made.tail()
    log = made.log.read_text(errors="replace") if made.log.exists() else ""
    assert "Traceback" not in log, made.tail()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (found := condition()):
        assert time.monotonic() < deadline, "never"
        time.sleep(0.2)
    return found


def certificates(keys: KeysCommand) -> list[dict[str, Any]]:
    """What `rivven keys certificates` shows, asked without starting a process: the tests ask often."""
    return list(keys.web.get("/v1/keys/certificates").json["items"])


def rewritten(keys: KeysCommand) -> list[str]:
    """Topics whose re-encryption is finished."""
    return [one["topic"] for one in keys.web.get("/v1/keys/reencryption").json["items"] if one["finished"]]


def test_a_denied_destruction_is_in_nobodys_way_and_ends_with_the_denial(
    broker: ShippedBroker, tmp_path: Path
) -> None:
    with ScriptedKms() as server:
        broker.change(storage=kms_section(server.url, tmp_path))
        use = EncryptedUse(broker.start())
        for topic in ("gone", "kept", "next"):
            use.create(topic)
            use.produce(topic, 5)
        server.refuse("ScheduleKeyDeletion", "AccessDeniedException")
        keys = KeysCommand(broker)
        said = keys("shred", "--topic", "gone", "--yes", code=1)
        assert "goes on in the background" in said and "AccessDeniedException" in said

        running = keys.web.get("/v1/keys").json["running"]
        assert (running["topic"], running["step"]) == ("gone", "rewrapped")
        assert "ScheduleKeyDeletion" in running["problem"] and "AccessDeniedException" in running["problem"]
        assert metric(broker, "rivven_erasures_waiting") == 1
        for work in ("rotate", "rewrap", "signing/erasure/rotate", "reencrypt"):
            body = {"topic": "kept"} if work == "reencrypt" else {}
            assert keys.web.post(f"/v1/keys/{work}", body).status in (200, 201, 202), work
        until(lambda: rewritten(keys) == ["kept"])
        refused = keys("shred", "--topic", "next", "--yes", code=14)
        assert "AccessDeniedException" in refused and "try again" in refused
        assert len(use.read("kept")) == len(use.read("next")) == 5
        assert certificates(keys) == []

        server.faults.clear()
        [made] = until(lambda: certificates(keys))
        assert (made["topic"], made["state"]) == ("gone", "pending")
        until(lambda: keys.web.get("/v1/keys").json["running"] is None)  # the certificate is there before
        assert metric(broker, "rivven_erasures_waiting") == 0
        keys("shred", "--topic", "next", "--yes")
        assert len(use.read("kept")) == 5


def test_a_pending_certificate_is_completed_once_the_keys_are_gone(
    broker: ShippedBroker, tmp_path: Path
) -> None:
    """moto destroys no keys: it is made to forget them all. The broker looks at its start, and when it is
    asked but not more often than every ten seconds."""
    with MotoServer(tmp_path) as moto:
        owner = moto.client()

        def alias() -> None:
            made = owner.create_key()["KeyMetadata"]["KeyId"]
            owner.create_alias(AliasName=ScriptedKms.ALIAS, TargetKeyId=made)

        alias()
        broker.change(storage=kms_section(moto.url, tmp_path))
        use = EncryptedUse(broker.start())
        kek = owner.create_key()["KeyMetadata"]["Arn"]
        use.create("gone", encryption_key=kek)
        use.produce("gone", 5)
        keys = KeysCommand(broker)
        first = keys.json("shred", "--topic", "gone", "--yes", "--certificate", "first.json")
        assert first["state"] == "pending"
        [entry] = certificates(keys)
        assert (entry["completed_by"], entry["problem"]) == ("", "")
        assert metric(broker, "rivven_erasures_pending") == 1

        owner.cancel_key_deletion(KeyId=kek.rpartition("/")[2])
        broker.restart()
        [problem] = until(lambda: [one["problem"] for one in certificates(keys) if one["problem"]])
        assert kek in problem and "called off" in problem
        assert metric(broker, "rivven_erasures_called_off") == 1

        moto.forget()
        alias()
        [made] = until(lambda: [one for one in certificates(keys) if one["completes"]])
        assert (made["completes"], made["state"]) == (first["certificate_id"], "complete")
        keys("certificate", made["id"], "second.json")
        (broker.directory / "public.pem").write_text(
            keys.web.get("/v1/keys/signing/erasure").json["items"][0]["pem"]
        )
        shown = keys.json("verify-certificate", "second.json", "--public-key", "public.pem")
        assert shown["valid"] and shown["topic"]["name"] == "gone"
        assert all(one["destroyed"] for one in shown["key_encryption_keys"])
        until(lambda: metric(broker, "rivven_erasures_pending") == 0)
