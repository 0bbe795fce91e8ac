"""Out of descriptors: what waits, what gives up at once, and that nothing goes offline for it."""

from __future__ import annotations

import errno

import pytest

from rivven.log.descriptors import PAUSE_SECONDS, TRIES_MAX, is_shortage, patiently


class _Step:
    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise OSError(self.errors.pop(0), "no")
        return "done"


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_a_step_is_done_again_until_there_is_a_descriptor(code: int) -> None:
    pauses: list[float] = []
    step = _Step(code, code, code)
    assert patiently(step, pauses.append) == "done"
    assert pauses == [PAUSE_SECONDS] * 3
    assert step.calls == 4


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.ENOENT])
def test_every_other_failure_is_raised_at_once(code: int) -> None:
    pauses: list[float] = []
    step = _Step(errno.EMFILE, code)
    with pytest.raises(OSError) as raised:
        patiently(step, pauses.append)
    assert raised.value.errno == code
    assert (step.calls, len(pauses)) == (2, 1)


def test_waiting_is_bounded() -> None:
    step = _Step(*[errno.EMFILE] * (TRIES_MAX + 1))
    with pytest.raises(OSError) as raised:
        patiently(step, lambda _seconds: None)
    assert is_shortage(raised.value)
    assert step.calls == TRIES_MAX + 1


def test_what_is_a_shortage() -> None:
    assert is_shortage(OSError(errno.EMFILE, "")) and is_shortage(OSError(errno.ENFILE, ""))
    assert not is_shortage(OSError(errno.EIO, ""))
    assert not is_shortage(ValueError())
    assert not is_shortage(None)
