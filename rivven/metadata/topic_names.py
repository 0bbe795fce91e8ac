"""Which topic names exist, may exist, and belong to the broker.

Pure. Rules of Kafka's topic names (KIP-4, KAFKA-2337): they appear in metric names, where ``.`` and ``_`` are
the same character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GROUP_TOPIC = "__consumer_offsets"
"""The internal topic that holds consumer groups and their offsets."""

RESERVED_TOPICS = frozenset(
    {GROUP_TOPIC, "__transaction_state", "__share_group_state", "__cluster_metadata", "__rivven_audit"}
)
"""Names that clients may not create: what they hold is the broker's."""

NAME_CHARACTERS_MAX = 249
"""Kafka's limit: with a partition suffix the name must fit into a 255 byte file name."""

_LEGAL = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)


def name_problem(name: str) -> str | None:
    """Why `name` cannot name a topic, None if it can. The text does not repeat the name."""
    if not name:
        return "the topic name is empty"
    if name in (".", ".."):
        return "the topic name may not be '.' or '..'"
    if len(name) > NAME_CHARACTERS_MAX:
        return f"the topic name is longer than {NAME_CHARACTERS_MAX} characters"
    if not _LEGAL.fullmatch(name):
        return "the topic name may hold only ASCII letters, digits, '.', '_' and '-'"
    return None


@dataclass(frozen=True, slots=True)
class TopicNameRule:
    """What an operator demands of new topics' names beyond Kafka's rules; existing topics are not judged."""

    pattern: re.Pattern[str] | None = None
    characters_max: int = NAME_CHARACTERS_MAX

    def problem(self, name: str) -> str | None:
        """Why `name` is not wanted, None if it is."""
        if len(name) > self.characters_max:
            return f"the topic name is longer than {self.characters_max} characters (validation.topic_name)"
        if self.pattern is not None and not self.pattern.fullmatch(name):
            return "the topic name does not match the pattern of this broker (validation.topic_name)"
        return None


ANY_NAME = TopicNameRule()


def collision_key(name: str) -> str:
    """Names with equal keys may not exist together."""
    return name.replace(".", "_")
