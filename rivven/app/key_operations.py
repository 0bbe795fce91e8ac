"""Operations on the keys of encryption at rest in a running broker, which `rivven keys` asks for.

Driver; implements `security.keys.operations.KeyService`. One operation at a time changes keys. Shredding that
was begun is finished after a restart, and after any number of failures of the provider.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rivven.app.erasure_completion import ErasureCompletion
from rivven.app.key_age import KeyAge
from rivven.app.key_uses import KeyUses
from rivven.app.topic_erasure import TopicErasure
from rivven.app.topic_shredding import TopicShredding
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.errors import StorageFailed
from rivven.log.reencryption import Reencryptor
from rivven.metadata.image import Topic
from rivven.metadata.service import MetadataService
from rivven.metadata.topic_names import GROUP_TOPIC
from rivven.security.keys.erasure import Erasure, FormerlyPlain
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.erasure_signing import ErasureSigning
from rivven.security.keys.inventory import KeyInventory
from rivven.security.keys.keks import Keks
from rivven.security.keys.operations import (
    CertificateEntry,
    KeyOperationRefused,
    KeysBusy,
    Rewrapped,
    RewriteProgress,
    Rotated,
    Signing,
    UnknownKeyThing,
)
from rivven.security.keys.provider import KeyGone, KeyRefused
from rivven.security.keys.public_keys import PublicKey
from rivven.security.keys.topic_keys import TopicKeys
from rivven.tasks import Tasks
from rivven.telemetry import Metrics

_log = logging.getLogger("rivven.keys")


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
        self.completion = ErasureCompletion(files, signing, keks.provider, trail, clock, tasks)
        self._busy = ""
        metrics.watch_key_work(
            lambda: sum(one.done_bytes for one in self.progress()),
            lambda: sum(one.left_bytes for one in self.progress()),
            lambda: self._shredding.running is not None,
            lambda: bool(self._shredding.problem),
            lambda: self.completion.pending,
            lambda: self.completion.called_off,
        )
        self._shredding = TopicShredding(
            keks=keks,
            topic_keys=topic_keys,
            files=files,
            signing=signing,
            topics=topics,
            metadata=metadata,
            trail=trail,
            tasks=tasks,
            clock=clock,
            alone=self._alone,
            on_issued=self._issued,
        )

    async def start(self) -> None:
        """Go on with the erasure that a crash interrupted. Raises KeyProviderError for an unreadable one."""
        # An older copy of the data directory may lack topics: what has keys is not forgotten either.
        here = {*self._metadata.image.topics_by_id, *self._topic_keys.stored()}
        await asyncio.to_thread(self._files.forget_plain, here)
        await self._shredding.start()
        self._tasks.spawn(self.age.follow(), "age of keys")
        self._tasks.spawn(self.completion.follow(), "completion of erasures")
        self._tasks.spawn(self._uses.keep_counting(), "count of keys")

    async def _issued(self) -> None:
        """A certificate was issued: bring what is counted up to date."""
        await self._uses.count()
        self._tasks.spawn(self.completion.look(), "completion of erasures")  # whoever shreds need not wait

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def running(self) -> Erasure | None:
        """The erasure under way."""
        return self._shredding.running

    @property
    def problem(self) -> str:
        """Why it came no further."""
        return self._shredding.problem

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
            await self._note_plain(found)  # there may be new ones since it was asked for first
            if found.topic_id not in self._topic_keys.rewriting():
                await self._topic_keys.renew(found.topic_id)
            one = await self._reencryptor.request(found.topic_id)
        return _shown(found, one.done_bytes, one.left_bytes, one.finished, one.problem)

    async def _note_plain(self, topic: Topic) -> None:
        """Remember, durably, which segments are in plain before they are rewritten: copies stay so."""
        now_ms = self._clock.now_ms()
        plain = {
            part.partition: [
                FormerlyPlain(one.base_offset, one.end_offset, one.stored_bytes, now_ms)
                for one in part.segments
                if one.topic_key_id is None
            ]
            for part in await self._topics.partitions(topic)
        }
        await asyncio.to_thread(self._files.remember_plain, topic.topic_id, plain)

    async def start_over(self, topic: str) -> str:
        """Write a topic whose keys are lost under new ones from now on; what it holds stays unreadable.

        Of the topic of groups that is deleted: a partition of it is read from its beginning or not at all.
        Returns the id of the topic key that counts. Raises RivvenError.
        """
        found = self._topic(topic)
        if not self._metadata.topic_config(found).encryption_enabled:
            raise KeyOperationRefused(f"{topic} is not encrypted, so it needs no key to be written")
        with self._alone(f"a new start of {topic}"):
            made = await self._topic_keys.start_over(found.topic_id)
            stored = self._topic_keys.stored()[found.topic_id]
            known = set(stored.key_ids)
            begun = await self._topics.begin_segments(found, known, self._clock.now_ms())
            if topic == GROUP_TOPIC:
                begun += await self._topics.delete_lost(found, known)
        if not made and not begun:
            raise KeyOperationRefused(f"{topic} has the keys of what it holds: there is nothing to give up")
        _log.warning("topic %s starts over under key %s", topic, stored.key_ids[-1].hex())
        return stored.key_ids[-1].hex()

    # -- erasing ---------------------------------------------------------------------------------------------

    async def shred(self, topic: str, principal: str, *, accept_plaintext: bool) -> bytes:
        """Erase a topic for ever; its certificate. Raises RivvenError; what was begun goes on."""
        return await self._shredding.shred(topic, principal, accept_plaintext=accept_plaintext)

    async def certificates(self) -> Sequence[CertificateEntry]:
        """Every certificate of the key store; what is pending and can be is completed. Raises
        KeyProviderError."""
        return await self.completion.certificates()

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
        with self._alone("the rotation of a signing key", beside_shredding=True):
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

    @contextmanager
    def _alone(self, what: str, *, beside_shredding: bool = False) -> Iterator[None]:
        """One operation at a time. Raises KeysBusy, and KeyOperationRefused for what a provider refuses.

        An erasure that has only old KEKs left to destroy keeps nothing else out: they wrap nothing, and what
        is made now is wrapped under newer ones. A provider may refuse that for a long time.
        """
        erasure = self._shredding.running
        if erasure is not None and not (beside_shredding or erasure.only_destroys):
            raise self._shredding.busy()
        if self._busy:
            raise KeysBusy(f"{self._busy} is under way")
        self._busy = what
        try:
            yield
        except (KeyRefused, KeyGone) as error:  # trying again is in vain, so it is the request that is wrong
            raise KeyOperationRefused(str(error)) from None
        finally:
            self._busy = ""


def _shown(topic: Topic, done: int, left: int, finished: bool, problem: str) -> RewriteProgress:
    return RewriteProgress(topic.name, topic.topic_id, done, left, finished, problem)
