"""Shredding of topics in a running broker: what is refused, what is begun, and how it comes to its end.

Driver over `security.keys.shredding`. What was begun is finished after a restart, and after any number of
failures of the provider: the reason is logged, on the audit trail and shown until it goes on.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager

from rivven.app.topic_erasure import TopicErasure
from rivven.audit.events import FAILURE, SUCCESS, AuditEvent, Fact
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.errors import RivvenError, StorageFailed
from rivven.metadata.image import Topic
from rivven.metadata.service import MetadataService
from rivven.security.keys.erasure import (
    ErasedPartition,
    Erasure,
    MalformedErasure,
    OldKek,
    bounded,
    with_formerly_plain,
)
from rivven.security.keys.erasure_certificate import timestamp
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.erasure_signing import ErasureSigning
from rivven.security.keys.keks import Keks
from rivven.security.keys.key_store import StoredTopic
from rivven.security.keys.operations import KeyOperationRefused, KeysBusy, PlaintextHistory, UnknownKeyThing
from rivven.security.keys.provider import KeyProviderError
from rivven.security.keys.shredding import Shredder
from rivven.security.keys.topic_keys import TopicKeys
from rivven.tasks import Tasks

SHRED_SECONDS_MAX = 100.0
"""How long an answer waits for the certificate; the Admin API ends every answer after 120 s."""

SEGMENTS_SHOWN_MAX = 10
"""Segments in plain that a refusal names; the certificate lists all that are remembered."""

_log = logging.getLogger("rivven.keys")


class TopicShredding:
    """One topic at a time. Belongs to the event loop."""

    def __init__(
        self,
        *,
        keks: Keks,
        topic_keys: TopicKeys,
        files: ErasureFiles,
        signing: ErasureSigning,
        topics: TopicErasure,
        metadata: MetadataService,
        trail: AuditTrail,
        tasks: Tasks,
        clock: Clock,
        alone: Callable[[str], AbstractContextManager[None]],
        on_issued: Callable[[], Awaitable[None]],
    ) -> None:
        """`alone` keeps other operations out, or raises KeysBusy; `on_issued` hears of a certificate."""
        self._keks = keks
        self._topic_keys = topic_keys
        self._files = files
        self._signing = signing
        self._topics = topics
        self._metadata = metadata
        self._trail = trail
        self._tasks = tasks
        self._clock = clock
        self._alone = alone
        self._on_issued = on_issued
        self._recorded = ""
        """The failure that was put on record last."""
        self._shredder = Shredder(
            records=files,
            topics=topics,
            wrappings=keks,
            provider=keks.provider,
            issue=self._issue,
            clock=clock,
            on_stop=self._stopped,
        )

    async def start(self) -> None:
        """Go on with the erasure that a crash interrupted. Raises KeyProviderError for an unreadable one."""
        try:
            erasure = await asyncio.to_thread(self._files.load_erasure)
        except MalformedErasure as error:
            raise KeyProviderError(f"the operation in the key store cannot be read: {error}") from None
        if erasure is not None:
            _log.warning("shredding of %s goes on after %s", erasure.topic, erasure.step)
            await self._topic_keys.freeze(erasure.topic_id)
            self._shredder.resume(erasure)
            self._tasks.spawn(self._shredder.insist(), "shredding")

    @property
    def running(self) -> Erasure | None:
        """The erasure under way."""
        return self._shredder.running

    @property
    def problem(self) -> str:
        """Why it came no further."""
        return self._shredder.problem

    def busy(self) -> KeysBusy:
        """What another operation hears that cannot go on beside the erasure under way."""
        assert self.running is not None
        text = f"the topic {self.running.topic} is being shredded"
        if self.problem:
            text += f", which waits after the step {self.running.step}: {self.problem}"
        return KeysBusy(text)

    async def shred(self, topic: str, principal: str, *, accept_plaintext: bool) -> bytes:
        """Erase a topic for ever; its certificate. Raises RivvenError; what was begun goes on."""
        if self.running is not None:
            raise self.busy()
        found = self._metadata.image.topics.get(topic)
        if found is None:
            raise UnknownKeyThing("there is no such topic")
        if found.internal:
            raise KeyOperationRefused(f"{topic} is the broker's own topic")
        if not self._metadata.broker_values["delete.topic.enable"]:
            raise KeyOperationRefused("delete.topic.enable is false on this broker")
        with self._alone(f"the shredding of {topic}"):
            await self._topic_keys.freeze(found.topic_id)
            try:
                await self._shredder.begin(await self._plan(found, principal, accept_plaintext))
            except BaseException:
                self._topic_keys.thaw(found.topic_id)
                raise
        task = self._tasks.spawn(self._once(), "shredding")
        try:
            async with asyncio.timeout(SHRED_SECONDS_MAX):
                outcome = await asyncio.shield(task)
        except TimeoutError:
            outcome = "it takes longer than an answer may"
        if isinstance(outcome, bytes):
            return outcome
        raise StorageFailed(f"{topic} is being shredded, and that goes on in the background: {outcome}")

    async def _once(self) -> bytes | str:
        """One attempt: the certificate, or what stopped it; then others follow in the background."""
        try:
            return await self._shredder.finish()
        except (RivvenError, OSError) as error:
            self._shredder.stopped(error)
            self._tasks.spawn(self._shredder.insist(), "shredding")
            return str(error)

    def _stopped(self, erasure: Erasure, reason: str) -> None:
        """Record a failure, once for each reason: attempts are repeated for as long as it lasts."""
        if reason != self._recorded:
            self._recorded = reason
            self._record(erasure, FAILURE, reason, step=str(erasure.step))

    # -- the plan --------------------------------------------------------------------------------------------

    async def _plan(self, topic: Topic, principal: str, accept_plaintext: bool) -> Erasure:
        """What is to be erased; nothing has happened yet. Raises RivvenError."""
        stored = self._topic_keys.stored().get(topic.topic_id)
        if stored is None:
            raise KeyOperationRefused(
                f"{topic.name} has no keys, so nothing can be destroyed: delete it with rivven topic delete"
            )
        self._check_all_there()
        known = await asyncio.to_thread(self._files.plain_segments, topic.topic_id)
        partitions = [
            with_formerly_plain(one, *known.get(one.partition, ((), 0)))
            for one in await self._topics.partitions(topic)
        ]
        plain = [one.partition for one in partitions if one.plaintext_history]
        if plain and not accept_plaintext:
            raise PlaintextHistory(
                f"partitions {_few(plain)} of {topic.name} were once stored unencrypted"
                f"{_segments(partitions)}, and destroying keys does not reach copies of that;"
                " --accept-plaintext-history goes on and states it in the certificate"
            )
        segment_keys = {one.topic_key_id for part in partitions for one in part.segments}
        key_ids = {one.hex() for one in stored.key_ids} | {one for one in segment_keys if one is not None}
        return Erasure(
            id=uuid.uuid4().hex,
            cluster_id=self._metadata.image.cluster_id,
            topic_id=topic.topic_id,
            topic=topic.name,
            principal=principal,
            requested_ms=self._clock.now_ms(),
            provider=self._keks.provider.name,
            partitions=bounded(partitions),
            topic_key_ids=tuple(sorted(key_ids)),
            old_keks=await self._old_keks(stored, self._metadata.topic_config(topic).encryption_key),
            accepted_plaintext=accept_plaintext,
        )

    async def _old_keks(self, stored: StoredTopic, configured: str) -> tuple[OldKek, ...]:
        """Every KEK under which a copy of the key store may hold the topic's keys."""
        names = list(dict.fromkeys((stored.key_name, configured, *stored.former_names)))
        known = await self._keks.known(await self._keks.described(names))
        found = {kek: name for kek, name in known.items() if name in names}
        return tuple(
            OldKek(name, kek) for kek, name in (found | {stored.wrapped.key_id: stored.key_name}).items()
        )

    def _check_all_there(self) -> None:
        """Raises KeyOperationRefused when destroying KEKs could take keys along that were not rewrapped."""
        missing = self._keks.unavailable()
        if missing:
            names = {one.topic_id: one.name for one in self._metadata.image.topics.values()}
            topic_id, reason = next(iter(missing.items()))
            raise KeyOperationRefused(
                f"the keys of {len(missing)} topics cannot be had now; destroying what wraps them would"
                f" destroy those too. One is {names.get(topic_id, topic_id)}: {reason or 'not asked for yet'}"
            )

    # -- the end ---------------------------------------------------------------------------------------------

    async def _issue(self, erasure: Erasure) -> bytes:
        """Sign and keep the certificate, and put it on record."""
        content = await asyncio.to_thread(self._signing.certificate, erasure)
        await asyncio.to_thread(self._files.write_certificate, erasure.id, content)
        gone = {one.key_id for one in erasure.old_keks if one.until_ms is None}
        await asyncio.to_thread(self._files.forget_keks, gone)
        until = erasure.pending_until_ms
        state = "complete" if until is None else f"pending until {timestamp(until)}"
        _log.warning("topic %s is shredded: %s; certificate %s", erasure.topic, state, erasure.id)
        self._record(erasure, SUCCESS, state=state)
        self._recorded = ""
        await self._on_issued()
        return content

    def _record(self, erasure: Erasure, result: str, reason: str = "", **facts: str) -> None:
        details: dict[str, Fact] = {"operation": "shred", "certificate_id": erasure.id, **facts}
        self._trail.event(
            AuditEvent(
                "key_change",
                "erase",
                f"topic:{erasure.topic}",
                result,
                erasure.principal,
                reason=reason,
                details=details,
                signed=True,
            )
        )


def _segments(partitions: Sequence[ErasedPartition]) -> str:
    """The first segments that are known to have been in plain, for a message."""
    found: list[str] = []
    for part in partitions:
        spans = [(one.base_offset, one.end_offset) for one in part.formerly_plain]
        spans += [(one.base_offset, one.end_offset) for one in part.segments if one.topic_key_id is None]
        found += [f"{part.partition}: {base} to {end - 1}" for base, end in spans]
    count = len(found) + sum(part.formerly_plain_more for part in partitions)
    if not found:
        return ""
    more = f" and {count - SEGMENTS_SHOWN_MAX} more" if count > SEGMENTS_SHOWN_MAX else ""
    return f" (segments by partition and offsets {', '.join(found[:SEGMENTS_SHOWN_MAX])}{more})"


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"
