"""Routes about the keys of encryption at rest: which there are, and rotate, rewrap, re-encrypt, shred.

They answer 501 on a broker without `storage.encryption`, except those about the key of the audit trail. No
key ever passes through them: only ids, counts, signed certificates and public keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from pydantic import BaseModel, Field

from rivven.http.admin import erasures, signing
from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.routes import Call, Input, Permission, Route
from rivven.http.admin.signing import not_encrypting
from rivven.security.keys.inventory import KekUse, TopicKeyUse
from rivven.security.keys.operations import KeyService, RewriteProgress, Signing
from rivven.types import Operation

KEY_NAME_MAX = 2_048


class KekInfo(BaseModel):
    """One key-encryption key and what rests on it."""

    name: str = Field(description="The key it is a version of; empty for the configured default.")
    key_id: str
    state: str = Field(description="enabled, disabled, pending-destruction or destroyed.")
    current: bool = Field(description="Whether new keys are wrapped under it.")
    created_at_ms: int | None
    topics: int
    topic_keys: int
    wraps_metadata_key: bool
    segments: int
    bytes: int = Field(description="Stored bytes of those segments.")
    retirable: bool = Field(
        description="Nothing here needs it any more. Backups and tiered copies made before may still."
    )


class ErasureInfo(BaseModel):
    """A topic that is being shredded."""

    id: str
    topic: str
    topic_id: str
    step: str = Field(description="The last step that is done.")
    problem: str = Field(description="Why it came no further; empty while it moves.")


class KeysInfo(BaseModel):
    """All key-encryption keys."""

    provider: str
    newest_percent: float = Field(description="Sealed bytes under current keys, percent.")
    keys: list[KekInfo]
    plain_segments: int = Field(description="Segments stored unencrypted.")
    plain_bytes: int
    running: ErasureInfo | None


class TopicKeysInfo(BaseModel):
    """The keys of one topic."""

    topic: str
    topic_id: str
    key_name: str = Field(description="Its encryption.key; empty for the configured default.")
    encrypted: bool = Field(description="Whether new segments are sealed.")
    topic_key: str | None = Field(description="Id of the key of new segments.")
    topic_keys: int
    keks: list[str] = Field(description="The key-encryption keys that wrap them.")
    segments: int
    bytes: int
    plain_segments: int
    plain_bytes: int
    may_hold_plain: bool = Field(
        description="Segments in plain are believed; false once it is known to have sealed ones only."
    )
    plaintext_history: bool = Field(description="Some of it was once stored unencrypted.")
    newest_percent: float = Field(description="Bytes under the newest topic key, percent.")
    reencrypting: bool
    problem: str = Field(description="Why its keys cannot be had now; empty when they are here.")


class RotateRequest(Input):
    """Which key gets a new version."""

    key: str = Field(default="", max_length=KEY_NAME_MAX, description="Empty for the configured default.")


class RotatedInfo(BaseModel):
    """The new key-encryption key and when it takes effect."""

    key: str
    key_id: str
    previous_key_id: str = Field(description="Empty for the first one of a name.")
    older_topic_keys: int = Field(description="Topic keys under older ones until they are rewrapped.")
    effect: str


class RewrappedInfo(BaseModel):
    """What was rewrapped."""

    rewrapped: int
    unchanged: int
    retirable: list[str] = Field(description="Key-encryption keys that nothing here needs any more.")
    warning: str


class TopicRequest(Input):
    """Which topic."""

    topic: str = Field(min_length=1, max_length=erasures.TOPIC_NAME_MAX)


class StartedOverInfo(BaseModel):
    """A topic that is written again although the keys of what it held are lost."""

    topic: str
    topic_key: str = Field(description="Id of the key of new segments.")
    effect: str


class ProgressInfo(BaseModel):
    """Re-encryption of one topic."""

    topic: str
    topic_id: str
    done_bytes: int
    left_bytes: int
    finished: bool
    problem: str


BACKUP_WARNING = (
    "Backups and tiered copies made before may still need the older keys: destroy one at the provider only"
    " when none of them counts any more."
)


def routes(keys: KeyService | None, audit: Signing) -> list[Route]:
    """The rows of this module; `keys` is None without encryption, and then only `audit` signs."""

    def needs_keys(handler: Callable[[KeyService, Call], Awaitable[Any]]) -> Callable[[Call], Awaitable[Any]]:
        @wraps(handler)
        async def handle(call: Call) -> Any:
            if keys is None:
                raise not_encrypting()
            return await handler(keys, call)

        return handle

    return [
        *_reading(needs_keys),
        *_changing(needs_keys),
        *erasures.routes(needs_keys),
        *signing.routes(keys, audit),
    ]


def _reading(needs_keys: erasures.NeedsKeys) -> list[Route]:
    @needs_keys
    async def overview(keys: KeyService, _call: Call) -> KeysInfo:
        found = await keys.inventory()
        plain, running = found.plain, keys.running
        return KeysInfo(
            provider=found.provider,
            newest_percent=found.newest_percent,
            keys=[_kek(one) for one in found.keks],
            plain_segments=plain.segments,
            plain_bytes=plain.stored_bytes,
            running=None
            if running is None
            else ErasureInfo(
                id=running.id,
                topic=running.topic,
                topic_id=str(running.topic_id),
                step=running.step,
                problem=keys.problem,
            ),
        )

    @needs_keys
    async def topics(keys: KeyService, call: Call) -> Listing[TopicKeysInfo]:
        return page((await keys.inventory()).topics, lambda one: one.topic, _topic, call.query)

    @needs_keys
    async def progress(keys: KeyService, call: Call) -> Listing[ProgressInfo]:
        return page(keys.progress(), lambda one: one.topic, _progress, call.query)

    describe = Permission(Operation.DESCRIBE)
    return [
        Route("GET", "/v1/keys", describe, overview, "Key-encryption keys and what rests on each", KeysInfo),
        Route(
            "GET",
            "/v1/keys/topics",
            describe,
            topics,
            "Keys of topics, and what is sealed under them",
            Listing[TopicKeysInfo],
            query=PageQuery,
        ),
        Route(
            "GET",
            "/v1/keys/reencryption",
            describe,
            progress,
            "How far re-encryption is",
            Listing[ProgressInfo],
            query=PageQuery,
        ),
    ]


def _changing(needs_keys: erasures.NeedsKeys) -> list[Route]:
    @needs_keys
    async def rotate(keys: KeyService, call: Call) -> RotatedInfo:
        made = await keys.rotate(call.body.key)
        call.made = f"kek:{made.key_id}"
        return RotatedInfo(
            key=made.name,
            key_id=made.key_id,
            previous_key_id=made.previous_id,
            older_topic_keys=made.older_keys,
            effect=(
                "In effect now, for topic keys made from now on. Existing ones stay under older keys until"
                " they are rewrapped; no data is rewritten by either."
            ),
        )

    @needs_keys
    async def rewrap(keys: KeyService, _call: Call) -> RewrappedInfo:
        made = await keys.rewrap()
        return RewrappedInfo(
            rewrapped=made.rewrapped,
            unchanged=made.unchanged,
            retirable=list(made.retirable),
            warning=BACKUP_WARNING if made.retirable else "",
        )

    @needs_keys
    async def reencrypt(keys: KeyService, call: Call) -> ProgressInfo:
        return _progress(await keys.reencrypt(call.body.topic))

    @needs_keys
    async def start_over(keys: KeyService, call: Call) -> StartedOverInfo:
        return StartedOverInfo(
            topic=call.body.topic,
            topic_key=await keys.start_over(call.body.topic),
            effect=(
                "New records are taken from now on. Those whose keys are lost stay unreadable until they are"
                " deleted; with an older key store put back, the new ones would be lost instead."
            ),
        )

    alter = Permission(Operation.ALTER)
    return [
        Route(
            "POST",
            "/v1/keys/start-over",
            alter,
            start_over,
            "Give a topic whose keys are lost new ones; what it holds stays unreadable",
            StartedOverInfo,
            request=TopicRequest,
            audited="key_change",
            names=lambda call: f"topic:{call.body.topic}",
            facts=lambda _call: {"operation": "start over"},
        ),
        Route(
            "POST",
            "/v1/keys/rotate",
            alter,
            rotate,
            "Make a new key-encryption key, in effect at once",
            RotatedInfo,
            request=RotateRequest,
            audited="key_change",
            target="kek",
            facts=lambda call: {"operation": "rotate", "key": call.body.key},
        ),
        Route(
            "POST",
            "/v1/keys/rewrap",
            alter,
            rewrap,
            "Wrap every topic key under the newest key-encryption key",
            RewrappedInfo,
            audited="key_change",
            target="keys",
            facts=lambda _call: {"operation": "rewrap"},
        ),
        Route(
            "POST",
            "/v1/keys/reencrypt",
            alter,
            reencrypt,
            "Rewrite a topic under a new topic key, in the background",
            ProgressInfo,
            request=TopicRequest,
            status=202,
            audited="key_change",
            names=lambda call: f"topic:{call.body.topic}",
            facts=lambda _call: {"operation": "reencrypt"},
        ),
    ]


def _kek(use: KekUse) -> KekInfo:
    return KekInfo(
        name=use.name,
        key_id=use.key_id,
        state=use.state,
        current=use.current,
        created_at_ms=use.created_ms,
        topics=use.topics,
        topic_keys=use.topic_keys,
        wraps_metadata_key=use.wraps_metadata_key,
        segments=use.stored.segments,
        bytes=use.stored.stored_bytes,
        retirable=use.retirable,
    )


def _topic(use: TopicKeyUse) -> TopicKeysInfo:
    return TopicKeysInfo(
        topic=use.topic,
        topic_id=str(use.topic_id),
        key_name=use.key_name,
        encrypted=use.encrypted,
        topic_key=use.newest,
        topic_keys=len(use.keks),
        keks=sorted(set(use.keks.values())),
        segments=use.total.segments,
        bytes=use.total.stored_bytes,
        plain_segments=use.plain.segments,
        plain_bytes=use.plain.stored_bytes,
        may_hold_plain=not use.only_sealed,
        plaintext_history=use.plaintext_history,
        newest_percent=use.newest_percent,
        reencrypting=use.rewriting,
        problem=use.problem,
    )


def _progress(one: RewriteProgress) -> ProgressInfo:
    return ProgressInfo(
        topic=one.topic,
        topic_id=str(one.topic_id),
        done_bytes=one.done_bytes,
        left_bytes=one.left_bytes,
        finished=one.finished,
        problem=one.problem,
    )
