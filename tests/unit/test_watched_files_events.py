"""Watchers that run: events say when to look, and where they would not, the files are polled."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from rivven import file_places
from rivven.file_events import FileEvents
from rivven.file_places import Directory
from rivven.watched_files import WatchedFiles

LONG_S = 20.0
NEVER_S = 3600.0
INTERVAL_S = 0.05


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


class Run:
    """A watcher that runs, with a slow poll that is too slow for any test."""

    def __init__(
        self, paths: Callable[[], list[Path]], events: FileEvents, slow_s: float, interval_s: float
    ) -> None:
        self.calls = 0
        self.looks = 0
        self._paths = paths
        self.watcher = WatchedFiles("test", self._listed, self._changed, interval_s, None, slow_s, events)

    def _listed(self) -> list[Path]:
        self.looks += 1
        return self._paths()

    def _changed(self) -> None:
        self.calls += 1

    async def rests(self) -> None:
        """Wait until it has stopped polling."""
        while True:
            looks = self.looks
            await asyncio.sleep(4 * INTERVAL_S)
            if self.looks == looks:
                return

    async def sees(self, calls: int) -> None:
        await until(lambda: self.calls == calls)


@pytest.fixture
async def events() -> AsyncIterator[FileEvents]:
    yield FileEvents(start_s=0.0, retry_s=0.2, pause_s=0.01)
    await until(lambda: not any(one.name == "file-events" for one in threading.enumerate()))


@asynccontextmanager
async def running(
    events: FileEvents,
    *paths: Path,
    slow_s: float = NEVER_S,
    interval_s: float = INTERVAL_S,
    listing: Path | None = None,
) -> AsyncIterator[Run]:
    def listed() -> list[Path]:
        return [*paths, *([listing, *listing.iterdir()] if listing is not None else [])]

    run = Run(listed, events, slow_s, interval_s)
    run.watcher.mark()
    task = asyncio.create_task(run.watcher.run())
    try:
        yield run
    finally:
        task.cancel()
        await asyncio.wait({task})


def in_place(mount: Path, text: str) -> None:
    (mount / "tls.crt").write_text(text)


def by_rename(mount: Path, text: str) -> None:
    (mount / "new").write_text(text)
    (mount / "new").replace(mount / "tls.crt")


def emptied_and_filled(mount: Path, text: str) -> None:
    (mount / "tls.crt").unlink()
    (mount / "tls.crt").write_text(text)


def by_another_directory(mount: Path, text: str) -> None:
    fresh = mount.with_name("fresh")
    fresh.mkdir()
    (fresh / "tls.crt").write_text(text)
    mount.rename(mount.with_name(f"before {text}"))
    fresh.rename(mount)


def by_the_same_directory_anew(mount: Path, text: str) -> None:
    shutil.rmtree(mount)
    mount.mkdir()
    (mount / "tls.crt").write_text(text)


def as_kubernetes_does(mount: Path, text: str) -> None:
    version = mount / f"..{text}"
    version.mkdir()
    (version / "tls.crt").write_text(text)
    before = mount / "..data"
    old = before.readlink() if before.is_symlink() else None
    (mount / "..data_tmp").symlink_to(version.name)
    (mount / "..data_tmp").replace(before)
    if old is not None:
        shutil.rmtree(mount / old)
    elif not (mount / "tls.crt").is_symlink():
        (mount / "link").symlink_to("..data/tls.crt")
        (mount / "link").replace(mount / "tls.crt")


@pytest.mark.parametrize(
    "change",
    [
        in_place,
        by_rename,
        emptied_and_filled,
        by_another_directory,
        by_the_same_directory_anew,
        as_kubernetes_does,
    ],
)
async def test_a_change_is_seen_long_before_the_slow_poll(
    events: FileEvents, tmp_path: Path, change: Callable[[Path, str], None]
) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "tls.crt").write_text("zero")
    if change is as_kubernetes_does:
        change(mount, "zero")
    async with running(events, mount / "tls.crt") as run:
        for text in ("one", "two"):
            await run.rests()
            run.calls = 0
            change(mount, text)
            await until(lambda: run.calls > 0)


async def test_a_link_on_the_way_is_followed_when_it_leads_elsewhere(
    events: FileEvents, tmp_path: Path
) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tls.crt").write_text(version)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/current").symlink_to(tmp_path / "v1")
    async with running(events, tmp_path / "etc/current/tls.crt") as run:
        await run.rests()
        (tmp_path / "etc/fresh").symlink_to(tmp_path / "v2")
        (tmp_path / "etc/fresh").replace(tmp_path / "etc/current")
        await run.sees(1)
        await run.rests()
        (tmp_path / "v2/tls.crt").write_text("v2, written to where it leads now")
        await run.sees(2)
        await run.rests()
        (tmp_path / "v1/tls.crt").write_text("nobody's any more")
        await asyncio.sleep(0.3)
        assert run.calls == 2


async def test_a_file_that_joins_an_empty_directory(events: FileEvents, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    async with running(events, listing=policies) as run:
        await run.rests()
        (policies / "a.cedar").write_text("permit(principal, action, resource);")
        await run.sees(1)


async def test_many_events_make_no_more_looks_than_polling(events: FileEvents, tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("a")
    async with running(events, tmp_path / "users.yaml", interval_s=0.5) as run:
        await asyncio.sleep(1.5)  # the first look, and one when events have begun
        looks, began = run.looks, time.monotonic()
        while time.monotonic() - began < 1.6:
            (tmp_path / "busy.log").write_text(str(time.monotonic()))
            await asyncio.sleep(0.005)
        assert 2 <= run.looks - looks <= (time.monotonic() - began) / 0.5 + 1
        assert run.calls == 0


async def test_where_events_would_not_tell_the_files_are_polled(
    events: FileEvents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("27 1 0:44 / / rw - nfs4 server:/it rw\n")
    monkeypatch.setattr(file_places, "MOUNTS", mounts)
    path = tmp_path / "users.yaml"
    path.write_text("a")
    async with running(events, path) as run:
        for calls in range(1, 4):
            path.write_text("b" * calls)
            await run.sees(calls)
            assert not any(one.name == "file-events" for one in threading.enumerate())


class Mute(FileEvents):
    """As when the system loses events: it is listened to, and says nothing."""

    def told(self, directories: frozenset[Directory]) -> bool:
        return bool(directories)

    def _start(self) -> None:
        return


async def test_what_nobody_tells_of_is_found_by_the_slow_poll(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("a")
    async with running(Mute(), path, slow_s=0.5) as run:
        await asyncio.sleep(0.3)  # the first looks are quick: nobody listens yet
        for calls in range(1, 3):
            path.write_text("b" * calls)
            await run.sees(calls)
        looks, began = run.looks, time.monotonic()
        await asyncio.sleep(1.2)
        assert run.looks - looks <= (time.monotonic() - began) / 0.5 + 1


async def test_content_is_compared_in_time_however_seldom_files_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "leaf.crt"
    path.write_text("a")
    calls: list[float] = []
    called = asyncio.Event()

    def changed() -> None:
        calls.append(time.monotonic())
        called.set()

    watcher = WatchedFiles("test", lambda: [path], changed, 0.05, 0.5, NEVER_S, Mute())
    watcher.mark()
    task = asyncio.create_task(watcher.run())
    try:
        for _ in range(3):
            watcher.forget()  # called at the next comparison
            await asyncio.wait_for(called.wait(), LONG_S)
            called.clear()
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert all(0.4 < later - earlier < 3.0 for earlier, later in pairwise(calls))


AT_THE_LIMIT = """
import asyncio, logging, os, resource, sys
from pathlib import Path
import watchfiles._rust_notify
from rivven.file_events import FileEvents
from rivven.watched_files import WatchedFiles

