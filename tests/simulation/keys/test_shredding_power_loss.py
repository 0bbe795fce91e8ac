"""Power cut at every change of the disk while a topic is shredded: keyring, key store, bootstrap file, record
and certificate are on one disk that loses what was not synced.

`RIVVEN_SIM_SEEDS` sets the number of seeds for each place (1 in `make test`).
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest

from rivven.log.sealing import KeyUnavailable, SegmentHeader
from rivven.security.keys.erasure import Erasure, OldKek, partition_of
from rivven.security.keys.erasure_certificate import verify
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.erasure_signing import ErasureSigning
from rivven.security.keys.keks import Keks
from rivven.security.keys.provider import KeyContext, KeyGone, WrappedKey
from rivven.security.keys.secrets import Secrets
from rivven.security.keys.shredding import Shredder
from rivven.security.keys.topic_keys import TopicKeys
from rivven.testing.files import PowerCut
from tests.unit.security.keys.key_world import InlineThreads, World, opens, sealed
from tests.unit.security.keys.scripted_provider import ScriptedProvider

SEEDS = min(int(os.environ.get("RIVVEN_SIM_SEEDS", "1")), 200)
GONE, KEPT = UUID(int=1), UUID(int=2)
ID = "5a" * 16


class Site:
    """A disk with two topics, one of which is to be shredded. Deleting a topic is one step here."""

    def __init__(self) -> None:
        self.world = World()
        self.world.threads = InlineThreads()  # type: ignore[assignment]
        self.files = self.world.files
        self.world.provider = ScriptedProvider(self.files)
        self.topics = {GONE, KEPT}
        self.wrapped_before: list[WrappedKey] = []

    async def delete(self, topic_id: UUID) -> None:
        self.topics.discard(topic_id)

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Life]:
        """One life of a broker: the keys, and what was under way."""
        async with self.world.broker() as keys:
            await keys.prepare(dict.fromkeys(self.topics, ""))
            store, metadata_key = self.world.store, self.world.metadata_key
            kept = ErasureFiles(self.files, store)
            secrets = Secrets(self.files, "/data", os.urandom, store, metadata_key.secrets_key())
            signing = ErasureSigning(secrets, os.urandom)

            async def issue(erasure: Erasure) -> bytes:
                content = signing.certificate(erasure)
                kept.write_certificate(erasure.id, content)
                return content

            shredder = Shredder(
                records=kept,
                topics=self,
                wrappings=Keks(self.world.provider, keys, metadata_key, kept),
                provider=self.world.provider,
                issue=issue,
                clock=self.world.clock,
            )
            yield Life(keys, kept, signing, shredder)

    def erasure(self, keys: TopicKeys) -> Erasure:
        stored = keys.stored()[GONE]
        self.wrapped_before = [stored.wrapped]
        old = tuple(OldKek("", kek.key_id) for kek in self.world.provider.describe(""))
        parts = (partition_of(0, False, ()),)
        key_ids = tuple(one.hex() for one in stored.key_ids)
        return Erasure(ID, "c", GONE, "gone", "user:a", 1, "file", parts, key_ids, old, False)


@dataclass
class Life:
    keys: TopicKeys
    kept: ErasureFiles
    signing: ErasureSigning
    shredder: Shredder


async def shredded(site: Site) -> None:
    """From two topics to one, through a rotation without a rewrap; the power may go at any operation."""
    async with site.process() as life:
        await life.shredder.begin(site.erasure(life.keys))
        await life.shredder.finish()


Segment = tuple[SegmentHeader, memoryview]


async def prepared() -> tuple[Site, tuple[Segment, Segment]]:
    site = Site()
    async with site.process() as life:
        gone, kept = sealed(life.keys, GONE), sealed(life.keys, KEPT)
        site.world.provider.rotate("")
    return site, (gone, kept)


async def operations() -> tuple[int, int]:
    site, _ = await prepared()
    before = site.files.operations
    await shredded(site)
    return before, site.files.operations


def check(site: Site) -> None:
    [wrapped] = site.wrapped_before
    with pytest.raises(KeyGone):
        site.world.provider.unwrap(wrapped, KeyContext("c").topic(GONE))


async def test_power_loss_at_every_operation() -> None:
    first, last = await operations()
    assert last - first > 40
    for place in range(first + 1, last + 1):
        for seed in range(SEEDS):
            await cut_at(place, seed)


async def cut_at(place: int, seed: int) -> None:
    label = f"operation {place}, seed {seed}"
    site, (gone, kept) = await prepared()
    site.files.cut_power_at = place
    with pytest.raises(PowerCut):
        await shredded(site)
    site.files.crash(random.Random(f"{place} {seed}"))
    async with site.process() as life:
        erasure = life.kept.load_erasure()
        if erasure is None and GONE in site.topics:
            assert opens(life.keys, gone), label
            assert opens(life.keys, kept), label
            return
        if erasure is not None:
            life.shredder.resume(erasure)
            await life.shredder.finish()
        assert opens(life.keys, kept), label
    async with site.process() as life:
        assert life.kept.load_erasure() is None, label
        assert opens(life.keys, kept), label
        with pytest.raises(KeyUnavailable):
            opens(life.keys, gone)
        public = life.signing.public_keys()[0].pem.encode()
        certificate = life.kept.read_certificate(ID)
        assert certificate is not None, label
        assert verify(certificate, public).fields["state"] == "complete", label
    check(site)


async def test_without_a_cut() -> None:
    site, (gone, kept) = await prepared()
    await shredded(site)
    async with site.process() as life:
        assert opens(life.keys, kept)
        with pytest.raises(KeyUnavailable):
            opens(life.keys, gone)
    check(site)
