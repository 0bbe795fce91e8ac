"""What a client was promised, and the comparison with what the broker has after it was killed.

Pure. A ledger knows every value that was ever sent and the (partition, offset) of every one acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Ledger:
    """Promises of one topic; values are unique texts `run:producer:sequence` per partition."""

    def __init__(self) -> None:
        self._sent: dict[int, set[bytes]] = {}
        self._acknowledged: dict[tuple[int, int], bytes] = {}
        self._observed: dict[tuple[int, int], bytes] = {}

    @property
    def acknowledged(self) -> int:
        """How many records were acknowledged so far."""
        return len(self._acknowledged)

    def sent(self, partition: int, value: bytes) -> None:
        """A record was handed to the client; it may or may not arrive."""
        values = self._sent.setdefault(partition, set())
        assert value not in values, f"the test sent {value!r} twice"
        values.add(value)

    def acknowledge(self, partition: int, offset: int, value: bytes) -> None:
        """The broker promised that this record is stored there."""
        before = self._acknowledged.setdefault((partition, offset), value)
        assert before == value, f"{partition}@{offset} was promised to {before!r} and to {value!r}"

    def observe(self, partition: int, offset: int, value: bytes) -> None:
        """A consumer was given this record: it may not vanish or change any more."""
        before = self._observed.setdefault((partition, offset), value)
        assert before == value, f"{partition}@{offset} was read as {before!r} and then as {value!r}"

    def check(self, stored: Mapping[int, Sequence[tuple[int, bytes]]]) -> None:
        """`stored` is what is there now: partition -> (offset, value) in offset order."""
        for partition, rows in stored.items():
            self._check_partition(partition, rows)
        found = {(partition, offset): value for partition, rows in stored.items() for offset, value in rows}
        for kind, promises in (("acknowledged", self._acknowledged), ("read by a consumer", self._observed)):
            lost = [(place, value) for place, value in promises.items() if found.get(place) != value]
            assert not lost, f"{len(lost)} records {kind} are gone, the first: {lost[0]}"

    def _check_partition(self, partition: int, rows: Sequence[tuple[int, bytes]]) -> None:
        values = [value for _, value in rows]
        invented = set(values) - self._sent.get(partition, set())
        assert not invented, f"partition {partition} holds what nobody sent: {sorted(invented)[:3]}"
        assert len(set(values)) == len(values), f"partition {partition} holds a record twice"
        last: dict[bytes, int] = {}
        for value in values:
            producer, _, number = value.split(b" ")[0].rpartition(b":")
            assert last.get(producer, -1) < int(number), (
                f"partition {partition}: {value[:40]!r} is out of order"
            )
            last[producer] = int(number)
