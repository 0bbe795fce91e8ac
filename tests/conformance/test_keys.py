"""Operations on keys through the shipped command and broker: clients, files and certificates."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rivven.errors import ErrorCode
from tests.conformance.client import Client, fresh
from tests.conformance.keys_commands import MARKER, KeysCommand, encrypted, found_in
from tests.conformance.web import web_of
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return encrypted(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def keys(broker: ShippedBroker) -> KeysCommand:
    return KeysCommand(broker)


@pytest.fixture
def topic(admin: Client) -> str:
    """A topic with two partitions and a hundred records in each."""
    name = admin.create_topic(partitions=2)
    for partition in range(2):
        admin.produced(name, *[MARKER] * 100, partition=partition)
    return name


def read(client: Client, topic: str) -> int:
    return sum(len(client.values(topic, partition=partition)) for partition in range(2))


class TestRotation:
    """New KEKs, and everything under the newest."""

    def test_a_rotation_counts_at_once_and_a_rewrap_moves_the_rest(
        self, broker: ShippedBroker, admin: Client, keys: KeysCommand, topic: str
    ) -> None:
        before = keys.current_kek()
        assert keys.topic(topic)["keks"] == [before]
        made = keys.json("rotate")
        assert (made["previous_key_id"], made["key_id"]) == (before, keys.current_kek())
        assert made["older_topic_keys"] >= 1
        assert "In effect now" in made["effect"]
        assert keys.topic(topic)["keks"] == [before]
        late = admin.create_topic()
        assert keys.topic(late)["keks"] == [made["key_id"]]
        assert keys.web.get("/v1/keys").json["newest_percent"] < 100
        text = keys("rewrap")
        assert "keys rewrapped" in text
        assert before in text
        assert "Backups" in text
        assert keys.topic(topic)["keks"] == [made["key_id"]]
        old = next(one for one in keys.keks() if one["key_id"] == before)
        assert (old["retirable"], old["topic_keys"], old["bytes"]) == (True, 0, 0)
        assert keys.web.get("/v1/keys").json["newest_percent"] == 100
        assert keys.json("rewrap")["rewrapped"] == 0
        assert read(admin, topic) == 200

    def test_a_topic_with_a_key_of_its_own(self, admin: Client, keys: KeysCommand, topic: str) -> None:
        refused = admin.try_create_topic("too-early", encryption_key="payments")
        assert refused.error_code == ErrorCode.INVALID_CONFIG
        assert "the first of its name" in keys("rotate", "--key", "payments")
        own = admin.create_topic(encryption_key="payments")
        admin.produced(own, b"paid")
        [kek] = keys.topic(own)["keks"]
        assert kek != keys.current_kek()
        other = keys.topic(topic)["keks"]
        keys("shred", "--topic", own, "--yes", "--certificate", f"{own}.json")
        assert keys.topic(topic)["keks"] == other, "another key's topics are not touched"
        states = {one["key_id"]: one["state"] for one in keys.keks()}
        assert states[other[0]] == "enabled"

    def test_a_topic_that_had_another_key_before_is_shredded_under_both(
        self, admin: Client, keys: KeysCommand
    ) -> None:
        """A copy of the key store from before has its keys, wrapped by a key that lives on for others."""
        names = {
            name: keys.web.post("/v1/keys/rotate", {"key": name}).json["key_id"] for name in ("one", "two")
        }
        moved, stays = (admin.create_topic(encryption_key="one") for _ in range(2))
        for topic in (moved, stays):
            admin.produced(topic, b"paid")
        assert {one["name"] for one in keys.keks()} >= {"", "one", "two"}, "also what no topic uses"
        done = keys.run("topic", "alter", moved, "--set", "encryption.key=two")
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 10
        while keys.topic(moved)["keks"] != [names["two"]]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        certificate = keys.web.post("/v1/keys/shred", {"topic": moved}).json
        destroyed = {one["key_id"] for one in certificate["key_encryption_keys"] if one["destroyed"]}
        assert destroyed == set(names.values())
        assert not set(keys.topic(stays)["keks"]) & destroyed
        assert admin.values(stays) == [b"paid"]

    def test_what_is_under_a_key_is_counted(self, admin: Client, keys: KeysCommand, topic: str) -> None:
        one = keys.topic(topic)
        assert (one["encrypted"], one["topic_keys"], one["segments"]) == (True, 1, 2)
        assert one["bytes"] > 2 * 100 * len(MARKER)
        assert not one["plaintext_history"]
        shown = keys.json("list")
        assert sum(kek["bytes"] for kek in shown["keys"]) >= one["bytes"]
        assert "on the newest" in keys("list")


class TestReencryption:
    """Segments under a new topic key, also those that were in plain."""

    def test_a_plain_topic_becomes_encrypted(
        self, broker: ShippedBroker, admin: Client, keys: KeysCommand
    ) -> None:
        marker = fresh("in-plain").encode()
        name = admin.create_topic(encryption_enabled="false")
        admin.produced(name, *[marker] * 50)
        assert found_in(broker.data, marker)
        refused = keys("reencrypt", "--topic", name, code=16)
        assert "encryption.enabled" in refused
        keys.encrypt(name)
        done = keys.json("reencrypt", "--topic", name, "--follow")
        assert done["finished"]
        assert done["left_bytes"] == 0
        assert found_in(broker.data, marker) == []
        one = keys.topic(name)
        assert (one["plain_segments"], one["newest_percent"], one["plaintext_history"]) == (0, 100, True)
        assert admin.values(name) == [marker] * 50
        refused = keys("shred", "--topic", name, "--yes", code=16)
        assert "partitions 0 of" in refused and "once stored unencrypted" in refused
        assert "by partition and offsets 0: 0 to 49)" in refused
        keys("shred", "--topic", name, "--yes", "--accept-plaintext-history", "--certificate", f"{name}.json")
        [part] = json.loads((keys.place / f"{name}.json").read_text())["partitions"]
        [listed] = part["formerly_plain"]
        assert (listed["base_offset"], listed["end_offset"], part["formerly_plain_more"]) == (0, 50, 0)

    def test_a_new_topic_key_for_old_segments(self, admin: Client, keys: KeysCommand, topic: str) -> None:
        before = keys.topic(topic)["topic_key"]
        assert "newest topic key" in keys("reencrypt", "--topic", topic, "--follow")
        one = keys.topic(topic)
        assert one["topic_key"] != before
        assert (one["topic_keys"], one["newest_percent"]) == (1, 100)
        assert read(admin, topic) == 200

    def test_unknown_topics(self, keys: KeysCommand) -> None:
        assert "no such topic" in keys("reencrypt", "--topic", "nothing", code=13)
        assert "no such topic" in keys("shred", "--topic", "nothing", "--yes", code=13)


class TestShredding:
    """Erasure, and its certificate."""

    def test_a_shredded_topic_is_gone_and_the_certificate_says_so(
        self, broker: ShippedBroker, admin: Client, keys: KeysCommand, topic: str
    ) -> None:
        keeper = admin.create_topic(partitions=2)
        admin.produced(keeper, b"kept")
        topic_key, kek = keys.topic(topic)["topic_key"], keys.current_kek()
        topic_id = str(admin.topic_id(topic))
        assert "Add --yes" in keys("shred", "--topic", topic, code=2)
        made = keys.json("shred", "--topic", topic, "--yes", "--certificate", "c.json")
        assert (made["state"], made["pending_until"]) == ("complete", None)
        assert topic not in keys("list", "--topics")
        assert not list((broker.data / "partitions").glob(f"{topic_id}-*"))
        assert admin.fetch(topic, 0).error_code in (
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode.UNKNOWN_TOPIC_ID,
        )
        (keys.place / "public.pem").write_text(keys("export-public-key"))
        shown = keys.json("verify-certificate", "c.json", "--public-key", "public.pem")
        assert shown["valid"]
        assert shown["topic"] == {"name": topic, "topic_id": topic_id}
        assert shown["topic_keys"] == [topic_key]
        assert kek in [one["key_id"] for one in shown["key_encryption_keys"]]
        assert [one["segment_count"] for one in shown["partitions"]] == [1, 1]
        assert shown["requested_by"] == f"user:{broker.admin.user}"
        states = {one["key_id"]: one["state"] for one in keys.keks() if not one["name"]}
        assert states.pop(keys.current_kek()) == "enabled"
        assert set(states.values()) == {"destroyed"}
        broker.restart()
        with Client(broker.connection("sasl_plaintext")) as client:
            assert client.values(keeper) == [b"kept"]
        (keys.place / "c.json").unlink()

    def test_a_certificate_that_was_changed_proves_nothing(
        self, admin: Client, keys: KeysCommand, topic: str
    ) -> None:
        keys("shred", "--topic", topic, "--yes", "--certificate", "d.json")
        (keys.place / "public.pem").write_text(keys("export-public-key"))
        changed = json.loads((keys.place / "d.json").read_text())
        changed["topic"]["name"] = "another"
        (keys.place / "changed.json").write_text(json.dumps(changed))
        verify = ("verify-certificate", "changed.json", "--public-key", "public.pem")
        assert "was changed" in keys(*verify, code=16)
        assert "exists already" in keys("shred", "--topic", topic, "--certificate", "d.json", code=14)
        rows = keys.json("certificates")
        one = next(row for row in rows if row["topic"] == topic)
        keys("certificate", one["id"], "again.json")
        assert json.loads((keys.place / "again.json").read_text()) == json.loads(
            (keys.place / "d.json").read_text()
        )
        assert "no such certificate" in keys("certificate", "0" * 32, "x.json", code=13)

    def test_a_topic_with_plaintext_history_is_refused_until_that_is_accepted(
        self, broker: ShippedBroker, admin: Client, keys: KeysCommand
    ) -> None:
        name = admin.create_topic(encryption_enabled="false")
        admin.produced(name, b"in plain")
        assert "has no keys" in keys("shred", "--topic", name, "--yes", code=16)
        keys.encrypt(name)
        admin.produced(name, b"sealed")
        shred = ("shred", "--topic", name, "--yes", "--certificate", f"{name}.json")
        assert "--accept-plaintext-history" in keys(*shred, code=16)
        assert len(admin.values(name)) == 2
        keys(*shred, "--accept-plaintext-history")
        fields = json.loads((keys.place / f"{name}.json").read_text())
        assert (fields["plaintext_history"], fields["plaintext_history_accepted"]) == (True, True)
        segments = fields["partitions"][0]["segments"]
        assert [one["topic_key_id"] is None for one in segments] == [True, False]
        assert "unencrypted" in fields["does_not_cover"][0]

    def test_the_brokers_own_topics_are_refused(self, keys: KeysCommand) -> None:
        assert "broker's own" in keys("shred", "--topic", "__consumer_offsets", "--yes", code=16)

    def test_who_waits_for_records_hears_that_the_topic_is_gone(
        self, broker: ShippedBroker, admin: Client, keys: KeysCommand, topic: str
    ) -> None:
        answers: list[Any] = []

        def wait() -> None:
            with Client(broker.connection("sasl_plaintext")) as client:
                answers.append(client.fetch(topic, 100, max_wait_ms=30_000))

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)  # parked: nothing tells from outside
        started = time.monotonic()
        keys("shred", "--topic", topic, "--yes")
        waiting.join(10)
        assert time.monotonic() - started < 10
        assert answers[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def test_a_topic_of_the_same_name_has_other_keys(self, admin: Client, keys: KeysCommand) -> None:
        name = admin.create_topic()
        admin.produced(name, b"first")
        before = keys.topic(name)["topic_key"]
        keys("shred", "--topic", name, "--yes")
        admin.create_topic(name)
        admin.produced(name, b"second")
        assert keys.topic(name)["topic_key"] != before
        assert admin.values(name) == [b"second"]


class TestSigningKeys:
    """Certificates and audit checkpoints stay verifiable after a rotation."""

    def test_old_certificates_are_verified_with_the_old_key(
        self, keys: KeysCommand, topic: str, tmp_path: Path
    ) -> None:
        keys("shred", "--topic", topic, "--yes", "--certificate", tmp_path / "c.json")
        old = keys.json("export-public-key")
        new = keys.json("rotate", "--signing", "erasure")
        assert new["key_id"] != old["key_id"]
        (tmp_path / "new.pem").write_text(keys("export-public-key"))
        (tmp_path / "old.pem").write_text(keys("export-public-key", "--key-id", old["key_id"]))
        keys("verify-certificate", tmp_path / "c.json", "--public-key", tmp_path / "old.pem")
        refused = keys(
            "verify-certificate", tmp_path / "c.json", "--public-key", tmp_path / "new.pem", code=16
        )
        assert old["key_id"] in refused
        assert "there are" in keys("export-public-key", "--key-id", "0" * 16, code=13)

    def test_the_audit_trail_is_intact_across_a_rotation(
        self, broker: ShippedBroker, keys: KeysCommand
    ) -> None:
        before = keys.json("export-public-key", "--signing", "audit")
        made = keys.json("rotate", "--signing", "audit")
        shown = keys.web.get("/v1/keys/signing/audit").json["items"]
        assert shown[0]["key_id"] == made["key_id"]
        assert before["key_id"] in [one["key_id"] for one in shown]

    def test_other_signers_do_not_exist(self, keys: KeysCommand) -> None:
        assert keys.web.get("/v1/keys/signing/token-hash").status == 404
        assert keys.web.post("/v1/keys/signing/other/rotate", {}).status == 404


class TestRights:
    """Reading needs describe on the cluster, everything else alter."""

    PATHS = (
        ("GET", "/v1/keys"),
        ("GET", "/v1/keys/topics"),
        ("POST", "/v1/keys/rotate"),
        ("POST", "/v1/keys/rewrap"),
        ("POST", "/v1/keys/reencrypt"),
        ("POST", "/v1/keys/shred"),
        ("POST", "/v1/keys/signing/erasure/rotate"),
        ("POST", "/v1/keys/secrets/token-hash/rotate"),
        ("POST", "/v1/keys/secrets/scram-decoy/rotate"),
        ("POST", "/v1/keys/start-over"),
        ("GET", "/v1/keys/certificates"),
        ("GET", "/v1/keys/signing/audit"),
    )

    def test_nobody_else(self, broker: ShippedBroker, user: Account, keys: KeysCommand, topic: str) -> None:
        web = web_of(broker).as_user(user)
        before = keys.current_kek()
        for method, path in self.PATHS:
            body = {"topic": topic} if path.endswith(("reencrypt", "shred", "start-over")) else {}
            answer = web.get(path) if method == "GET" else web.post(path, body)
            assert answer.status == 403, path
        assert keys.current_kek() == before
        assert keys.topic(topic)["segments"] == 2

    def test_operations_are_on_record(self, keys: KeysCommand, topic: str) -> None:
        keys("rotate")
        keys("shred", "--topic", topic, "--yes")
        events = keys.web.get("/v1/audit/events?type=key_change&limit=10").json["items"]
        mine = [(one["action"], one["resource"], one["result"]) for one in events][-5:]
        assert mine[0] == ("create", "kek", "intent")
        assert mine[1][0::2] == ("create", "success")
        assert mine[2] == ("create", f"topic:{topic}", "intent")
        assert sorted(mine[3:]) == [
            ("create", f"topic:{topic}", "success"),
            ("erase", f"topic:{topic}", "success"),
        ]
        erased = next(
            one for one in events if one["resource"] == f"topic:{topic}" and one["action"] == "erase"
        )
        assert erased["details"]["state"] == "complete"


@pytest.fixture(scope="module")
def plain_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    with ShippedBroker(tmp_path_factory.mktemp("plain")) as made:
        yield made


def test_a_broker_without_encryption_says_so(plain_broker: ShippedBroker) -> None:
    keys = KeysCommand(plain_broker)
    assert "storage.encryption" in keys("list", code=1)
    assert "storage.encryption" in keys("shred", "--topic", "t", "--yes", code=1)