async def main():
    path, calls = Path(sys.argv[1]), asyncio.Queue()
    path.write_text("0")
    events = FileEvents(start_s=0.0, retry_s=0.1, pause_s=0.01)
    watcher = WatchedFiles("test", lambda: [path], lambda: calls.put_nowait(1), 0.1, None, 3600.0, events)
    watcher.mark()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if sys.argv[2] == "limited":  # room to read a file, none for inotify with its eventfd and epoll
        used = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, hard))
    global task
    task = asyncio.create_task(watcher.run())
    if sys.argv[2] == "limited":
        for i in range(3):
            await asyncio.sleep(0.5)
            path.write_text(f"limited {i}")
            await asyncio.wait_for(calls.get(), 20)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    while not events._told:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    path.write_text("told")
    await asyncio.wait_for(calls.get(), 20)
    print("seen", flush=True)

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())  # and the end, while the thread listens still
"""


@pytest.mark.parametrize("what", ["limited", "free"])
def test_at_the_limit_of_the_system_files_are_polled_and_the_end_is_clean(tmp_path: Path, what: str) -> None:
    """The limit of open files stands for that of inotify instances: both are EMFILE to who asks for one."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AT_THE_LIMIT, str(tmp_path / "users.yaml"), what],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    lines = done.stdout.partition("seen")[0].splitlines()
    assert "seen" in done.stdout, done.stderr
    if what == "limited":
        assert lines[0].startswith("the system does not tell of changed files: ")
        assert "Too many open files" in lines[0] or "os error 24" in lines[0]
        assert lines[1:] == ["the system tells of changed files again"]
    else:
        assert not lines
    assert done.returncode == 0, done.stderr
    assert "panicked" not in done.stderr
    assert "Fatal" not in done.stderr
