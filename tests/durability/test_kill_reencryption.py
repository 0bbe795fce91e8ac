"""kill -9 while a topic is re-encrypted under load: nothing lost, nothing twice, in the end nothing in plain.

Topics begin in plain. All runs use one data directory; a run asks for a new topic key, or goes on with what
the kill before it has interrupted. `RIVVEN_KILL_RUNS` sets their number; a run's number is its seed.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conformance.keys_commands import KeysCommand, encrypted, found_in
from tests.durability.ledger import Ledger
from tests.durability.load import PARTITIONS, SETTLE_SECONDS_MAX, Load, Site, stored
from tests.interop.reference import Reference
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.on_disk import segments

pytestmark = pytest.mark.durability

RUNS = int(os.environ.get("RIVVEN_KILL_RUNS", "3"))
RUNS_PER_TOPIC = 25  # each run reads the whole topic
LOAD_SECONDS = 0.3
KILL_SECONDS = (0.0, 0.8)  # after re-encryption was asked for: from its first copy to several swaps
SEGMENT_BYTES = 262_144
SLOW, FAST = 1_500_000, 1 << 30  # bytes a second: a kill shall find it at work, the end need not wait
MARKER = b"x" * 200  # of the load's payloads
PLAIN = b""


@dataclass
class Rewritten:
    """The broker under test, and how many kills met a topic of several keys."""

    site: Site
    keys: KeysCommand
    topic_id: str = ""
    interrupted: list[int] = field(default_factory=list)

    def begin_again(self, number: int) -> None:
        """With a plain topic; the one before is deleted in the middle of its re-encryption."""
        reference = self.site.reference
        if self.site.topic:
            reference.delete_topic(self.site.topic)
        configs = {"segment.bytes": str(SEGMENT_BYTES), "encryption.enabled": "false"}
        self.site.begin_again(reference.create_topic(f"ledger-{number}", PARTITIONS, configs))
        self.topic_id = str(reference.topic_id(self.site.topic))

    def key_ids(self) -> set[bytes]:
        """Of the topic's segments on the disk; PLAIN among them while one is plain."""
        stored = segments(self.site.broker.data, f"{self.topic_id}-*")
        return {content[48:64] if content[:4] == b"RVNS" else PLAIN for _, content in stored}


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rewritten]:
    directory = tmp_path_factory.mktemp("kill-reencryption")
    extra = encrypted(directory, reencrypt_bytes_per_second=SLOW)
    with ShippedBroker(directory / "broker", extra=extra) as broker:
        site = Site(broker, Reference(broker.connection()), "", Ledger(), {})
        yield Rewritten(site, KeysCommand(broker))


@pytest.mark.parametrize("run", range(RUNS))
def test_kill_during_re_encryption(rewritten: Rewritten, run: int) -> None:
    site, chance = rewritten.site, random.Random(f"reencryption {run}")
    if run % RUNS_PER_TOPIC == 0:
        rewritten.begin_again(run)
    stop = threading.Event()
    load = Load(site, f"{run}.0", run, stop)
    before = site.ledger.acknowledged
    load.start()
    time.sleep(LOAD_SECONDS)
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while site.ledger.acknowledged == before and time.monotonic() < deadline:
        time.sleep(0.005)
    if run % RUNS_PER_TOPIC == 0:
        assert found_in(site.broker.data, MARKER), "the control: plain records can be found"
        rewritten.keys.encrypt(site.topic)
    rewritten.keys("reencrypt", "--topic", site.topic)
    time.sleep(chance.uniform(*KILL_SECONDS))
    site.broker.kill()
    stop.set()
    load.join(SETTLE_SECONDS_MAX)
    load.producer.purge()
    load.producer.flush(5)
    if len(rewritten.key_ids()) > 1:
        rewritten.interrupted.append(run)
    site.broker.start()
    assert site.ledger.acknowledged > before, "the run proved nothing: no record was acknowledged"
    site.ledger.check(stored(site))


def test_the_rest_is_done_and_nothing_is_plain(rewritten: Rewritten) -> None:
    site = rewritten.site
    assert rewritten.interrupted, "no kill met a re-encryption at work"
    site.broker.change(**encrypted(site.broker.directory.parent, reencrypt_bytes_per_second=FAST))
    site.broker.restart()
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while rewritten.keys.topic(site.topic)["reencrypting"]:
        assert time.monotonic() < deadline, rewritten.keys("list", "--topics")
        time.sleep(0.1)
    one = rewritten.keys.topic(site.topic)
    assert (one["plain_segments"], one["newest_percent"], one["topic_keys"]) == (0, 100, 1)
    assert not one["may_hold_plain"], "from now on a plain one is a forged one"
    assert rewritten.key_ids() == {bytes.fromhex(one["topic_key"])}
    while found_in(site.broker.data, MARKER):  # files of deleted topics go in the background
        assert time.monotonic() < deadline, found_in(site.broker.data, MARKER)
        time.sleep(0.1)
    site.ledger.check(stored(site))


def test_verify_finds_nothing_wrong_offline(rewritten: Rewritten) -> None:
    broker = rewritten.site.broker
    assert broker.stop() == 0
    command = [RIVVEN, "log", "verify", Path(broker.data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    broker.start()
    assert done.returncode == 0, done.stdout + done.stderr
