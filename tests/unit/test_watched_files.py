"""Changes of content are seen however they are made; anything else is not a change."""

import asyncio
import gc
import os
import threading
import time
from pathlib import Path

import pytest

from rivven import watched_files
from rivven.watched_files import SETTLE_LOOKS_MAX, SETTLE_S, WatchedFiles


class Watch:
    def __init__(self, *paths: Path) -> None:
        self.calls = 0
        self.paths = list(paths)
        self.watcher = WatchedFiles("test", lambda: self.paths, self._changed)
        self.watcher.mark()

    def _changed(self) -> None:
        self.calls += 1

    async def look(self) -> int:
        await self.watcher.look_once()
        return self.calls


async def test_new_content_is_a_change_and_a_touch_is_not(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("a")
    watch = Watch(path)
    assert await watch.look() == 0
    os.utime(path, (1, 1))
    assert await watch.look() == 0
    path.write_text("b")
    assert await watch.look() == 1
    assert await watch.look() == 1


async def test_rename_removal_and_return_are_changes(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text("a")
    watch = Watch(path)
    other = tmp_path / "other"
    other.write_text("b")
    other.replace(path)
    assert await watch.look() == 1
    path.unlink()
    assert await watch.look() == 2
    path.write_text("b")
    assert await watch.look() == 3


async def test_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe")
    assert await asyncio.wait_for(watch.look(), 5) == 1
    (tmp_path / "pipe").unlink()
    assert await watch.look() == 2


async def test_a_symlink_swap_as_kubernetes_makes_it_is_a_change(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tls.crt").write_text(version)
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "tls.crt").symlink_to("data/tls.crt")
    watch = Watch(tmp_path / "tls.crt")
    (tmp_path / "fresh").symlink_to("two")
    (tmp_path / "fresh").replace(tmp_path / "data")
    assert await watch.look() == 1


async def test_a_file_that_joins_the_list_is_a_change(tmp_path: Path) -> None:
    watch = Watch()
    (tmp_path / "a").write_text("a")
    watch.paths.append(tmp_path / "a")
    assert await watch.look() == 1


async def test_a_callback_that_fails_is_logged_and_the_next_change_is_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a"
    path.write_text("a")
    calls = []

    async def changed() -> None:
        calls.append(path.read_text())
        raise ValueError("unusable")

    watcher = WatchedFiles("roles", lambda: [path], changed)
    watcher.mark()
    for text in ("b", "c"):
        path.write_text(text)
        assert await watcher.look_once()
    assert calls == ["b", "c"]
    assert "roles changed" in caplog.text


async def test_a_file_that_is_being_written_counts_once_it_is_complete(tmp_path: Path) -> None:
    """Emptied first and filled in pieces, as editors and shells do it."""
    path = tmp_path / "denied"
    path.write_text("one\n")
    seen: list[str] = []
    watcher = WatchedFiles("test", lambda: [path], lambda: seen.append(path.read_text()))
    watcher.mark()
    path.write_text("")
    look = asyncio.create_task(watcher.look_once())
    for piece in ("one\n", "two\n"):
        await asyncio.sleep(SETTLE_S / 5)
        with path.open("a") as file:
            file.write(piece)
    await look
    assert seen == ["one\ntwo\n"]


async def test_a_file_that_never_rests_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("")
    watch = Watch(path)
    path.write_text("x")
    look = asyncio.create_task(watch.look())
    while not look.done():
        with path.open("a") as file:
            file.write("x")
        await asyncio.sleep(SETTLE_S / 5)
        assert path.stat().st_size < 100 * SETTLE_LOOKS_MAX
    assert watch.calls == 1


async def test_content_is_compared_now_and_then_though_the_file_looks_the_same(tmp_path: Path) -> None:
    """What a network file system says of a file may be old."""
    path = tmp_path / "leaf.crt"
    path.write_text("old")
    calls = []
    watcher = WatchedFiles("test", lambda: [path], lambda: calls.append(1), interval_s=0.25, reread_s=1.0)
    watcher.mark()
    path.write_text("new")
    watcher._signatures = watcher._look()  # the size and times are those it knows
    assert [await watcher.look_once() for _ in range(5)] == [False, False, False, True, False]
    assert calls == [1]


async def test_what_could_not_be_used_is_offered_again(tmp_path: Path) -> None:
    path = tmp_path / "leaf.crt"
    path.write_text("begins tomorrow")
    calls = []
    watcher = WatchedFiles("test", lambda: [path], lambda: calls.append(1), interval_s=0.25, reread_s=0.5)
    watcher.mark()
    assert [await watcher.look_once() for _ in range(4)] == [False] * 4
    watcher.forget()
    assert [await watcher.look_once() for _ in range(4)] == [False, True, False, False]


async def test_a_file_system_that_hangs_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As an NFS mount does whose server is gone."""
    path = tmp_path / "users.yaml"
    path.write_text("a")
    watch, other = Watch(path), Watch(path)
    answers = threading.Event()
    stat = os.stat

    def hanging(*arguments: object, **named: object) -> os.stat_result:
        if threading.current_thread() is watch.watcher._thread:
            assert answers.wait(20)
        return stat(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(watched_files.os, "stat", hanging)
    monkeypatch.setattr(watched_files, "HANGS_S", 0.05)
    path.write_text("b")
    began = time.monotonic()
    look = asyncio.create_task(watch.look())
    try:
        assert await other.look() == 1, "the loop runs, and so do the others"
        while "the file system does not answer" not in caplog.text:
            assert time.monotonic() - began < 10
            await asyncio.sleep(0.01)
        assert not look.done()
    finally:
        answers.set()
    assert await look == 1, "nothing was missed"


async def test_a_watcher_that_is_gone_leaves_no_thread(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "a")
    await watch.look()
    thread = watch.watcher._thread
    assert thread is not None and thread.daemon
    del watch
    deadline = time.monotonic() + 10
    while thread.is_alive():  # its last look may not be over yet, and is collected with the watcher
        assert time.monotonic() < deadline
        gc.collect()
        thread.join(0.01)
