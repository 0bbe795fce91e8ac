"""kill -9 at random moments under load: every acknowledged record is there once, in order, none invented.

All runs use one data directory, so each recovery stands on the ones before it; once with encryption at rest
and once without. `RIVVEN_KILL_RUNS` sets their number, half of them for each (10 in `make test`, 200 in
`make nightly`); a run's number is its seed.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.durability.ledger import Ledger
from tests.durability.load import PARTITIONS, SETTLE_SECONDS_MAX, Load, Site, stored
from tests.interop.reference import Reference
from tests.shipped.broker import ShippedBroker
from tests.shipped.on_disk import segments

pytestmark = pytest.mark.durability

RUNS = max(1, int(os.environ.get("RIVVEN_KILL_RUNS", "10")) // 2)
PRODUCERS = 2
LOAD_SECONDS = (0.05, 1.2)  # from "hardly anything written" to a few segment rolls
SETTINGS = {"segment.bytes": str(262_144)}  # rolls often: a kill shall meet them
RUNS_PER_TOPIC = 25  # each run reads the whole topic; the earlier ones stay in the directory that recovers
GROUP = "observer"


@pytest.fixture(scope="module", params=["plain", "sealed"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    encryption = {"storage": {"encryption": {"enabled": request.param == "sealed"}}}
    with ShippedBroker(tmp_path_factory.mktemp("kill"), extra=encryption) as broker:
        reference = Reference(broker.connection())
        topic = reference.create_topic("ledger", PARTITIONS, SETTINGS)
        yield Site(broker, reference, topic, Ledger(), {})
        kinds = {content[:4] == b"RVNS" for _, content in segments(broker.data)}
        assert kinds == {request.param == "sealed"}, "it did not test what it says"


class Observer(threading.Thread):
    """A consumer in a group: what it was given and what it committed must survive too."""

    def __init__(self, site: Site, stop: threading.Event) -> None:
        super().__init__(name="observer")
        self._site, self._stop_now = site, stop
        settings = {"group_id": GROUP, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        self._consumer = Consumer(site.broker.connection().librdkafka(**settings))
        self._consumer.assign([TopicPartition(site.topic, partition) for partition in range(PARTITIONS)])

    def run(self) -> None:
        while not self._stop_now.is_set():
            for message in self._consumer.consume(200, 0.05):
                if message.error() is None:
                    self._site.ledger.observe(message.partition(), message.offset(), message.value())
            self._commit()
        self._consumer.close()

    def _commit(self) -> None:
        try:
            rows = self._consumer.commit(asynchronous=False)
        except KafkaException:  # nothing new to commit, or the broker is dead already
            return
        for row in rows or ():
            if row.error is None and row.offset >= 0:
                self._site.committed[row.partition] = row.offset


@pytest.mark.parametrize("run", range(RUNS))
def test_kill_under_load(site: Site, run: int) -> None:
    if run % RUNS_PER_TOPIC == 0 and run:
        site.begin_again(site.reference.create_topic(f"ledger-{run}", PARTITIONS, SETTINGS))
    chance = random.Random(run)
    stop = threading.Event()
    loads = [Load(site, f"{run}.{number}", run, stop) for number in range(PRODUCERS)]
    observer = Observer(site, stop)
    before = site.ledger.acknowledged
    for thread in (*loads, observer):
        thread.start()
    first_answer = time.monotonic() + SETTLE_SECONDS_MAX
    while site.ledger.acknowledged == before and time.monotonic() < first_answer:
        time.sleep(0.005)
    time.sleep(chance.uniform(*LOAD_SECONDS))
    site.broker.kill()
    resumes = chance.random() < 0.5  # else the producers die with the broker
    if not resumes:
        stop.set()
        for load in loads:
            load.join(SETTLE_SECONDS_MAX)
            load.producer.purge()
            load.producer.flush(5)
    site.broker.start()
    if resumes:
        time.sleep(0.2)
        stop.set()
        for load in loads:
            load.join(SETTLE_SECONDS_MAX)
            assert load.producer.flush(SETTLE_SECONDS_MAX) == 0, (
                "a producer could not go on after the restart"
            )
    observer.join(SETTLE_SECONDS_MAX)
    assert site.ledger.acknowledged > before, "the run proved nothing: no record was acknowledged"
    site.ledger.check(stored(site))
    check_committed(site)


def check_committed(site: Site) -> None:
    """Offsets whose commit was answered are there, or later ones."""
    consumer = Consumer(site.broker.connection().librdkafka(group_id=GROUP))
    asked = [TopicPartition(site.topic, partition) for partition in range(PARTITIONS)]
    now = {row.partition: row.offset for row in consumer.committed(asked, 15)}
    consumer.close()
    lost = {p: (offset, now[p]) for p, offset in site.committed.items() if now[p] < offset}
    assert not lost, f"committed offsets went back: {lost}"


def test_a_clean_stop_keeps_everything_too(site: Site) -> None:
    site.broker.restart()
    site.ledger.check(stored(site))
    check_committed(site)


def test_verify_finds_nothing_wrong_offline(site: Site) -> None:
    """The offline checker agrees after all those recoveries."""
    import subprocess

    from tests.shipped.broker import RIVVEN

    assert site.broker.stop() == 0
    done = subprocess.run(
        [RIVVEN, "log", "verify", Path(site.broker.data)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    site.broker.start()
    assert done.returncode == 0, done.stdout + done.stderr
