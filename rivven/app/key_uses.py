"""Keys in use on one broker: KEKs, topic keys, and what is sealed under each, for who asks and for metrics.

Driver. It changes no key; how an inventory is added up is decided in `security.keys.inventory`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from rivven.app.topic_erasure import TopicErasure
from rivven.errors import RivvenError
from rivven.metadata.image import Topic
from rivven.metadata.service import MetadataService
from rivven.security.keys.inventory import KeyInventory, Stored, TopicKeyUse, take_inventory
from rivven.security.keys.keks import Keks
from rivven.security.keys.key_store import StoredTopic
from rivven.security.keys.topic_keys import TopicKeys
from rivven.telemetry import Metrics

COUNT_SECONDS = 300.0
"""Between two counts for metrics: each asks the provider once for each named key."""

_log = logging.getLogger("rivven.keys")


class KeyUses:
    """Belongs to the event loop."""

    def __init__(
        self,
        keks: Keks,
        topic_keys: TopicKeys,
        topics: TopicErasure,
        metadata: MetadataService,
        metrics: Metrics,
    ) -> None:
        self._keks = keks
        self._topic_keys = topic_keys
        self._topics = topics
        self._metadata = metadata
        self._metrics = metrics

    async def inventory(self) -> KeyInventory:
        """Every KEK and topic key, and what is sealed under them. Raises KeyProviderError.

        It looks at every segment, so that logs not used since the start are opened: only for who asks.
        """
        topics = list(self._metadata.image.topics.values())
        return await self._taken([(topic, *await self._topics.sealed(topic)) for topic in topics])

    async def glance(self) -> KeyInventory:
        """The same without a look at segments: the bytes of a topic count as sealed under its newest key.

        Good enough for KEKs, as one wraps all keys of a topic; it becomes metrics.
        """
        topics = list(self._metadata.image.topics.values())
        stored = self._topic_keys.stored()
        found = await self._taken(
            [
                (topic, {stored[topic.topic_id].key_ids[-1].hex(): self._topics.size(topic)}, False)
                for topic in topics
                if topic.topic_id in stored
            ]
        )
        self._metrics.keys_counted(
            Counter(one.state for one in found.keks),
            topic_keys=sum(one.topic_keys for one in found.keks),
            older_topic_keys=found.older_keys,
            newest_percent=found.newest_percent,
        )
        return found

    async def _taken(self, topics: Sequence[tuple[Topic, Mapping[str | None, Stored], bool]]) -> KeyInventory:
        described = await self._keks.shown()
        known = await self._keks.known(described)
        rewriting = set(self._topic_keys.rewriting())
        stored = self._topic_keys.stored()
        uses = [
            self._use(topic, stored.get(topic.topic_id), sealed, plain, topic.topic_id in rewriting)
            for topic, sealed, plain in topics
        ]
        return take_inventory(self._keks.provider.name, described, known, uses, self._keks.metadata_kek)

    def _use(
        self,
        topic: Topic,
        stored: StoredTopic | None,
        sealed: Mapping[str | None, Stored],
        plain: bool,
        rewriting: bool,
    ) -> TopicKeyUse:
        config = self._metadata.topic_config(topic)
        keks = {} if stored is None else {one.hex(): stored.wrapped.key_id for one in stored.key_ids}
        return TopicKeyUse(
            topic.name,
            topic.topic_id,
            config.encryption_key if stored is None else stored.key_name,
            config.encryption_enabled,
            None if stored is None else stored.key_ids[-1].hex(),
            keks,
            sealed,
            plain,
            rewriting,
            self._topic_keys.failure(topic.topic_id),
            stored is not None and stored.only_sealed,
        )

    async def count(self) -> None:
        """Bring the metrics up to date; what cannot be counted now is counted later."""
        try:
            await self.glance()
        except (RivvenError, OSError) as error:
            _log.debug("keys cannot be counted: %s", error)

    async def keep_counting(self) -> None:
        """For ever, now and then."""
        while True:
            await self.count()
            await asyncio.sleep(COUNT_SECONDS)
