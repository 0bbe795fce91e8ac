"""Shredding topics: refused before anything happens, finished once it was begun, in nobody's way for ever."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import pytest

from rivven.app import topic_shredding
from rivven.app.key_operations import KeyOperations
from rivven.errors import StorageFailed
from rivven.security.keys import shredding
from rivven.security.keys.erasure_certificate import verify
from rivven.security.keys.operations import KeyOperationRefused, KeysBusy, PlaintextHistory, UnknownKeyThing
from rivven.security.keys.provider import KeyProviderError, KeyRefused, ProviderUnavailable
from tests.unit.app.key_site import LOGS, ORDERS, Site, states


@pytest.fixture
async def site() -> Site:
    return Site()


async def ended(operations: KeyOperations) -> None:
    async with asyncio.timeout(10):
        while operations.running is not None:  # noqa: ASYNC110 - the end of an erasure is a state
            await asyncio.sleep(0.001)


class TestShredding:
    """From the question to the certificate."""

    async def test_everything_is_done_and_on_record(self, site: Site) -> None:
        async with site.process() as operations:
            await operations.rotate("")
            content = await operations.shred("orders", "user:a", accept_plaintext=False)
            [public] = await operations.public_keys("erasure")
            assert verify(content, public.pem.encode()).fields["topic"]["name"] == "orders"
            assert "orders" not in site.image.topics
            assert states(site) == ["destroyed", "destroyed", "enabled"]
            assert site.keys.stored().keys() == {LOGS}
            [entry] = await operations.certificates()
            assert await operations.certificate(entry.id) == content
            assert site.trail.events == [("erase", "topic:orders", "success")]
            assert operations.running is None

    @pytest.mark.parametrize("name", ["nothing", ""])
    async def test_unknown_topics(self, site: Site, name: str) -> None:
        async with site.process() as operations:
            with pytest.raises(UnknownKeyThing):
                await operations.shred(name, "user:a", accept_plaintext=False)

    async def test_what_is_refused_changes_nothing(self, site: Site) -> None:
        async with site.process(ORDERS) as operations:
            for name, reason in (("__own", "own topic"), ("logs", "has no keys")):
                with pytest.raises(KeyOperationRefused, match=reason):
                    await operations.shred(name, "user:a", accept_plaintext=True)
            site.topics.plain = True
            with pytest.raises(PlaintextHistory, match="accept-plaintext-history"):
                await operations.shred("orders", "user:a", accept_plaintext=False)
            site.broker_values["delete.topic.enable"] = False
            with pytest.raises(KeyOperationRefused, match=r"delete\.topic\.enable"):
                await operations.shred("orders", "user:a", accept_plaintext=True)
            assert operations.running is None
            assert states(site) == ["enabled"]
            assert "orders" in site.image.topics

    async def test_a_provider_that_does_not_answer_is_noticed_before_anything_happens(
        self, site: Site
    ) -> None:
        async with site.process() as operations:
            site.fails("describe", "current_id")
            with pytest.raises(ProviderUnavailable):
                await operations.shred("orders", "user:a", accept_plaintext=False)
            assert operations.running is None
            assert "orders" in site.image.topics

    async def test_a_provider_that_cannot_destroy_is_noticed_too(self, site: Site) -> None:
        async with site.process() as operations:
            site.fails("describe", "rotate", "destroy", error=KeyRefused("cannot describe"))
            with pytest.raises(KeyOperationRefused, match="cannot describe"):
                await operations.shred("orders", "user:a", accept_plaintext=False)
            with pytest.raises(KeyOperationRefused, match="cannot describe"):
                await operations.rotate("")
            assert operations.running is None
            assert "orders" in site.image.topics
            assert [one.current for one in (await operations.inventory()).keks] == [True]

    @pytest.mark.parametrize("failure", [KeyRefused("not allowed"), ProviderUnavailable("out of reach")])
    async def test_a_provider_that_makes_no_new_key_is_noticed_too(
        self, site: Site, failure: KeyProviderError
    ) -> None:
        async with site.process() as operations:
            site.fails("rotate", error=failure)
            with pytest.raises((KeyOperationRefused, ProviderUnavailable), match=str(failure)):
                await operations.shred("orders", "user:a", accept_plaintext=False)
            site.fails()
            assert operations.running is None
            assert "orders" in site.image.topics
            await operations.reencrypt("orders")  # its keys may change again

    async def test_keys_that_wrapped_it_under_another_name_are_destroyed_as_well(self, site: Site) -> None:
        async with site.process() as operations:
            await operations.rotate("payments")
            await site.keys.prepare({ORDERS: "payments"})
        async with site.process() as operations:  # back under the default
            await operations.rewrap()
            await operations.shred("orders", "user:a", accept_plaintext=False)
            named = [one.state for one in site.world.provider.describe("payments")]
            assert (states(site), named) == (["destroyed", "enabled"], ["destroyed", "enabled"])

    async def test_the_fresh_kek_never_wraps_what_is_shredded(self, site: Site) -> None:
        async with site.process() as operations:
            delete = site.topics.delete
            refused = []

            async def meanwhile(topic_id: UUID) -> None:
                for change in (site.keys.renew(ORDERS), site.keys.retire(ORDERS, {b"x" * 16})):
                    try:
                        await change
                    except KeyRefused as error:
                        refused.append(str(error))
                await delete(topic_id)

            site.topics.delete = meanwhile  # type: ignore[method-assign]
            await operations.shred("orders", "user:a", accept_plaintext=False)
            assert refused == ["the topic is being shredded, so its keys are not wrapped again"]

    async def test_topics_without_their_keys_forbid_it(self, site: Site) -> None:
        async with site.process():
            pass
        site.fails("unwrap")
        site.world.provider.failure = lambda call, use: (
            ProviderUnavailable("out of reach") if use.get("topic") == str(LOGS) else None
        )
        async with site.process() as operations:
            with pytest.raises(KeyOperationRefused, match=r"keys of 1 topics.* One is logs: out of reach"):
                await operations.shred("orders", "user:a", accept_plaintext=False)
            site.world.provider.failure = lambda _call, _use: None

    async def test_what_was_begun_goes_on_when_the_provider_is_back(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shredding, "RETRY_SECONDS_MIN", 0.001)
        async with site.process() as operations:
            site.fails("wrap")
            with pytest.raises(StorageFailed, match="goes on in the background: out of reach"):
                await operations.shred("orders", "user:a", accept_plaintext=False)
            assert operations.problem == "out of reach"
            assert site.metric("rivven_erasures_running") == {(): 1}
            for busy in (operations.rotate(""), operations.rewrap(), operations.reencrypt("logs")):
                with pytest.raises(KeysBusy, match="orders is being shredded"):
                    await busy
            site.fails()
            await ended(operations)
            assert len(await operations.certificates()) == 1
            await operations.rotate("")

    async def test_an_answer_does_not_wait_for_ever(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(topic_shredding, "SHRED_SECONDS_MAX", 0.05)
        go_on = asyncio.Event()
        at_once = site.topics.delete

        async def slowly(topic_id: UUID) -> None:
            await go_on.wait()
            await at_once(topic_id)

        site.topics.delete = slowly  # type: ignore[method-assign]
        async with site.process() as operations:
            with pytest.raises(StorageFailed, match="takes longer"):
                await operations.shred("orders", "user:a", accept_plaintext=False)
            go_on.set()
            await ended(operations)
            assert len(await operations.certificates()) == 1

    async def test_the_next_process_finishes_it(self, site: Site) -> None:
        async with site.process() as operations:
            site.fails("destroy")
            with pytest.raises(StorageFailed):
                await operations.shred("orders", "user:a", accept_plaintext=False)
        site.fails()
        async with site.process(LOGS) as operations:
            await operations.start()
            assert operations.running is not None
            await ended(operations)
            [entry] = await operations.certificates()
            content = json.loads(await operations.certificate(entry.id))
            assert (content["requested_by"], content["state"]) == ("user:a", "complete")
            assert states(site) == ["destroyed", "enabled"]

    async def test_an_operation_of_a_later_version_ends_the_start(self, site: Site) -> None:
        async with site.process() as operations:
            site.world.store.set_operation({"kind": "moving", "version": 9})
            with pytest.raises(KeyProviderError, match="moving"):
                await operations.start()
            site.world.store.set_operation(None)


class TestPlaintextHistory:
    """Segments that were in plain are named one by one."""

    async def test_what_was_reencrypted_is_listed(self, site: Site) -> None:
        site.topics.plain = True
        async with site.process() as operations:
            await operations.reencrypt("orders")
            await operations.reencrypt("orders")
        site.topics.segment_keys = "bb"  # rewritten, and still marked
        async with site.process(ORDERS, LOGS) as operations:
            await operations.start()
            with pytest.raises(PlaintextHistory, match=r"offsets 0: 0 to 8\)"):
                await operations.shred("orders", "user:a", accept_plaintext=False)
            fields = json.loads(await operations.shred("orders", "user:a", accept_plaintext=True))
            [part] = fields["partitions"]
            [listed] = part["formerly_plain"]
            assert (listed["base_offset"], listed["end_offset"], listed["stored_bytes"]) == (0, 9, 90)
            assert (part["plaintext_history"], part["formerly_plain_more"]) == (True, 0)
            site.image.topics_by_id.clear()
            await operations.start()
            assert site.world.files.list("/data-keys/plain") == []

    async def test_a_topic_that_is_not_here_and_has_keys_keeps_its_list(self, site: Site) -> None:
        """As with an older copy of the data directory."""
        site.topics.plain = True
        async with site.process() as operations:
            await operations.reencrypt("orders")
            site.image.topics_by_id.clear()
            await operations.start()
            assert site.world.files.list("/data-keys/plain") == [str(ORDERS)]

    async def test_what_is_in_plain_when_it_is_asked_for_again_is_listed_too(self, site: Site) -> None:
        site.topics.plain = True
        async with site.process() as operations:
            await operations.reencrypt("orders")
            await site.keys.set_rewriting(ORDERS, True)
            site.topics.end = 12
            await operations.reencrypt("orders")  # the first one is not finished
            site.topics.segment_keys = "bb"
            with pytest.raises(PlaintextHistory, match=r"offsets 0: 0 to 8, 0: 0 to 11\)"):
                await operations.shred("orders", "user:a", accept_plaintext=False)

    async def test_what_is_in_plain_still_is_listed_as_such(self, site: Site) -> None:
        site.topics.plain = True
        async with site.process() as operations:
            await operations.reencrypt("orders")
            fields = json.loads(await operations.shred("orders", "user:a", accept_plaintext=True))
            [part] = fields["partitions"]
            assert (part["formerly_plain"], part["segments"][0]["topic_key_id"]) == ([], None)


class TestARefusalToDestroy:
    """The provider makes and wraps, and may not destroy: as an operator without that right."""

    async def shredded(self, site: Site, operations: KeyOperations) -> None:
        site.fails("destroy", error=KeyRefused("ScheduleKeyDeletion: AccessDeniedException"))
        with pytest.raises(StorageFailed, match="in the background: ScheduleKeyDeletion: AccessDenied"):
            await operations.shred("orders", "user:a", accept_plaintext=False)

    async def test_it_is_in_the_way_of_nothing_but_another_shredding(self, site: Site) -> None:
        async with site.process() as operations:
            await self.shredded(site, operations)
            assert operations.running is not None and str(operations.running.step) == "rewrapped"
            old = site.world.provider.describe("")[0].key_id
            made = await operations.rotate("")
            assert (await operations.rewrap()).rewrapped == 2
            assert site.keys.kek_ids() == {made.key_id}
            await operations.reencrypt("logs")
            assert len((await operations.inventory()).keks) == 3
            assert (await operations.rotate_signing("erasure")).current
            assert await operations.certificates() == []
            with pytest.raises(KeysBusy, match=r"orders is being shredded, which waits .* AccessDenied"):
                await operations.shred("logs", "user:a", accept_plaintext=False)
            assert "logs" in site.image.topics and LOGS in site.keys.stored()
            assert old not in site.keys.kek_ids() and states(site)[0] == "enabled"

    async def test_the_reason_is_shown_measured_and_on_record_once(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(shredding, "RETRY_SECONDS_MIN", 0.001)
        async with site.process() as operations:
            assert site.metric("rivven_erasures_waiting") == {(): 0}
            await self.shredded(site, operations)
            async with asyncio.timeout(10):
                while site.world.provider.calls["destroy"] < 3:  # noqa: ASYNC110 - attempts are counted
                    await asyncio.sleep(0.001)
            assert operations.problem == "ScheduleKeyDeletion: AccessDeniedException"
            assert site.metric("rivven_erasures_waiting") == {(): 1}
            assert site.trail.events == [("erase", "topic:orders", "failure")]
            assert site.trail.reasons == [operations.problem]
            assert "orders waits after rewrapped: ScheduleKeyDeletion: AccessDenied" in caplog.text

    async def test_it_finishes_by_itself_once_the_right_is_there(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shredding, "RETRY_SECONDS_MIN", 0.001)
        async with site.process() as operations:
            await self.shredded(site, operations)
            await operations.rotate("")
            site.fails()
            await ended(operations)
            [entry] = await operations.certificates()
            assert (entry.topic, entry.state) == ("orders", "complete")
            assert states(site) == ["destroyed", "enabled", "enabled"]
            assert site.metric("rivven_erasures_waiting") == {(): 0}
            assert [result for _, _, result in site.trail.events] == ["failure", "success"]
            await operations.shred("logs", "user:a", accept_plaintext=False)

    async def test_the_next_process_is_kept_from_as_little(self, site: Site) -> None:
        async with site.process() as operations:
            await self.shredded(site, operations)
        async with site.process(LOGS) as operations:
            await operations.start()
            async with asyncio.timeout(10):
                while not operations.problem:  # noqa: ASYNC110 - the first attempt of this process
                    await asyncio.sleep(0.001)
            await operations.rotate("")
            with pytest.raises(KeysBusy, match="AccessDenied"):
                await operations.shred("logs", "user:a", accept_plaintext=False)
