"""Lives of one topic that is switched on, off and re-encrypted over the real key store, with power cuts.

Data and keys are on one disk here, so that a cut ends both at the same operation. After each cut the topic
serves everything that was acknowledged: no mark that a crash leaves may make its own segments look forged.
RIVVEN_SIM_SEEDS sets the number of random lives.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log.only_sealed import SealedSurvey
from rivven.log.reencryption import Reencryptor
from rivven.log.reencryption_jobs import copy_part
from rivven.log.rewriting import Source, Target
from rivven.log.sealed_traces import Traces, traces_of
from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.key_store import open_key_store
from rivven.security.keys.provider import KeyContext
from rivven.security.keys.topic_keys import KeySettings, TopicKeys
from rivven.tasks import Tasks
from rivven.testing.files import CrashFiles, PowerCut
from tests.unit.log.harness import TOPIC, Broker, batch_of
from tests.unit.security.keys.key_world import InlineThreads
from tests.unit.security.keys.scripted_provider import ScriptedProvider

SEEDS = int(os.environ.get("RIVVEN_SIM_SEEDS", "300")) // 3
LIVES = 6
STEPS = 12
PLAIN = TopicConfig(segment_bytes=700, index_interval_bytes=0)
SEALED = replace(PLAIN, encryption_enabled=True)


class _Copying:
    """The job of the worker process, here."""

    def __init__(self, files: CrashFiles) -> None:
        self._files = files

    async def run(self, name: str, *args: Any) -> Any:
        assert name == "reencrypt_part"
        source, position, target, written, _ = args
        return copy_part(self._files, Source(*source), position, Target(*target), written, 400)


class Site:
    """What outlives a process: the disk, the provider, what the metadata says, what was acknowledged."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.files = CrashFiles()
        self.files.make_directory("/data")
        self.files.sync_directory("/")
        self.provider = ScriptedProvider()
        self.encrypted = self.random.random() < 0.6
        self.promised: list[bytes] = []
        self.perhaps: list[memoryview] = []
        """Appended and not acknowledged: a cut may keep them, in order."""
        self.seen: Counter[str] = Counter()

    def crash(self) -> None:
        self.files.crash(self.random)


class Life:
    """One process."""

    def __init__(self, site: Site) -> None:
        self.site = site
        files = site.files
        store = open_key_store(files, "/data-keys", "c", may_create=True)
        metadata_key = MetadataKey.load_or_create(
            files, "/data/encryption.key", site.provider, "c", os.urandom
        )
        self.keys = TopicKeys(
            store=store,
            provider=site.provider,
            metadata_key=metadata_key,
            context=KeyContext("c"),
            settings=KeySettings(),
            threads=InlineThreads(),
            tasks=Tasks(),
            clock=_Clock(),
            entropy=os.urandom,
            traces_of=lambda asked: _traces(files, asked),
            pause=_never,
        )
        self.broker = Broker(files, SEALED if site.encrypted else PLAIN, keys=self.keys)
        self.task = Reencryptor(
            logs=lambda: [self.broker.log],
            keys=self.keys,
            claims=set(),
            workers=_Copying(files),
            clock=self.broker.clock,
            bytes_per_second=1 << 40,
        )

    def start(self) -> None:
        self.run(self.keys.open())
        self.prepare()
        self.check()

    def run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self.broker.run(coroutine)

    def prepare(self) -> None:
        self.run(self.keys.prepare({TOPIC: "" if self.site.encrypted else None}))

    def check(self) -> None:
        """Everything promised is served, and a mark is true."""
        log, site = self.broker.log, self.site
        assert log.online, log.offline_reason
        found = self.broker.read_all()
        rest = found[len(site.promised) :]
        assert found[: len(site.promised)] == site.promised
        assert rest == [bytes(one) for one in site.perhaps[: len(rest)]]
        site.promised, site.perhaps = found, []
        plain = any(one.stored_bytes and one.topic_key_id is None for one in log.segments_view())
        marked = self.keys.only_sealed(TOPIC)
        assert not (plain and marked)
        site.seen["marked" if marked else "plain" if plain else "unmarked"] += 1

    def step(self, number: int) -> None:
        site = self.site
        match site.random.randrange(9):
            case 0:
                site.encrypted = not site.encrypted  # the metadata is durable before its effects begin
                self.prepare()
                self.broker.log.update_config(SEALED if site.encrypted else PLAIN)
            case 1:
                self.broker.log.roll(self.broker.clock.ms)
            case 2:
                self.run(SealedSurvey(lambda: [self.broker.log], self.keys).look())
            case 3 if site.encrypted:
                self.run(self.task.request(TOPIC))
                self.run(self.task.run_round())
                site.seen["re-encrypted"] += not self.keys.rewriting()
            case 4 if site.encrypted:
                self.run(self.keys.renew(TOPIC))
            case _:
                batch = batch_of(b"value %d " % number + bytes(site.random.choice((10, 100, 400))))
                site.perhaps.append(batch)  # it is stamped where it is
                self.broker.append(batch)
                self.broker.settle()
                site.promised.append(bytes(site.perhaps.pop()))

    def end(self) -> None:
        """As kill -9 does: nothing of the process goes on."""
        loop = self.broker.loop
        for task in asyncio.all_tasks(loop):
            task.cancel()
        with suppress(PowerCut):
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class _Clock:
    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic(self) -> float:
        return 0.0


def _traces(files: CrashFiles, asked: Any) -> Traces:
    if not files.exists("/data/partitions"):
        return Traces()
    return traces_of(files, "/data/partitions", asked)


async def _never(_seconds: float) -> None:
    await asyncio.Event().wait()


def live(site: Site, life_number: int) -> None:
    """One process from its start to a cut, or to its clean end."""
    life: Life | None = None
    last = life_number == LIVES - 1
    site.files.cut_power_at = None if last else site.files.operations + site.random.randrange(1, 160)
    try:
        life = Life(site)
        life.start()
        for number in range(STEPS):
            life.step(life_number * STEPS + number)
        life.check()
        site.files.cut_power_at = None
        if site.random.random() < 0.5:
            life.run(life.broker.directory.close())
    except PowerCut:
        site.seen["cut"] += 1
    finally:
        if life is not None:
            life.end()
    site.crash()


SEEN: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_lives(seed: int) -> None:
    print(f"seed {seed}")
    site = Site(seed)
    for number in range(LIVES):
        live(site, number)
    SEEN.update(site.seen)


def test_the_lives_were_worth_it() -> None:
    """Every state was met, and most lives ended in the middle of something."""
    if SEEN:
        print(dict(SEEN))
        assert min(SEEN[one] for one in ("marked", "plain", "unmarked", "re-encrypted")) > SEEDS // 10, SEEN
        assert SEEN["cut"] > SEEDS, SEEN
