"""Following a log: nothing is missed and nothing comes twice, whatever happens to the files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rivven.audit.chain import Chain, Head
from rivven.audit.events import AuditEvent
from rivven_cli import audit_follow
from rivven_cli.audit_follow import following


class Log:
    """A log as the file sink writes it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "audit.log"
        self._chain = Chain(Head())
        self._first = 0
        self.path.touch()

    def line(self) -> bytes:
        return self._chain.append(AuditEvent("acl_change", "create", "topic:t"), 1000).data + b"\n"

    def add(self, data: bytes | None = None) -> None:
        with self.path.open("ab") as file:
            file.write(self.line() if data is None else data)

    def rotate(self) -> None:
        self.path.rename(f"{self.path}.{self._first:020d}")
        self._first = self._chain.head.next_sequence
        self.path.touch()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What happens while the follower sleeps, one after the other; then it ends."""
    steps: list[Callable[[], object]] = []

    def sleep(_seconds: float) -> None:
        if not steps:
            raise TimeoutError
        steps.pop(0)()

    monkeypatch.setattr(audit_follow.time, "sleep", sleep)
    yield steps


def numbers(found: Iterator[dict[str, Any]]) -> list[int]:
    seen: list[int] = []
    with pytest.raises(TimeoutError):
        for event in found:
            seen.append(event["sequence"])
    return seen


def test_new_events_come_once(log: Log, between: list[Callable[[], object]]) -> None:
    log.add()
    log.add()
    between += [log.add, lambda: None, log.add]
    assert numbers(following(log.path, 1)) == [2, 3]


def test_what_came_between_reading_and_following_is_not_missed(
    log: Log, between: list[Callable[[], object]]
) -> None:
    for _ in range(3):
        log.add()
    assert numbers(following(log.path, 0)) == [1, 2]


def test_an_unfinished_line_waits_for_its_end(log: Log, between: list[Callable[[], object]]) -> None:
    line = log.line()
    log.add(line[:40])
    between += [lambda: log.add(line[40:]), log.add]
    assert numbers(following(log.path, -1)) == [0, 1]


def test_rotations_between_two_looks_lose_nothing(log: Log, between: list[Callable[[], object]]) -> None:
    """The end of the old file, a whole file that came and went, and the new one."""
    log.add()

    def much() -> None:
        log.add()
        log.rotate()
        log.add()
        log.rotate()
        log.add()
        log.rotate()

    between += [much, log.add]
    assert numbers(following(log.path, 0)) == [1, 2, 3, 4]


def test_a_file_that_is_not_there_yet_is_waited_for(log: Log, between: list[Callable[[], object]]) -> None:
    moved = log.path.with_name(f"audit.log.{0:020d}")
    log.add()

    def again() -> None:
        log.path.touch()
        log.add()

    between += [lambda: log.path.rename(moved), again]
    assert numbers(following(log.path, 0)) == [1]


def test_nothing_is_lost_while_somebody_writes(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_follow, "FOLLOW_SECONDS", 0.001)
    log.add()

    def write() -> None:
        for number in range(400):
            log.add()
            if number % 37 == 0:
                log.rotate()

    writer = threading.Thread(target=write)
    found = following(log.path, 0)
    writer.start()
    assert [next(found)["sequence"] for _ in range(400)] == list(range(1, 401))
    writer.join()
