"""The topic output: lines in order, waiting for their topic, and a gap that a crash left is said."""

from __future__ import annotations

from collections.abc import Callable

from rivven.audit.chain import Chain, Head, Line
from rivven.audit.events import AuditEvent
from rivven.audit.sinks import SinkFailed
from rivven.audit.topic_sink import BATCH_BYTES_MAX, TopicDelivery
from rivven.errors import RivvenError, StorageFailed
from rivven.records.batch import iterate_batches, read_records
from tests.unit.audit.world import HandClock


class Store:
    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.batches = 0
        self.callbacks: list[Callable[[RivvenError | None], None]] = []
        self.failure: RivvenError | None = None

    def append_internal(self, batch: bytearray, now_ms: int) -> int:
        if self.failure is not None:
            raise self.failure
        self.batches += 1
        for position, header in iterate_batches(batch):
            self.values += [bytes(r.value or b"") for r in read_records(batch, position, header)]
        return len(self.values) - 1

    def when_committed(self, last_offset: int, callback: Callable[[RivvenError | None], None]) -> None:
        assert last_offset == len(self.values) - 1
        self.callbacks.append(callback)


def lines(count: int, start: int = 0, reason: str = "") -> list[Line]:
    chain = Chain(Head(start))
    return [chain.append(AuditEvent("x", "y", reason=reason), 1000) for _ in range(count)]


def delivery() -> tuple[TopicDelivery, list]:
    made, heard = TopicDelivery(HandClock()), []
    made.open(heard.append)
    heard.clear()
    return made, heard


def test_lines_wait_for_their_topic_and_for_its_commit() -> None:
    made, heard = delivery()
    sent = lines(3)
    made.write(sent, True, heard.append)
    assert heard == []
    store = Store()
    made.connect(store, None)
    assert store.values == [line.data for line in sent] and heard == []
    store.callbacks[0](None)
    assert heard == [()]


def test_large_deliveries_become_several_batches() -> None:
    made, heard = delivery()
    store = Store()
    made.connect(store, None)
    sent = lines(1500, reason="r" * 1000)
    made.write(sent, False, heard.append)
    assert store.batches == -(-sum(len(line.data) for line in sent) // BATCH_BYTES_MAX)
    assert store.values == [line.data for line in sent]


def test_what_a_crash_kept_from_the_topic_is_said_once() -> None:
    made, heard = delivery()
    store = Store()
    made.connect(store, 6)
    for start in (10, 11):
        made.write(lines(1, start), False, heard.append)
        store.callbacks[-1](None)
    (gap,) = heard[0]
    assert gap.details == {"sink": "topic", "first": 7, "last": 9, "count": 3}
    assert heard[1] == ()


def test_a_topic_that_takes_nothing_is_a_failure() -> None:
    made, heard = delivery()
    store = Store()
    made.connect(store, None)
    store.failure = StorageFailed("the log of this partition is offline")
    made.write(lines(1), False, heard.append)
    store.failure = None
    made.write(lines(1), False, heard.append)
    store.callbacks[0](StorageFailed("gone"))
    assert [type(one) for one in heard] == [SinkFailed, SinkFailed]


def test_nothing_to_write_is_done() -> None:
    made, heard = delivery()
    made.connect(Store(), None)
    made.write([], True, heard.append)
    assert heard == [()]
