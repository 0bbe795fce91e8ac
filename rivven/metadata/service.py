"""The metadata service: the machine with its journal, the committed image, and producer ids.

Driver. Reads go to `image` without waiting; changes go through `submit` and are in `image` when it returns.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rivven.clock import Clock
from rivven.config.settings import SettingValue
from rivven.config.topic_settings import TopicConfig, topic_config
from rivven.errors import ErrorCode, RivvenError, UnknownTopicOrPartition
from rivven.machine.journal import Journal
from rivven.machine.runner import Runner
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.commands import DEFAULT, CreateTopic, InitialiseCluster, ReserveProducerIds
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.image import MetadataImage, Topic
from rivven.metadata.topic_names import ANY_NAME, TopicNameRule
from rivven.tasks import Tasks

PRODUCER_IDS_PER_BLOCK = 1_000
"""Ids reserved at a time, as Kafka: one journal write per thousand producers."""

NULL_UUID = uuid.UUID(int=0)


class MetadataService:
    """Belongs to the event loop.

    `broker` holds every static broker setting; `entropy(n)` gives n random bytes; `cluster_id` is what the
    data directory's identity says (empty: a new cluster chooses one).
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        tasks: Tasks,
        *,
        node_id: int,
        broker: Mapping[str, SettingValue],
        entropy: Callable[[int], bytes],
        cluster_id: str = "",
        topic_names: TopicNameRule = ANY_NAME,
    ) -> None:
        self.node_id = node_id
        self._given_cluster_id = cluster_id
        self._entropy = entropy
        self._broker = BrokerValues(node_id, broker)
        # The machine's own view of settings follows its speculative image, so it is another object.
        self._runner: Runner[MetadataMachine] = Runner(
            lambda: MetadataMachine(BrokerValues(node_id, broker), node_id, topic_names),
            journal,
            clock,
            tasks,
        )
        self._ids = range(0)
        self._reserving = asyncio.Lock()

    async def start(self) -> None:
        """Load the journal; the first start of a cluster gives it its id."""
        await self._runner.start()
        if not self.image.cluster_id:
            await self.submit(InitialiseCluster(self._given_cluster_id or self._new_cluster_id()))

    async def close(self) -> None:
        """Finish what is in flight and close the journal."""
        await self._runner.close()

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def image(self) -> MetadataImage:
        """What is committed."""
        return self._runner.committed.image

    @property
    def topic_defaults(self) -> Mapping[str, str]:
        """The broker's default of every topic setting; the same object until one changes."""
        return self._broker.topic_defaults(self.image.broker_configs)

    @property
    def broker_values(self) -> Mapping[str, SettingValue]:
        """Every broker setting's present value, dynamic ones included."""
        return self._broker.values(self.image.broker_configs)

    @property
    def static_broker_values(self) -> Mapping[str, SettingValue]:
        """Every broker setting's value without the dynamic ones."""
        return self._broker.static

    def topic_config(self, topic: Topic) -> TopicConfig:
        """The values a topic runs with."""
        return topic_config(topic.configs, self.topic_defaults)

    def on_commit(self, listener: Callable[[tuple[Any, ...]], None]) -> None:
        """Call `listener(events)` after each commit, when `image` holds it and before the asker hears."""
        self._runner.on_commit.append(listener)

    # -- changing --------------------------------------------------------------------------------------------

    async def submit(self, command: Any) -> Any:
        """Decide and commit one of `metadata.commands`; returns its reply or raises RivvenError."""
        return await self._runner.submit(command)

    async def submit_all(self, commands: Sequence[Any]) -> list[Any]:
        """Decide commands in order, commit them together; a failed one yields its exception instead of a
        reply.
        """
        futures = [self._runner.submit(command) for command in commands]
        return await asyncio.gather(*futures, return_exceptions=True)

    async def create_internal_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> Topic:
        """The broker's own topic; created with this count if missing, else returned as it is."""
        topic = self.image.topics.get(name)
        if topic is None:
            command = CreateTopic(
                name, self.new_topic_id(), partitions, configs=tuple(configs.items()), internal=True
            )
            topic = self._committed(await self.submit(command))
        return topic

    async def create_default_topic(self, name: str) -> Topic:
        """Create a topic with the broker's defaults, or take the one that is there (auto-creation)."""
        try:
            created = await self.submit(CreateTopic(name, self.new_topic_id(), DEFAULT))
        except RivvenError as error:
            existing = self.image.topics.get(name)
            if error.code is not ErrorCode.TOPIC_ALREADY_EXISTS or existing is None:
                raise
            return existing
        return self._committed(created)

    def _committed(self, topic: Topic) -> Topic:
        """A created topic as the image has it; another command may have deleted it since."""
        current = self.image.topics_by_id.get(topic.topic_id)
        if current is None:
            raise UnknownTopicOrPartition("the topic was deleted")
        return current

    def new_topic_id(self) -> uuid.UUID:
        """A random id that is neither null nor in use."""
        while True:
            topic_id = uuid.UUID(bytes=self._entropy(16), version=4)
            if topic_id not in self.image.topics_by_id:
                return topic_id

    async def next_producer_id(self) -> int:
        """A producer id that was never given out; the block it comes from is durably reserved."""
        if not self._ids:
            async with self._reserving:
                if not self._ids:  # others may have waited for the same block
                    first = await self.submit(ReserveProducerIds(PRODUCER_IDS_PER_BLOCK))
                    self._ids = range(first, first + PRODUCER_IDS_PER_BLOCK)
        producer_id = self._ids[0]
        self._ids = self._ids[1:]
        return producer_id

    def _new_cluster_id(self) -> str:
        """22 characters of base64url, as Kafka's; never beginning with '-', which tools read as an option."""
        while True:
            raw = uuid.UUID(bytes=self._entropy(16), version=4).bytes
            text = base64.urlsafe_b64encode(raw).decode().rstrip("=")
            if not text.startswith("-"):
                return text
