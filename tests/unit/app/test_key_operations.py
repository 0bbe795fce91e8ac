"""Operations on keys: one at a time, refused before anything happens, finished once they were begun."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rivven.errors import StorageFailed
from rivven.security.keys.operations import (
    KeyOperationRefused,
    PublicKey,
    UnknownKeyThing,
)
from rivven.security.keys.provider import KeyProviderError
from tests.unit.app.key_site import LOGS, ORDERS, Site


@pytest.fixture
async def site() -> Site:
    return Site()


class TestTheRest:
    """Counting, re-encryption, signing keys."""

    async def test_counts_reach_the_metrics(self, site: Site) -> None:
        async with site.process() as operations:
            made = await operations.rotate("")
            assert site.metric("rivven_keks")["enabled",] == 2
            assert site.metric("rivven_topic_keys") == site.metric("rivven_topic_keys_older") == {(): 2}
            assert site.metric("rivven_keys_newest_percent") == {(): 0}
            site.world.provider.failure = lambda call, use: (
                KeyProviderError("denied") if call == "wrap" and use.get("topic") == str(LOGS) else None
            )
            with pytest.raises(StorageFailed):
                await operations.rewrap()
            site.fails()
            assert (await operations.rewrap()).retirable == (made.previous_id,)
            assert site.metric("rivven_keys_newest_percent") == {(): 100}
            found = await operations.inventory()
            assert (found.older_keys, found.plain.stored_bytes) == (0, 270)

    async def test_a_rewrap_that_missed_keys_says_so(self, site: Site) -> None:
        async with site.process() as operations:
            await operations.rotate("")
            site.fails("wrap", error=KeyProviderError("denied"))
            with pytest.raises(KeyProviderError, match="denied"):
                await operations.rewrap()
            site.world.provider.failure = lambda call, use: (
                KeyProviderError("denied") if call == "wrap" and "topic" in use else None
            )
            with pytest.raises(StorageFailed, match="1 keys were rewrapped, 2 were not"):
                await operations.rewrap()

    async def test_a_topic_starts_over_where_keys_are_lost_only(self, site: Site) -> None:
        async with site.process() as operations:
            first = site.keys.newest(ORDERS)
            with pytest.raises(KeyOperationRefused, match="nothing to give up"):
                await operations.start_over("orders")
            site.topics.strange = True
            assert first is not None and await operations.start_over("orders") == first.hex()
            site.topics.strange = False
        site.world.files.remove(f"/data-keys/topics/{ORDERS}.keys")
        site.world.sealed_on_disk = {ORDERS}
        async with site.process() as operations:
            [use] = [one for one in (await operations.inventory()).topics if one.topic_id == ORDERS]
            assert "rivven keys start-over" in use.problem
            with pytest.raises(KeyOperationRefused, match="cannot be had now"):
                await operations.shred("logs", "user:a", accept_plaintext=False)
            made = await operations.start_over("orders")
            assert made != first.hex() and site.keys.failure(ORDERS) == ""
            site.encrypted = False
            with pytest.raises(KeyOperationRefused, match="not encrypted"):
                await operations.start_over("logs")
            with pytest.raises(UnknownKeyThing):
                await operations.start_over("nothing")

    async def test_a_reencryption_that_runs_gets_no_second_key(self, site: Site) -> None:
        async with site.process() as operations:
            first = site.keys.newest(ORDERS)
            shown = await operations.reencrypt("orders")
            assert (shown.topic, shown.left_bytes, shown.finished) == ("orders", 2, False)
            second = site.keys.newest(ORDERS)
            assert second != first
            await site.keys.set_rewriting(ORDERS, True)
            await operations.reencrypt("orders")
            assert site.keys.newest(ORDERS) == second
            assert [one.topic for one in operations.progress()] == ["orders"]
            site.encrypted = False
            with pytest.raises(KeyOperationRefused, match=r"encryption\.enabled"):
                await operations.reencrypt("logs")

    async def test_signing_keys(self, site: Site) -> None:
        async with site.process() as operations:
            [first] = await operations.public_keys("erasure")
            second = await operations.rotate_signing("erasure")
            shown: Sequence[PublicKey] = await operations.public_keys("erasure")
            assert [one.key_id for one in shown] == [second.key_id, first.key_id]
            for name in ("audit", "token-hash"):  # there is no audit trail in this test
                with pytest.raises(UnknownKeyThing):
                    await operations.public_keys(name)
                with pytest.raises(UnknownKeyThing):
                    await operations.rotate_signing(name)
