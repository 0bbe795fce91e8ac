"""Keys that are not in the key store: an older copy of it, or one without a topic. Over the shipped command.

A topic must neither get new keys silently nor take records under keys that the right key store will not have.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rivven.errors import ErrorCode
from tests.conformance.client import Client, batch
from tests.conformance.keys_commands import EncryptedPlace
from tests.shipped.broker import BrokerDidNotStart, ShippedBroker
from tests.shipped.on_disk import contents

PLAIN = "sasl_plaintext"
VALUE = b"a value"
REFUSED = ErrorCode.KAFKA_STORAGE_ERROR


class Place(EncryptedPlace):
    """A broker, its key store, and how its topics fare."""

    def put(self, topics: Path) -> None:
        """These files of topic keys instead of the present ones."""
        assert self.broker.stop() == 0
        shutil.rmtree(self.store / "topics")
        shutil.copytree(topics, self.store / "topics")
        self.broker.start()

    def files(self) -> dict[str, bytes]:
        return {path.name: content for path, content in contents(self.store / "topics")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One broker for all; each test leaves it running, with topics of its own."""
    made = Place(tmp_path_factory.mktemp("lost"))
    with made.broker:
        yield made


def outcome(client: Client, topic: str) -> tuple[int, int]:
    """Error codes of (producing, fetching)."""
    return client.produce(topic, batch(VALUE)).error_code, client.fetch(topic, 0).error_code


def test_an_older_key_store_gives_no_new_keys_and_the_right_one_brings_everything_back(
    place: Place, tmp_path: Path
) -> None:
    with place.client() as client:
        for topic in ("kept", "rewritten"):
            client.create_topic(topic)
            client.produced(topic, *[VALUE] * 5)
        shutil.copytree(place.store / "topics", tmp_path / "older")
        client.create_topic("later", partitions=2)
        client.produced("later", *[VALUE] * 5)
        place.keys("reencrypt", "--topic", "rewritten", "--follow")
        client.produced("rewritten", VALUE)
    shutil.copytree(place.store / "topics", tmp_path / "right")
    place.put(tmp_path / "older")
    before = place.files()
    with place.client() as client:
        assert outcome(client, "kept") == (0, 0)
        assert outcome(client, "later") == (REFUSED, REFUSED)
        assert outcome(client, "rewritten") == (REFUSED, REFUSED)
        empty = client.produce("later", batch(VALUE), partition=1)
        assert empty.error_code == REFUSED, "a key for this partition would be a new key of the topic"
    assert place.files() == before, "nothing was made"
    later = place.keys.topic("later")
    assert "restore the key store of that time" in later["problem"]
    log = place.broker.log.read_text()
    assert f"topic {later['topic_id']} has no keys: it has segments that were encrypted" in log
    place.put(tmp_path / "right")
    with place.client() as client:
        assert client.values("kept") == [VALUE] * 6
        assert client.values("later") == [VALUE] * 5
        assert client.values("rewritten") == [VALUE] * 6


def test_a_topic_starts_over_when_its_keys_are_given_up(place: Place) -> None:
    with place.client() as client:
        for topic in ("lost", "whole"):
            client.create_topic(topic)
            client.produced(topic, *[VALUE] * 5)
        lost = client.topic_id("lost")
    assert place.broker.stop() == 0
    (place.store / "topics" / f"{lost}.keys").unlink()
    place.broker.start()
    with place.client() as client:
        assert outcome(client, "lost") == (REFUSED, REFUSED)
    assert "nothing to give up" in place.keys("start-over", "--topic", "whole", "--yes", code=16)
    made = place.keys.json("start-over", "--topic", "lost", "--yes")
    shown = place.keys.topic("lost")
    assert (made["topic_key"], shown["problem"]) == (shown["topic_key"], "")
    with place.client() as client:
        assert client.produced("lost", b"new") >= 5
    place.broker.restart()
    with place.client() as client:
        assert client.produced("lost", b"new") >= 6
        assert client.values("lost", 5) == [b"new"] * 2
        assert client.fetch("lost", 0).error_code == REFUSED
        assert client.values("whole") == [VALUE] * 5


def test_groups_are_there_again_when_their_keys_are(place: Place, tmp_path: Path) -> None:
    with place.client() as client:
        client.create_topic("read")
        client.create_topic("besides")
        assert client.commit("group", "read", 7) == 0
        offsets = client.topic_id("__consumer_offsets")
    assert place.broker.stop() == 0
    keys = place.store / "topics" / f"{offsets}.keys"
    keys.rename(tmp_path / "aside")
    place.broker.start()
    with place.client() as client:
        assert client.commit("group", "read", 9) == ErrorCode.COORDINATOR_NOT_AVAILABLE
        (tmp_path / "aside").rename(keys)
        deadline = time.monotonic() + 60
        while client.commit("group", "besides", 1) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert client.committed("group", "read").committed_offset == 7


def test_groups_begin_anew_when_their_keys_are_given_up(place: Place) -> None:
    with place.client() as client:
        client.create_topic("counted")
        assert client.commit("group-of-before", "counted", 7) == 0
        offsets = client.topic_id("__consumer_offsets")
    assert place.broker.stop() == 0
    (place.store / "topics" / f"{offsets}.keys").unlink()
    place.broker.start()
    with place.client() as client:
        assert client.commit("group-of-before", "counted", 9) == ErrorCode.COORDINATOR_NOT_AVAILABLE
        place.keys("start-over", "--topic", "__consumer_offsets", "--yes")
        deadline = time.monotonic() + 60
        while client.commit("group-of-after", "counted", 3) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert client.committed("group-of-after", "counted").committed_offset == 3
        while client.commit("group-of-before", "counted", 2) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert "nothing to give up" in place.keys("start-over", "--topic", "__consumer_offsets", "--yes", code=16)
    assert "are here again" in place.broker.log.read_text()
    place.broker.restart()
    with place.client() as client:
        assert client.committed("group-of-before", "counted").committed_offset == 2
        assert client.committed("group-of-after", "counted").committed_offset == 3


def test_a_journal_that_was_sealed_is_not_replaced_by_switching_encryption_off(
    place: Place, tmp_path: Path
) -> None:
    """Who can write the data directory, and not the key store, must not become an administrator."""
    other = ShippedBroker(tmp_path / "attacker")
    with other:
        pass
    broker = place.broker
    assert broker.stop() == 0
    journal = (broker.data / "metadata.journal").read_bytes()
    broker.change(storage={"encryption": {"enabled": False, "key_directory": str(place.store)}})
    shutil.copy(other.data / "metadata.journal", broker.data / "metadata.journal")
    (broker.data / "encryption.key").rename(tmp_path / "aside")
    for present in (True, False):
        if not present:
            (broker.data / "metadata.journal").unlink()
        with pytest.raises(BrokerDidNotStart, match=r"encryption\.key: is missing, and by the key store"):
            broker.start()
    (tmp_path / "aside").rename(broker.data / "encryption.key")
    with pytest.raises(BrokerDidNotStart, match=r"metadata\.journal: is missing"):
        broker.start()
    (broker.data / "metadata.journal").write_bytes(journal)
    broker.start()
