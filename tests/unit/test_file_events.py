"""Who listens to directories is woken by what happens in them, and knows when nobody would wake it."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rivven.file_events import FileEvents, Listener
from rivven.file_places import Directory
from tests.unit.descriptors import open_files

LONG_S = 20.0


def directory(path: Path) -> Directory:
    status = path.stat()
    return Directory(str(path), status.st_dev, status.st_ino)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "file-events"]


def instances() -> int:
    """Of inotify, that this process has."""
    return open_files().count("anon_inode:inotify")


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def hears(listener: Listener) -> None:
    began = time.monotonic()
    await listener.heard(LONG_S)
    assert time.monotonic() - began < LONG_S


async def quiet(*listeners: Listener) -> None:
    """Wait until all are told of changes, and what was before is known."""
    await until(lambda: all(one.told for one in listeners))
    for one in listeners:
        while not await silent(one, 0.2):
            pass


async def silent(listener: Listener, seconds: float) -> bool:
    began = time.monotonic()
    await listener.heard(seconds)
    return time.monotonic() - began >= seconds


@pytest.fixture
async def events() -> AsyncIterator[FileEvents]:
    yield FileEvents(start_s=0.0, retry_s=0.2, pause_s=0.01)
    await until(lambda: not threads())
    await until(lambda: instances() == 0)  # which its own thread gives back


@pytest.mark.parametrize("steps", range(6))
async def test_who_is_cancelled_as_something_happens_ends(events: FileEvents, steps: int) -> None:
    """Of the loop, between the two. Otherwise the watcher would go on for ever, and the broker with it."""
    with events.listener() as listener:
        hearing = asyncio.create_task(listener.heard(LONG_S))
        await asyncio.sleep(0.01)
        listener.wake()
        for _ in range(steps):
            await asyncio.sleep(0)
        was_hearing = hearing.cancel()
        await asyncio.wait({hearing})
        assert hearing.cancelled() is was_hearing


async def test_what_happens_wakes_who_listens_to_it_and_nobody_else(
    events: FileEvents, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with events.listener() as one, events.listener() as other:
        one.listen(frozenset({directory(tmp_path / "a")}))
        other.listen(frozenset({directory(tmp_path / "b")}))
        await quiet(one, other)
        (tmp_path / "a/file").write_text("a")
        await hears(one)
        assert await silent(other, 0.2)


async def test_who_begins_to_listen_is_woken_for_what_came_before(events: FileEvents, tmp_path: Path) -> None:
    with events.listener() as listener:
        listener.listen(frozenset({directory(tmp_path)}))
        await hears(listener)
        assert listener.told


async def test_one_thread_and_one_instance_serve_all(events: FileEvents, tmp_path: Path) -> None:
    with events.listener() as one, events.listener() as other:
        for listener, name in ((one, "a"), (other, "b")):
            (tmp_path / name).mkdir()
            listener.listen(frozenset({directory(tmp_path / name)}))
        await until(lambda: one.told and other.told)
        await until(lambda: instances() == 1)
        assert len(threads()) == 1


async def test_who_does_not_listen_is_not_told_and_costs_nothing(events: FileEvents) -> None:
    with events.listener() as listener:
        assert not listener.told
        assert not threads()


async def test_a_new_directory_is_told_of_and_those_from_before_stay(
    events: FileEvents, tmp_path: Path
) -> None:
    (tmp_path / "later").mkdir()
    with events.listener() as listener:
        listener.listen(frozenset({directory(tmp_path)}))
        await quiet(listener)
        listener.listen(frozenset({directory(tmp_path), directory(tmp_path / "later")}))
        assert not listener.told, "not yet"
        await quiet(listener)
        for path in (tmp_path / "a", tmp_path / "later/a"):
            path.write_text("a")
            await hears(listener)


@pytest.mark.parametrize("how", ["moved", "removed", "made anew"])
async def test_who_listens_to_a_directory_that_is_another_is_not_told_any_more(
    events: FileEvents, tmp_path: Path, how: str
) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    with events.listener() as listener, events.listener() as witness:
        listener.listen(frozenset({directory(place)}))
        witness.listen(frozenset({directory(other)}))
        await quiet(listener, witness)
        told: list[bool] = []
        wake = listener.wake
        listener.wake = lambda: (told.append(listener.told), wake())  # type: ignore[method-assign, assignment]
        place.rename(tmp_path / "away") if how == "moved" else place.rmdir()
        if how == "made anew":
            place.mkdir()
        await hears(listener)
        assert told[0] is False, "when it is woken it polls already"
        if how != "made anew":
            await until(lambda: not witness.told)  # nor can the others be told while it is asked for
        place.mkdir(exist_ok=True)
        listener.listen(frozenset({directory(place)}))
        await quiet(listener)
        (place / "a").write_text("a")
        await hears(listener)


async def test_a_name_that_is_no_text_stops_the_events_for_a_while(
    events: FileEvents, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A real failure of the native part, which knows only names in UTF-8."""
    caplog.set_level(logging.INFO, "rivven.files")
    with events.listener() as listener:
        listener.listen(frozenset({directory(tmp_path)}))
        await quiet(listener)
        (tmp_path / os.fsdecode(b"\xff")).write_text("a")
        await hears(listener)
        await until(lambda: "the system does not tell of changed files" in caplog.text)
        await until(lambda: "the system tells of changed files again" in caplog.text)
        await quiet(listener)
        (tmp_path / "a").write_text("a")
        await hears(listener)
    assert len(caplog.records) == 2


async def test_a_listener_whose_loop_is_gone_harms_nobody(events: FileEvents, tmp_path: Path) -> None:
    async def leave() -> Listener:
        left = events.listener()
        left.listen(frozenset({directory(tmp_path)}))
        return left

    left = await asyncio.to_thread(asyncio.run, leave())
    with events.listener() as listener:
        listener.listen(frozenset({directory(tmp_path)}))
        await quiet(listener)
        (tmp_path / "a").write_text("a")
        await hears(listener)
    left.listen(frozenset())
