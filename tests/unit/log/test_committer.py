from __future__ import annotations

import errno

import pytest

from rivven.log.committer import SYNCFS_FROM, Committer, SyncPlan
from rivven.testing.files import CrashFiles, Fault
from rivven.testing.threads import StepThreads


class _Member:
    def __init__(self, files: CrashFiles, name: str) -> None:
        self.path = f"/{name}"
        self.file = files.open(self.path, "create")
        self.begun = 0
        self.ended: list[str] = []

    def write(self) -> None:
        self.file.write((b"x",), self.file.size())

    def begin_sync(self) -> SyncPlan:
        self.begun += 1
        return SyncPlan(files=(self.file,))

    def synced(self) -> None:
        self.ended.append("synced")

    def sync_failed(self, error: OSError) -> None:
        self.ended.append(f"failed {error.errno}")


class _Setup:
    def __init__(self, members: int) -> None:
        self.files = CrashFiles()
        self.threads = StepThreads()
        self.failures: list[OSError] = []
        self.rounds: list[int] = []
        self.committer = Committer(
            self.files,
            "/",
            self.threads,
            self.failures.append,
            lambda files, seconds: self.rounds.append(files),
        )
        self.members = [_Member(self.files, str(number)) for number in range(members)]

    def write(self, *numbers: int) -> None:
        for number in numbers:
            self.members[number].write()
            self.committer.mark_dirty(self.members[number])


def test_all_that_is_dirty_shares_one_round() -> None:
    s = _Setup(3)
    s.write(0, 1, 2, 0)
    s.threads.run_until_idle()
    assert s.rounds == [3]
    assert [member.ended for member in s.members] == [["synced"]] * 3


def test_what_becomes_dirty_during_a_round_is_in_the_next() -> None:
    s = _Setup(2)
    s.write(0)
    s.threads.step()
    assert s.committer.running
    s.write(0, 1)
    s.threads.run_until_idle()
    assert s.rounds == [1, 2]
    assert s.members[0].ended == ["synced", "synced"]


def test_many_files_are_synced_by_one_call() -> None:
    s = _Setup(SYNCFS_FROM)
    s.write(*range(SYNCFS_FROM))
    before = s.files.operations
    s.threads.step()
    assert s.committer.covers_all
    s.threads.run_until_idle()
    assert s.files.operations == before + 1
    s.files.syncfs = False
    s.write(*range(SYNCFS_FROM))
    before = s.files.operations
    s.threads.run_until_idle()
    assert s.files.operations == before + SYNCFS_FROM, "one by one where syncfs reports no errors"


def test_a_failed_sync_fails_the_directory_once_and_nothing_is_tried_again() -> None:
    s = _Setup(3)
    s.write(0, 1)
    s.threads.step()
    s.write(2)
    s.files.faults.append(Fault("sync", errno.EIO, "/1"))
    s.threads.run_until_idle()
    assert [error.errno for error in s.failures] == [errno.EIO]
    assert [member.ended for member in s.members] == [["failed 5"]] * 3, "also what waited for the next round"
    before = s.files.operations
    s.committer.mark_dirty(s.members[0])
    s.threads.run_until_idle()
    assert s.members[0].ended == ["failed 5", "failed 5"] and s.files.operations == before
    assert len(s.failures) == 1


def test_a_failure_found_elsewhere_fails_the_running_round_too() -> None:
    s = _Setup(1)
    s.write(0)
    s.threads.step()
    s.committer.fail(OSError(errno.EIO, "elsewhere"))
    s.threads.run_until_idle()
    assert s.members[0].ended == ["failed 5"]


def test_jobs_run_before_files_are_synced() -> None:
    s = _Setup(1)
    order: list[str] = []

    class WithJob(_Member):
        def begin_sync(self) -> SyncPlan:
            return SyncPlan(files=(self.file,), jobs=(lambda: order.append("job"),))

    s.committer.mark_dirty(WithJob(s.files, "job"))
    s.threads.run_until_idle()
    assert order == ["job"]


def test_callbacks_after_a_round_come_before_the_next_begins() -> None:
    s = _Setup(1)
    s.write(0)
    s.threads.step()
    seen: list[bool] = []
    s.committer.after_round(lambda: seen.append(s.committer.running))
    s.write(0)
    s.threads.run_until_idle()
    assert seen == [False] and s.rounds == [1, 1]


@pytest.mark.parametrize("failed", [False, True])
def test_idle_is_reported_also_after_a_failure(failed: bool) -> None:
    s = _Setup(1)
    s.write(0)
    if failed:
        s.files.faults.append(Fault("sync"))
    idle: list[str] = []
    s.committer.when_idle(lambda: idle.append("idle"))
    assert idle == []
    s.threads.run_until_idle()
    assert idle == ["idle"]


def test_one_member_that_raises_does_not_keep_the_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    s = _Setup(1)

    class Broken(_Member):
        def synced(self) -> None:
            raise RuntimeError("a listener's bug")

    s.committer.mark_dirty(Broken(s.files, "broken"))
    s.write(0)
    s.threads.run_until_idle()
    assert s.members[0].ended == ["synced"]
    assert "a listener's bug" in caplog.text


def test_without_a_descriptor_a_round_waits_and_its_jobs_run_again() -> None:
    """Nothing was synced when opening failed, so nothing is lost by trying again."""
    s = _Setup(1)
    member = s.members[0]
    plan = SyncPlan(files=(member.file,), directories=("/",), jobs=(lambda: s.files.list("/"),))  # type: ignore[arg-type, return-value]
    member.begin_sync = lambda: plan  # type: ignore[method-assign]
    s.files.faults += [Fault("list", errno.EMFILE), Fault("sync_directory", errno.ENFILE)]
    s.write(0)
    s.threads.run_until_idle()
    assert member.ended == ["synced"]
    assert s.failures == [] and s.committer.failure is None
    assert s.files.faults == [] or all(fault.times == 0 for fault in s.files.faults)
