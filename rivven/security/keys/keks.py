"""Key-encryption keys in use: which there are, new ones, everything under the newest, and whose turn it is.

Driver; the provider and the key store are used on threads. It destroys nothing: that is `shredding`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.operations import Rotated
from rivven.security.keys.provider import BuiltInProvider, KekInfo, KeyGone, KeyProviderError, KeyRefused
from rivven.security.keys.topic_keys import RewrapReport, TopicKeys

DAY_MS: Final = 86_400_000

_log = logging.getLogger("rivven.keys")


class Keks:
    """Implements `shredding.Wrappings`. Belongs to the event loop."""

    def __init__(
        self,
        provider: BuiltInProvider,
        topic_keys: TopicKeys,
        metadata_key: MetadataKey,
        files: ErasureFiles,
    ) -> None:
        self.provider = provider
        self._topic_keys = topic_keys
        self._metadata_key = metadata_key
        self._files = files

    @property
    def metadata_kek(self) -> str:
        """The KEK that wraps the metadata key."""
        return self._metadata_key.kek_id

    def names(self) -> list[str]:
        """The named keys in use; "" is the configured default and always is."""
        return list(dict.fromkeys(["", *(one.key_name for one in self._topic_keys.stored().values())]))

    def kek_ids(self, besides: UUID | None = None) -> set[str]:
        """The KEKs that wrap something now, without what wraps one topic's keys."""
        return self._topic_keys.kek_ids(besides)

    async def described(self, names: Sequence[str] | None = None) -> dict[str, list[KekInfo]]:
        """The provider's KEKs by name; a name it does not know has none. Raises KeyProviderError."""
        found = {}
        for name in self.names() if names is None else names:
            try:
                found[name] = await asyncio.to_thread(self.provider.describe, name)
            except KeyGone:
                found[name] = []
        return found

    async def shown(self) -> dict[str, list[KekInfo]]:
        """As `described`, for people: also names that no topic uses, and the current KEK of each name when
        the provider does not tell.

        Raises KeyProviderError.
        """
        found: dict[str, list[KekInfo]] = {}
        remembered = await asyncio.to_thread(self._files.keks)
        for name in dict.fromkeys((*self.names(), *remembered.values())):
            try:
                found |= await self.described([name])
            except KeyRefused:
                current = await asyncio.to_thread(self.provider.current_id, name)
                found[name] = [KekInfo(current, None, "enabled", True)]
        return found

    async def described_singly(self) -> tuple[dict[str, list[KekInfo]], list[Exception]]:
        """As `described`, and why some names are not in it: one must not keep the others old."""
        found: dict[str, list[KekInfo]] = {}
        problems: list[Exception] = []
        for name in self.names():
            try:
                found |= await self.described([name])
            except KeyProviderError as error:
                problems.append(error)
        return found, problems

    async def known(self, described: Mapping[str, Sequence[KekInfo]]) -> dict[str, str]:
        """Every KEK that was ever used here and is not destroyed, with its name; `described` is added."""
        found = {
            info.key_id: name
            for name, infos in described.items()
            for info in infos
            if info.state != "destroyed"
        }
        return await asyncio.to_thread(self._files.remember_keks, found)

    async def rotate(self, name: str) -> Rotated:
        """A new KEK for a name, in effect at once; the first one of a name, where the provider makes names.

        Raises KeyProviderError.
        """
        try:
            previous = await asyncio.to_thread(self.provider.current_id, name)
            await asyncio.to_thread(self._files.remember_keks, {previous: name})
        except KeyGone:
            previous = ""
        made = await asyncio.to_thread(self.provider.rotate, name)
        await asyncio.to_thread(self._files.remember_keks, {made: name})
        stored = self._topic_keys.stored().values()
        older = sum(len(one.key_ids) for one in stored if one.key_name == name and one.wrapped.key_id != made)
        _log.info("key %s: new KEK %s instead of %s", name or "(default)", made, previous or "none")
        return Rotated(name, made, previous, older)

    async def rewrap(self) -> None:
        """Wrap everything under the newest KEK of its name. Raises KeyProviderError when one key was not."""
        report = await self.rewrap_all()
        if report.failed:
            raise KeyProviderError(report.failed[0])

    async def rewrap_all(self) -> RewrapReport:
        """As `rewrap`; what failed stands in the report. Raises KeyProviderError when nothing could begin."""
        left = {one.wrapped.key_id: one.key_name for one in self._topic_keys.stored().values()}
        await asyncio.to_thread(self._files.remember_keks, {**left, self.metadata_kek: ""})
        return await self._topic_keys.rewrap()

    def behind(self, described: Mapping[str, Sequence[KekInfo]]) -> bool:
        """Whether something is under another KEK than the current one of its name."""
        current = {name: info.key_id for name, infos in described.items() for info in infos if info.current}
        used = [("", self.metadata_kek)]
        used += [(one.key_name, one.wrapped.key_id) for one in self._topic_keys.stored().values()]
        return any(kek != current.get(name, kek) for name, kek in used)

    def unavailable(self) -> dict[UUID, str]:
        """Topics whose keys cannot be had now, and why: what wraps them must not be destroyed."""
        return self._topic_keys.waiting()

    async def forget(self, topic_id: UUID) -> None:
        """Remove a topic's keys, durably. Raises KeyProviderError."""
        await self._topic_keys.forget(topic_id)


def due(described: Mapping[str, Sequence[KekInfo]], days: int, now_ms: int) -> list[str]:
    """The names whose current KEK is older than `days`. A provider that does not know when it made one is
    not asked for another."""
    return [
        name
        for name, infos in described.items()
        for info in infos
        if info.current and info.created_ms is not None and now_ms - info.created_ms >= days * DAY_MS
    ]
