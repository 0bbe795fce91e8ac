"""Pending erasure certificates are completed once the provider confirms; nothing is destroyed twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from rivven.app import erasure_completion
from rivven.app.key_operations import KeyOperations
from rivven.security.keys.erasure_certificate import verify
from rivven.security.keys.operations import CertificateEntry
from rivven.security.keys.provider import KeyRefused, ProviderUnavailable
from tests.unit.app.key_site import LOGS, Site

UNTIL_MS = 10**13


@pytest.fixture
async def site() -> Site:
    made = Site()
    made.world.provider.until_ms = UNTIL_MS
    return made


async def shredded(operations: KeyOperations, topic: str = "orders") -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(await operations.shred(topic, "user:a", accept_plaintext=False))
    assert fields["state"] == "pending"
    return fields


def destroyed(site: Site) -> None:
    """What the provider had put off has happened."""
    site.world.provider.states.clear()


async def listed(site: Site, operations: KeyOperations) -> Sequence[CertificateEntry]:
    site.world.clock.ms += int(erasure_completion.LIST_SECONDS * 1000) + 1
    return await operations.certificates()


async def test_it_stays_pending_until_the_provider_has_confirmed(site: Site) -> None:
    async with site.process() as operations:
        first = await shredded(operations)
        site.world.clock.ms = UNTIL_MS + 1  # the date alone proves nothing
        [entry] = await listed(site, operations)
        assert (entry.state, entry.completed_by, entry.problem) == ("pending", "", "")
        assert site.metric("rivven_erasures_pending") == {(): 1}
        destroyed(site)
        old, new = sorted(await listed(site, operations), key=lambda one: one.completes)
        assert (old.id, old.state, old.completed_by) == (first["certificate_id"], "pending", new.id)
        assert (new.state, new.completes) == ("complete", old.id)
        [public] = await operations.public_keys("erasure")
        fields = verify(await operations.certificate(new.id), public.pem.encode()).fields
        assert fields["topic"] == first["topic"]
        assert site.trail.events[-1] == ("erase", "topic:orders", "success")
        assert site.metric("rivven_erasures_pending") == {(): 0}
        assert len(await listed(site, operations)) == 2, "once is enough"
        assert json.loads(await operations.certificate(old.id)) == first


async def test_one_that_ends_while_no_broker_runs_is_completed_by_the_next(site: Site) -> None:
    async with site.process() as operations:
        await shredded(operations)
    destroyed(site)
    async with site.process(LOGS) as operations:
        await operations.completion.look()
        assert sorted(one.state for one in await operations.certificates()) == ["complete", "pending"]


async def test_a_destruction_that_was_called_off_is_told_and_not_asked_for_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.process() as operations:
        first = await shredded(operations)
        [kek] = site.world.provider.states
        calls = site.world.provider.calls["destroy"]
        site.world.provider.states[kek] = "disabled"
        for _ in range(2):
            [entry] = await listed(site, operations)
            assert entry.problem == f"{kek} is disabled at the provider: its destruction was called off"
        assert site.trail.reasons == [entry.problem], "on record once"
        assert first["certificate_id"] in caplog.text
        assert site.metric("rivven_erasures_called_off") == {(): 1}
        assert site.world.provider.calls["destroy"] == calls
        site.world.provider.states[kek] = "pending-destruction"
        [entry] = await listed(site, operations)
        assert entry.problem == "" and site.metric("rivven_erasures_called_off") == {(): 0}


async def test_a_provider_that_does_not_answer_is_asked_at_the_next_look(site: Site) -> None:
    async with site.process() as operations:
        await shredded(operations)
        destroyed(site)
        site.fails("state", error=ProviderUnavailable("out of reach"))
        [entry] = await listed(site, operations)
        assert (entry.state, entry.problem) == ("pending", "")
        site.fails("state", error=KeyRefused("DescribeKey: AccessDenied"))
        [entry] = await listed(site, operations)
        assert entry.problem == "DescribeKey: AccessDenied"
        site.fails()
        assert len(await listed(site, operations)) == 2


async def test_lists_during_a_slow_look_begin_no_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site.process() as operations:
        await shredded(operations)
        await operations.completion.look()
        monkeypatch.setattr(erasure_completion, "LIST_SECONDS", 0.001)
        answer = threading.Event()
        site.world.provider.failure = lambda call, _use: (
            ProviderUnavailable("late") if call == "state" and answer.wait(30) else None
        )
        before = site.world.provider.calls["state"]
        try:
            for _ in range(5):
                [entry] = await listed(site, operations)
                assert entry.state == "pending"
        finally:
            answer.set()
        await operations.completion.look()  # behind all that was begun
        assert site.world.provider.calls["state"] - before == 2


async def test_what_is_not_ours_is_not_signed(site: Site) -> None:
    async with site.process() as operations:
        first = await shredded(operations)
        path = f"/data-keys/certificates/{first['certificate_id']}.json"
        content = await operations.certificate(first["certificate_id"])
        site.world.files.open(path, "write").write((content.replace(b"orders", b"others"),), 0)
        destroyed(site)
        [entry] = await listed(site, operations)
        assert entry.problem == "the signature does not match: the certificate was changed"


async def test_one_key_is_asked_about_once_for_all_certificates(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.process() as operations:
        await shredded(operations)
        site.world.provider.until_ms = UNTIL_MS + 1
        await shredded(operations, "logs")
        await operations.completion.look()  # behind those that follow a shredding
        before = site.world.provider.calls["state"]
        await listed(site, operations)
        assert site.world.provider.calls["state"] - before == len(site.world.provider.states) == 2
        monkeypatch.setattr(erasure_completion, "ASKED_MAX", 1)
        before = site.world.provider.calls["state"]
        await listed(site, operations)
        assert site.world.provider.calls["state"] - before == 1
