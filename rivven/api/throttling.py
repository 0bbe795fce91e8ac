"""What a request used is charged to the quotas, and how long its connection must be silent is told.

The rules are `security.quotas`'; here requests and answers are measured. A request over its quota is never
refused: its answer carries ``throttle_time_ms`` and the connection is not read for that long (KIP-219).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any, Protocol

from rivven.api.context import RequestContext
from rivven.clock import Clock
from rivven.protocol.api import ApiKey
from rivven.security.quotas import FETCH_BYTES, MUTATIONS, PRODUCE_BYTES, REQUEST_PERCENT, Quotas

GROUP_APIS = frozenset(
    {
        ApiKey.JOIN_GROUP,
        ApiKey.SYNC_GROUP,
        ApiKey.HEARTBEAT,
        ApiKey.LEAVE_GROUP,
        ApiKey.OFFSET_COMMIT,
        ApiKey.OFFSET_FETCH,
    }
)
"""Clients send these on a connection of their own, which must not be silent for long: members that are not
heard of lose their partitions, and everybody else in the group works for that."""

GROUP_SILENCE_MS_MAX = 1000
"""A third of a usual heartbeat interval, and what Kafka's request quota waits at most."""

TOPIC_CHARACTERS_KEPT = 250
"""One more than a topic's name can have: what is remembered of names that clients make up must end, and no
topic pays for them."""

PartitionsOf = Callable[[str], int]
"""Partitions of a topic by name, 0 when there is none."""


class ThrottleObserver(Protocol):
    """What the metrics hear."""

    def throttled(self, quota: str, seconds: float) -> None: ...


class Usage:
    """What one request used so far."""

    __slots__ = ("busy_s", "mutations", "silence_ms")

    def __init__(self) -> None:
        self.busy_s = 0.0
        """Seconds the broker's loop worked on it; waiting does not count."""
        self.mutations = 0
        """Partitions created or deleted."""
        self.silence_ms = 0
        """What was charged before the request was handled."""


class Throttling:
    """Measures and charges; belongs to the event loop."""

    def __init__(
        self, quotas: Quotas, clock: Clock, observer: ThrottleObserver, partitions_of: PartitionsOf
    ) -> None:
        self._quotas = quotas
        self._clock = clock
        self._observer = observer
        self._partitions_of = partitions_of

    def begin(self, api_key: int, request: Any) -> Usage | None:
        """Start to measure an authorised request; None while nothing is limited."""
        quotas = self._quotas
        if not quotas.active:
            return None
        usage = Usage()
        if quotas.limits(MUTATIONS):
            usage.mutations = self._mutations(api_key, request)
        return usage

    def charge_produced(self, context: RequestContext, usage: Usage, request: Any) -> int:
        """Charge the bytes of a Produce before it is handled: its wait for the disk overlaps with those of
        the requests behind it, which must not all be read before the first is answered."""
        subject = context.access.subject
        if subject is None:
            return 0
        waits = self._bytes(
            PRODUCE_BYTES,
            subject.principal.name,
            subject.client_id,
            _produced(request),
            self._clock.monotonic(),
        )
        usage.silence_ms = self._longest(waits)
        return usage.silence_ms

    def charge(self, context: RequestContext, usage: Usage, request: Any, response: Any) -> int:
        """Charge a finished request; returns the milliseconds its connection must be silent."""
        subject = context.access.subject
        if subject is None:
            return 0
        user, client_id, now = subject.principal.name, subject.client_id, self._clock.monotonic()
        quotas = self._quotas
        waits: list[tuple[str, float]] = []
        topics: dict[str, int] = {}
        if context.api_key == ApiKey.PRODUCE:
            topics = _produced(request)
        elif context.api_key == ApiKey.FETCH:
            topics = _fetched(response)
            waits = self._bytes(FETCH_BYTES, user, client_id, topics, now)
        waits.append(("requests", quotas.use_request(user, subject.host, topics, now)))
        if usage.mutations:
            waits.append((MUTATIONS, quotas.use(MUTATIONS, user, client_id, usage.mutations, now)))
        if quotas.limits(REQUEST_PERCENT):
            waits.append(
                (REQUEST_PERCENT, quotas.use(REQUEST_PERCENT, user, client_id, usage.busy_s * 100, now))
            )
        silence_ms = max(usage.silence_ms, self._longest(waits))
        return min(silence_ms, GROUP_SILENCE_MS_MAX) if context.api_key in GROUP_APIS else silence_ms

    def _longest(self, waits: list[tuple[str, float]]) -> int:
        quota, longest = max(waits, key=lambda wait: wait[1])
        if longest <= 0:
            return 0
        self._observer.throttled(quota, longest)
        return max(1, round(longest * 1000))

    def _bytes(
        self, key: str, user: str, client_id: str, topics: dict[str, int], now: float
    ) -> list[tuple[str, float]]:
        quotas = self._quotas
        waits = [(key, quotas.use(key, user, client_id, sum(topics.values()), now))]
        waits += [(f"topic_{key}", quotas.use_topic(key, name, size, now)) for name, size in topics.items()]
        return waits

    def _mutations(self, api_key: int, request: Any) -> int:
        if getattr(request, "validate_only", False):
            return 0
        if api_key == ApiKey.CREATE_TOPICS:
            return sum(max(1, topic.num_partitions, len(topic.assignments)) for topic in request.topics)
        if api_key == ApiKey.CREATE_PARTITIONS:
            return sum(max(0, topic.count - self._partitions_of(topic.name)) for topic in request.topics)
        if api_key == ApiKey.DELETE_TOPICS:
            names = [*(request.topic_names or ()), *(topic.name or "" for topic in request.topics or ())]
            return sum(max(1, self._partitions_of(name)) for name in names)
        return 0


def _produced(request: Any) -> dict[str, int]:
    return _by_topic(
        (topic.name, sum(len(data.records or b"") for data in topic.partition_data))
        for topic in request.topic_data
    )


def _fetched(response: Any) -> dict[str, int]:
    return _by_topic(
        (topic.topic, sum(_size(data.records) for data in topic.partitions)) for topic in response.responses
    )


def _size(records: Any) -> int:
    """Bytes of a fetched entry, which is one buffer or a list of them."""
    if records is None:
        return 0
    return sum(map(len, records)) if isinstance(records, list | tuple) else len(records)


def _by_topic(sizes: Iterable[tuple[str, int]]) -> dict[str, int]:
    topics: dict[str, int] = {}
    for name, size in sizes:
        name = name[:TOPIC_CHARACTERS_KEPT]
        topics[name] = topics.get(name, 0) + size
    return topics


class Busy:
    """Awaits something and adds the time between its suspensions to a usage."""

    def __init__(self, awaited: Awaitable[Any], usage: Usage) -> None:
        self._awaited = awaited
        self._usage = usage

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._awaited.__await__()
        resume: Callable[[], Any] = lambda: next(inner)  # noqa: E731
        while True:
            started = time.perf_counter()
            try:
                waiting_for = resume()
            except StopIteration as done:
                return done.value
            finally:
                self._usage.busy_s += time.perf_counter() - started
            try:
                sent = yield waiting_for
            except BaseException as error:  # noqa: BLE001 - handed on to where it belongs
                resume = _throw(inner, error)
            else:
                resume = _send(inner, sent)


def _throw(inner: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(error)


def _send(inner: Any, value: Any) -> Callable[[], Any]:
    return lambda: inner.send(value) if value is not None else next(inner)
