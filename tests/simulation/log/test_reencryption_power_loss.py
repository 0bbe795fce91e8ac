"""Power cut at every operation of a re-encryption: what was acknowledged is there, under keys that exist.

The keys outlive the disk, as a key store on another one does, and a retired key is gone at once: retiring one
that any file needs after any crash would be loss. RIVVEN_SIM_SEEDS sets how many random lives follow.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log.checkpoint import PartitionKey
from rivven.log.reencryption import Reencryptor
from rivven.log.reencryption_jobs import copy_part
from rivven.log.rewriting import Source, Target
from rivven.testing.files import CrashFiles, PowerCut
from tests.unit.log.harness import TOPIC, Broker, batch_of
from tests.unit.log.reencryption_keys import ReencryptionTestKeys

SEEDS = int(os.environ.get("RIVVEN_SIM_SEEDS", "300")) // 10
PLAIN = TopicConfig(segment_bytes=700, index_interval_bytes=0)
SEALED = replace(PLAIN, encryption_enabled=True)


class _Copying:
    """The job of the worker process, here."""

    def __init__(self, files: CrashFiles) -> None:
        self._files = files

    async def run(self, name: str, *args: Any) -> Any:
        source, position, target, written, _ = args
        return copy_part(self._files, Source(*source), position, Target(*target), written, 400)


class Life:
    """One process on the disk, between two crashes."""

    def __init__(self, files: CrashFiles, keys: ReencryptionTestKeys, config: TopicConfig) -> None:
        self.keys = keys
        self.broker = Broker(files, config, keys=keys)
        claims: set[PartitionKey] = set()
        self.task = Reencryptor(
            logs=lambda: [self.broker.log],
            keys=keys,
            claims=claims,
            workers=_Copying(files),
            clock=self.broker.clock,
            bytes_per_second=1 << 40,
        )

    def append(self, number: int, promised: list[bytes]) -> None:
        """One acknowledged batch."""
        batch = batch_of(b"value %d " % number + bytes(100))
        self.broker.append(batch)
        self.broker.settle()
        promised.append(bytes(batch))

    def reencrypt(self) -> None:
        self.run(self.task.request(TOPIC))
        self.run(self.task.run_round())

    def run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self.broker.run(coroutine)

    def end(self) -> None:
        """As kill -9 does: nothing of the process goes on."""
        loop = self.broker.loop
        for task in asyncio.all_tasks(loop):
            task.cancel()
        try:
            loop.run_until_complete(asyncio.sleep(0))
        except PowerCut:
            pass
        loop.close()


def recovered(
    files: CrashFiles, keys: ReencryptionTestKeys, config: TopicConfig, promised: list[bytes]
) -> Life:
    """The next life, with everything promised in it."""
    life = Life(files, keys, config)
    assert life.broker.log.online, life.broker.log.offline_reason
    assert life.broker.read_all() == promised
    return life


def finish(life: Life, promised: list[bytes]) -> None:
    """What was asked for comes to its end, whoever asked."""
    if TOPIC in life.keys.asked:
        life.run(life.task.run_round())
    assert not life.keys.asked, life.task.progress(TOPIC)
    assert life.broker.read_all() == promised


def key_ids(life: Life) -> set[bytes | None]:
    return {info.topic_key_id for info in life.broker.log.segments_view() if info.stored_bytes}


@pytest.mark.parametrize("before", [PLAIN, SEALED], ids=["plain", "encrypted"])
def test_power_cut_at_every_operation(before: TopicConfig) -> None:
    cut, finished = 0, False
    while not finished:
        cut += 1
        files, keys, promised = CrashFiles(), ReencryptionTestKeys(), list[bytes]()
        life = Life(files, keys, before)
        for number in range(8):
            life.append(number, promised)
        life.broker.log.update_config(SEALED)
        life.append(8, promised)
        keys.renew(TOPIC)
        files.cut_power_at = files.operations + cut
        try:
            life.reencrypt()
            finished = True
            assert not keys.asked
        except PowerCut:
            pass
        life.end()
        files.crash(random.Random(f"{before.encryption_enabled} {cut}"))
        life = recovered(files, keys, SEALED, promised)
        finish(life, promised)
        if cut > 1:
            assert key_ids(life) == {keys.newest(TOPIC)}
            assert len(keys.older(TOPIC)) == 0
        life.end()
    assert cut > 30


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_lives(seed: int) -> None:
    """Appends, new keys, re-encryption, switching on and off, and crashes in the middle of any of them."""
    print(f"seed {seed}")
    chance = random.Random(f"reencryption {seed}")
    files, keys, promised = CrashFiles(), ReencryptionTestKeys(), list[bytes]()
    config = chance.choice((PLAIN, SEALED))
    life = Life(files, keys, config)
    number = 0
    for _ in range(5):
        for _ in range(chance.randrange(1, 8)):
            life.append(number, promised)
            number += 1
        if chance.random() < 0.4:
            config = chance.choice((PLAIN, SEALED, SEALED))
            if not config.encryption_enabled:
                keys.marked.discard(TOPIC)  # `prepare` comes before a log has its settings
            life.broker.log.update_config(config)
        if chance.random() < 0.6:
            keys.renew(TOPIC)
        if chance.random() < 0.8:
            files.cut_power_at = files.operations + chance.randrange(1, 150)
        try:
            life.reencrypt()
        except PowerCut:
            pass
        files.cut_power_at = None
        life.end()
        files.crash(chance)
        life = recovered(files, keys, config, promised)
        if chance.random() < 0.5:
            finish(life, promised)
    life.end()
