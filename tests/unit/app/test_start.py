"""What start-up says when it is refused, and what it asks of its process."""

import ctypes
import errno
import gc
import json
import resource
import sys
from pathlib import Path

import pytest

from rivven.app.failures import ExitCode, StartFailed, address_failure
from rivven.app.process import SWITCH_INTERVAL_S, bound_allocator, raise_descriptor_limit, settle
from rivven.app.serve import _announce, print_failure
from rivven.app.storage import open_files


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EADDRINUSE, "another process"),
        (errno.EACCES, "below 1024"),
        (errno.EADDRNOTAVAIL, "does not have that address"),
        (errno.EAFNOSUPPORT, "check the listener"),
    ],
)
def test_addresses_that_cannot_be_had(number: int, hint: str) -> None:
    failure = address_failure("main", "127.0.0.1:9092", OSError(number, "reason"))
    assert failure.exit_code is ExitCode.ADDRESS
    assert str(failure) == "cannot listen on 127.0.0.1:9092 (listener main): reason"
    assert hint in failure.hint


def test_a_refusal_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    print_failure(StartFailed("the disk is gone", "buy another", ExitCode.STORAGE))
    assert capsys.readouterr().err == "rivven: the disk is gone\n  hint: buy another\n"


def test_the_ready_file_is_whole_or_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts: dict[str, object] = {"event": "ready", "listeners": {"main": "127.0.0.1:1"}}
    _announce(facts, tmp_path / "ready.json")
    assert [one.name for one in tmp_path.iterdir()] == ["ready.json"]
    assert json.loads((tmp_path / "ready.json").read_text()) == facts
    _announce(facts, None)
    assert json.loads(capsys.readouterr().out) == facts


def test_descriptors_are_raised_to_the_hard_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert raise_descriptor_limit() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert raise_descriptor_limit() == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_settling_freezes_what_exists() -> None:
    before = sys.getswitchinterval()
    try:
        settle()
        assert gc.get_freeze_count() > 0
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


def test_an_allocator_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    bound_allocator()


@pytest.mark.parametrize(
    ("limit", "files"), [(0, 4096), (256, 64), (1024, 128), (20_000, 2500), (1 << 20, 4096)]
)
def test_the_log_leaves_descriptors_to_connections(limit: int, files: int) -> None:
    assert open_files(limit) == files
