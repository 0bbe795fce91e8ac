"""Changes of content are seen however they are made; anything else is not a change."""

import asyncio
import os
from pathlib import Path

import pytest

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
