"""Operations on the keys of encryption at rest in a running broker, which `rivven keys` asks for.

Driver; implements `security.keys.operations.KeyService`. One operation at a time changes keys. Shredding that
was begun is finished after a restart, and after any number of failures of the provider.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rivven.app.key_age import KeyAge
from rivven.app.key_uses import KeyUses
from rivven.app.topic_erasure import TopicErasure
from rivven.audit.events import SUCCESS, AuditEvent
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.errors import RivvenError, StorageFailed
from rivven.log.reencryption import Reencryptor
from rivven.metadata.image import Topic
from rivven.metadata.service import MetadataService
from rivven.security.keys.erasure import Erasure, MalformedErasure, OldKek, bounded
from rivven.security.keys.erasure_certificate import timestamp
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.erasure_signing import ErasureSigning
from rivven.security.keys.inventory import KeyInventory
from rivven.security.keys.keks import Keks
from rivven.security.keys.key_store import StoredTopic
from rivven.security.keys.operations import (
    CertificateEntry,
    KeyOperationRefused,
    KeysBusy,
    PlaintextHistory,
    PublicKey,
    Rewrapped,
    RewriteProgress,
    Rotated,
    UnknownKeyThing,
)
from rivven.security.keys.provider import KeyGone, KeyProviderError, KeyRefused
from rivven.security.keys.shredding import Shredder
from rivven.security.keys.topic_keys import TopicKeys
from rivven.tasks import Tasks
from rivven.telemetry import Metrics

SHRED_SECONDS_MAX = 100.0
"""How long an answer waits for the certificate; the Admin API ends every answer after 120 s."""

_log = logging.getLogger("rivven.keys")


class Signing(Protocol):
    """A key that signs, with its public halves. Both calls may wait."""

    async def public_keys(self) -> Sequence[PublicKey]: ...
    async def rotate(self) -> PublicKey: ...


class KeyOperations:
    """Belongs to the event loop."""

    def __init__(
        self,
        *,
        keks: Keks,
        topic_keys: TopicKeys,
        files: ErasureFiles,
        signing: ErasureSigning,
        audit_signing: Signing | None,
        topics: TopicErasure,
        metadata: MetadataService,
        reencryptor: Reencryptor,
        trail: AuditTrail,
        tasks: Tasks,
        clock: Clock,
        metrics: Metrics,
        rotation_days: int,
    ) -> None:
        self._keks = keks
        self._topic_keys = topic_keys
        self._files = files
        self._signing = signing
        self._audit_signing = audit_signing
        self._topics = topics
        self._metadata = metadata
        self._reencryptor = reencryptor
        self._trail = trail
        self._tasks = tasks
        self._clock = clock
        self._uses = KeyUses(keks, topic_keys, topics, metadata, metrics)
        self.age = KeyAge(keks, trail, clock, rotation_days, self._alone, self._rewrap)
        self._busy = ""
        metrics.watch_key_work(
            lambda: sum(one.done_bytes for one in self.progress()),
            lambda: sum(one.left_bytes for one in self.progress()),
            lambda: self._shredder.running is not None,
        )
        self._shredder = Shredder(
            records=files,
            topics=topics,
            wrappings=keks,
            provider=keks.provider,
            issue=self._issue,
            clock=clock,
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
        self._tasks.spawn(self.age.follow(), "age of keys")
        self._tasks.spawn(self._uses.keep_counting(), "count of keys")

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def running(self) -> Erasure | None:
        """The erasure under way."""
        return self._shredder.running

    @property
    def problem(self) -> str:
        """Why it came no further."""
        return self._shredder.problem

    async def inventory(self) -> KeyInventory:
        """Every KEK and topic key, and what is sealed under them. Raises KeyProviderError."""
        return await self._uses.inventory()

    def progress(self) -> Sequence[RewriteProgress]:
        """Topics whose re-encryption was asked for since the start, or before and not finished."""
        found = []
        for topic in self._metadata.image.topics.values():
            one = self._reencryptor.progress(topic.topic_id)
            if one is not None:
                found.append(_shown(topic, one.done_bytes, one.left_bytes, one.finished, one.problem))
        return found

    # -- changing --------------------------------------------------------------------------------------------

    async def rotate(self, name: str) -> Rotated:
        """A new KEK, in effect at once. Raises RivvenError."""
        with self._alone("a rotation"):
            made = await self._keks.rotate(name)
            await self._uses.count()
        return made

    async def rewrap(self) -> Rewrapped:
        """Everything under the newest KEK of its name. Raises RivvenError when one key was not."""
        with self._alone("a rewrap"):
            return await self._rewrap()

    async def _rewrap(self) -> Rewrapped:
        report = await self._keks.rewrap_all()
        if report.failed:
            raise StorageFailed(
                f"{report.moved} keys were rewrapped, {len(report.failed)} were not: {report.failed[0]}"
            )
        found = await self._uses.glance()
        retirable = tuple(one.key_id for one in found.keks if one.retirable)
        return Rewrapped(report.moved, report.unchanged, retirable)

    async def reencrypt(self, topic: str) -> RewriteProgress:
        """Begin to rewrite a topic under a new topic key, unless that is under way. Raises RivvenError."""
        found = self._topic(topic)
        if not self._metadata.topic_config(found).encryption_enabled:
            raise KeyOperationRefused(f"{topic} is not encrypted: set its encryption.enabled to true first")
        with self._alone("the start of a re-encryption"):
            if found.topic_id not in self._topic_keys.rewriting():
                await self._topic_keys.renew(found.topic_id)
            one = await self._reencryptor.request(found.topic_id)
        return _shown(found, one.done_bytes, one.left_bytes, one.finished, one.problem)

    async def start_over(self, topic: str) -> str:
        """Write a topic whose keys are lost under new ones from now on; what it holds stays unreadable.

        Returns the id of the topic key that counts. Raises RivvenError.
        """
        found = self._topic(topic)
        if not self._metadata.topic_config(found).encryption_enabled:
            raise KeyOperationRefused(f"{topic} is not encrypted, so it needs no key to be written")
        with self._alone(f"a new start of {topic}"):
            made = await self._topic_keys.start_over(found.topic_id)
            stored = self._topic_keys.stored()[found.topic_id]
            begun = await self._topics.begin_segments(found, set(stored.key_ids), self._clock.now_ms())
        if not made and not begun:
            raise KeyOperationRefused(f"{topic} has the keys of what it holds: there is nothing to give up")
        _log.warning("topic %s starts over under key %s", topic, stored.key_ids[-1].hex())
        return stored.key_ids[-1].hex()

    # -- erasing ---------------------------------------------------------------------------------------------

    async def shred(self, topic: str, principal: str, *, accept_plaintext: bool) -> bytes:
        """Erase a topic for ever; its certificate. Raises RivvenError; what was begun goes on."""
        found = self._topic(topic)
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
            outcome = await asyncio.wait_for(asyncio.shield(task), SHRED_SECONDS_MAX)
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

    async def _plan(self, topic: Topic, principal: str, accept_plaintext: bool) -> Erasure:
        """What is to be erased; nothing has happened yet. Raises RivvenError."""
        stored = self._topic_keys.stored().get(topic.topic_id)
        if stored is None:
            raise KeyOperationRefused(
                f"{topic.name} has no keys, so nothing can be destroyed: delete it with rivven topic delete"
            )
        self._check_all_there()
        partitions = await self._topics.partitions(topic)
        plain = [one.partition for one in partitions if one.plaintext_history]
        if plain and not accept_plaintext:
            raise PlaintextHistory(
                f"partitions {_few(plain)} of {topic.name} were once stored unencrypted, and destroying keys"
                " does not reach copies of that; --accept-plaintext-history goes on and states it in the"
                " certificate"
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

    async def _issue(self, erasure: Erasure) -> bytes:
        """Sign and keep the certificate, and put it on record."""
        content = await asyncio.to_thread(self._signing.certificate, erasure)
        await asyncio.to_thread(self._files.write_certificate, erasure.id, content)
        gone = {one.key_id for one in erasure.old_keks if one.until_ms is None}
        await asyncio.to_thread(self._files.forget_keks, gone)
        until = erasure.pending_until_ms
        state = "complete" if until is None else f"pending until {timestamp(until)}"
        _log.warning("topic %s is shredded: %s; certificate %s", erasure.topic, state, erasure.id)
        details = {"operation": "shred", "certificate_id": erasure.id, "state": state}
        self._trail.event(
            AuditEvent(
                "key_change",
                "erase",
                f"topic:{erasure.topic}",
                SUCCESS,
                erasure.principal,
                details=details,
                signed=True,
            )
        )
        await self._uses.count()
        return content

    async def certificates(self) -> Sequence[CertificateEntry]:
        """Every certificate of the key store. Raises KeyProviderError."""
        return await asyncio.to_thread(self._files.certificates)

    async def certificate(self, certificate_id: str) -> bytes:
        """One certificate. Raises RivvenError."""
        content = await asyncio.to_thread(self._files.read_certificate, certificate_id)
        if content is None:
            raise UnknownKeyThing("there is no such certificate")
        return content

    # -- signing keys ----------------------------------------------------------------------------------------

    async def public_keys(self, name: str) -> Sequence[PublicKey]:
        """The public keys of `audit` or `erasure`, the present one first. Raises RivvenError."""
        if name == "erasure":
            return await asyncio.to_thread(self._signing.public_keys)
        return await self._audit(name).public_keys()

    async def rotate_signing(self, name: str) -> PublicKey:
        """A new key for `audit` or `erasure`. Raises RivvenError."""
        with self._alone("the rotation of a signing key"):
            if name == "erasure":
                return await asyncio.to_thread(self._signing.rotate)
            return await self._audit(name).rotate()

    def _audit(self, name: str) -> Signing:
        if name != "audit" or self._audit_signing is None:
            raise UnknownKeyThing("there is no such signing key")
        return self._audit_signing

    # -- rules -----------------------------------------------------------------------------------------------

    def _topic(self, name: str) -> Topic:
        topic = self._metadata.image.topics.get(name)
        if topic is None:
            raise UnknownKeyThing("there is no such topic")
        return topic

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

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """One operation at a time. Raises KeysBusy, and KeyOperationRefused for what a provider refuses."""
        if self._shredder.running is not None:
            raise KeysBusy(f"the topic {self._shredder.running.topic} is being shredded")
        if self._busy:
            raise KeysBusy(f"{self._busy} is under way")
        self._busy = what
        try:
            yield
        except (KeyRefused, KeyGone) as error:  # trying again is in vain, so it is the request that is wrong
            raise KeyOperationRefused(str(error)) from None
        finally:
            self._busy = ""


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"


def _shown(topic: Topic, done: int, left: int, finished: bool, problem: str) -> RewriteProgress:
    return RewriteProgress(topic.name, topic.topic_id, done, left, finished, problem)
