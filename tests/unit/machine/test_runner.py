"""The runner: order of replies, commit before effect, failure, waking, replay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from rivven.errors import ErrorCode, RivvenError
from rivven.machine import runner as runner_module
from rivven.machine.journal import JournalCorrupt, JournalFailed
from rivven.machine.runner import Runner
from rivven.machine.state_machine import JournalRecord, MachineStopped, Outcome, Wake
from rivven.tasks import Tasks
from rivven.testing.journal import MemoryJournal


class ManualClock:
    def __init__(self) -> None:
        self.ms = 1_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class Register:
    """A toy machine: ("set", text) durable, ("peek",) reply only, ("wait",) answered by the next set,
    ("whisper", text) volatile, ("refuse",) raises, ("bug",) breaks."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.whispers: list[str] = []
        self.waiting: list[int] = []
        self.alarm: int | None = None
        self.woken = 0

    def decide(self, command: Any, ticket: int | None, now_ms: int) -> Outcome:
        if isinstance(command, Wake):
            if self.alarm is not None and self.alarm <= now_ms:
                return Outcome(events=(("set", f"alarm@{now_ms}"), ("alarm", None)))
            return Outcome(volatile=(("woken",),), wake_at=self.alarm)
        assert ticket is not None
        match command:
            case ("set", text):
                waiting = tuple((waiter, f"saw {text}") for waiter in self.waiting)
                return Outcome(
                    events=(("set", text),),
                    volatile=(("waited",),),
                    replies=(*waiting, (ticket, len(self.values) + 1)),
                )
            case ("peek",):
                return Outcome(replies=((ticket, (list(self.values), list(self.whispers))),))
            case ("wait",):
                return Outcome(volatile=(("waits", ticket),))
            case ("whisper", text):
                return Outcome(volatile=(("whisper", text),), replies=((ticket, None),))
            case ("alarm", at):
                return Outcome(events=(("alarm", at),), replies=((ticket, None),), wake_at=at)
            case ("refuse",):
                raise RivvenError("no", ErrorCode.POLICY_VIOLATION)
            case _:
                raise TypeError(command)

    def apply(self, event: Any) -> None:
        match event:
            case ("set", text):
                self.values.append(text)
            case ("whisper", text):
                self.whispers.append(text)
            case ("alarm", at):
                self.alarm = at
            case ("waits", ticket):
                self.waiting.append(ticket)
            case ("waited",):
                self.waiting.clear()
            case ("woken",):
                self.woken += 1

    def snapshot(self) -> Iterable[Any]:
        yield from (("set", value) for value in self.values)
        if self.alarm is not None:
            yield ("alarm", self.alarm)

    def encode(self, event: Any) -> JournalRecord:
        kind, value = event
        return JournalRecord(kind.encode(), repr(value).encode())

    def decode(self, record: JournalRecord) -> Any:
        assert record.key is not None and record.value is not None
        kind, value = record.key.decode(), record.value.decode()
        if kind == "alarm":
            return (kind, None if value == "None" else int(value))
        return (kind, value.strip("'"))


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    owner = Tasks()
    yield owner
    await owner.cancel_all()


async def started(journal: MemoryJournal, tasks: Tasks, clock: ManualClock | None = None) -> Runner[Register]:
    runner = Runner(Register, journal, clock or ManualClock(), tasks)
    await runner.start()
    return runner


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_reply_waits_for_the_commit_of_its_events_and_finds_them_committed(tasks: Tasks) -> None:
    journal = MemoryJournal(manual=True)
    runner = await started(journal, tasks)
    reply = runner.submit(("set", "a"))
    await turn()
    assert not reply.done()
    assert runner.committed.values == []
    journal.commit()
    assert await reply == 1
    assert runner.committed.values == ["a"]


async def test_an_answer_without_events_does_not_overtake_the_commit_it_depends_on(tasks: Tasks) -> None:
    journal = MemoryJournal(manual=True)
    runner = await started(journal, tasks)
    write = runner.submit(("set", "a"))
    peek = runner.submit(("peek",))
    refusal = runner.submit(("refuse",))
    await turn()
    assert not peek.done()
    assert not refusal.done()
    journal.commit()
    assert await peek == (["a"], [])
    assert write.done()
    with pytest.raises(RivvenError, match="no"):
        await refusal


async def test_an_answer_is_immediate_when_nothing_is_in_flight(tasks: Tasks) -> None:
    runner = await started(MemoryJournal(manual=True), tasks)
    assert runner.submit(("peek",)).result() == ([], [])


async def test_commits_are_applied_in_order_even_if_futures_finish_together(tasks: Tasks) -> None:
    journal = MemoryJournal(manual=True)
    runner = await started(journal, tasks)
    seen: list[tuple[Any, ...]] = []
    runner.on_commit.append(seen.append)
    replies = [runner.submit(("set", text)) for text in "abc"]
    assert runner.pending == 3
    journal.commit(2)
    await turn()
    assert [reply.done() for reply in replies] == [True, True, False]
    assert seen == [(("set", "a"),), (("set", "b"),)]
    journal.commit()
    assert await replies[2] == 3


async def test_listeners_run_after_the_image_moved_and_before_the_reply(tasks: Tasks) -> None:
    runner = await started(MemoryJournal(), tasks)
    order: list[str] = []
    runner.on_commit.append(lambda _events: order.append(f"listener {runner.committed.values}"))
    reply = runner.submit(("set", "a"))
    reply.add_done_callback(lambda _future: order.append("reply"))
    await reply
    await turn()
    assert order == ["listener ['a']", "reply"]


async def test_one_command_answers_tickets_that_wait(tasks: Tasks) -> None:
    runner = await started(MemoryJournal(), tasks)
    first, second = runner.submit(("wait",)), runner.submit(("wait",))
    await turn()
    assert not first.done()
    assert await runner.submit(("set", "x")) == 1
    assert (await first, await second) == ("saw x", "saw x")


async def test_a_cancelled_asker_is_skipped(tasks: Tasks) -> None:
    runner = await started(MemoryJournal(), tasks)
    gone, here = runner.submit(("wait",)), runner.submit(("wait",))
    gone.cancel()
    await runner.submit(("set", "x"))
    assert await here == "saw x"


async def test_a_journal_failure_fails_all_who_wait_and_rebuilds_from_what_is_committed(tasks: Tasks) -> None:
    journal = MemoryJournal(manual=True)
    runner = await started(journal, tasks)
    kept = runner.submit(("set", "kept"))
    journal.commit()
    await kept
    await runner.submit(("whisper", "volatile"))
    waiting = runner.submit(("wait",))
    lost = [runner.submit(("set", "lost 1")), runner.submit(("set", "lost 2")), runner.submit(("peek",))]
    journal.fail()
    for reply in [waiting, *lost]:
        with pytest.raises(JournalFailed):
            await reply
    assert runner.pending == 0
    assert await runner.submit(("peek",)) == (["kept"], [])
    again = runner.submit(("set", "after"))
    journal.commit()
    assert await again == 2
    assert runner.committed.values == ["kept", "after"]


async def test_nothing_is_decided_on_a_state_whose_loss_is_known_but_not_yet_heard_of(tasks: Tasks) -> None:
    journal = MemoryJournal(manual=True)
    runner = await started(journal, tasks)
    lost = runner.submit(("set", "lost"))
    journal.fail()  # its callbacks run in the next turn of the loop
    peek = runner.submit(("peek",))
    assert peek.result() == ([], [])
    with pytest.raises(JournalFailed):
        await lost
    written = runner.submit(("set", "kept"))
    journal.commit()
    assert await written == 1


async def test_an_append_that_raises_at_once_is_a_journal_failure(tasks: Tasks) -> None:
    journal = MemoryJournal()
    runner = await started(journal, tasks)
    await runner.submit(("set", "a"))

    def refuse(_records: object) -> asyncio.Future[None]:
        raise JournalFailed("offline")

    journal.append = refuse  # type: ignore[method-assign]
    with pytest.raises(JournalFailed):
        await runner.submit(("set", "b"))
    assert await runner.submit(("peek",)) == (["a"], [])


async def test_restart_replays_what_was_committed_and_nothing_else(tasks: Tasks) -> None:
    journal = MemoryJournal(manual=True)
    runner = await started(journal, tasks)
    done = runner.submit(("set", "a"))
    journal.commit()
    await done
    never = runner.submit(("set", "in flight"))
    second = await started(MemoryJournal(journal.records), tasks)
    assert second.committed.values == ["a"]
    assert await second.submit(("peek",)) == (["a"], [])
    never.cancel()


async def test_a_record_the_machine_cannot_read_stops_the_start_and_says_which(tasks: Tasks) -> None:
    good, bad = JournalRecord(b"set", b"'a'"), JournalRecord(b"alarm", b"never")
    with pytest.raises(JournalCorrupt, match="record 1"):
        await started(MemoryJournal([good, bad]), tasks)


async def test_the_machine_is_woken_at_its_deadline(tasks: Tasks) -> None:
    clock = ManualClock()
    runner = await started(MemoryJournal(), tasks, clock)
    assert runner._speculative.woken == 1  # once after start
    await runner.submit(("alarm", clock.ms + 5))
    clock.ms += 5
    rang = asyncio.Event()
    runner.on_commit.append(lambda _events: rang.set())
    await asyncio.wait_for(rang.wait(), 5)
    assert runner.committed.values == ["alarm@1005"]
    assert runner.committed.alarm is None


async def test_an_early_wake_is_harmless_and_keeps_the_deadline(tasks: Tasks) -> None:
    clock = ManualClock()
    runner = await started(MemoryJournal(), tasks, clock)
    await runner.submit(("alarm", clock.ms + 60_000))
    runner.wake()
    assert runner.committed.values == []
    assert runner._timer_at == clock.ms + 60_000
    await runner.close()


async def test_a_bug_in_decide_surfaces_and_leaves_the_runner_working(tasks: Tasks) -> None:
    runner = await started(MemoryJournal(), tasks)
    with pytest.raises(TypeError):
        runner.submit(("bug",))
    assert await runner.submit(("set", "a")) == 1


async def test_close_waits_for_what_is_in_flight_and_refuses_the_rest(tasks: Tasks) -> None:
    journal = MemoryJournal(manual=True)
    runner = await started(journal, tasks)
    write, waiting = runner.submit(("set", "a")), runner.submit(("wait",))
    closing = asyncio.ensure_future(runner.close())
    await turn()
    assert not closing.done()
    with pytest.raises(MachineStopped):
        await runner.submit(("set", "late"))
    journal.commit()
    await closing
    assert write.result() == 1
    assert journal.closed
    with pytest.raises(MachineStopped):
        await waiting


async def test_compaction_replaces_the_journal_by_a_snapshot(tasks: Tasks) -> None:
    journal = MemoryJournal(compaction_bound=3)
    runner = await started(journal, tasks)
    for at in (5_000_000, 6_000_000, 7_000_000, 8_000_000):
        await runner.submit(("alarm", at))
        await turn()
    assert journal.compactions == 1
    assert len(journal.records) == 1
    assert (await started(MemoryJournal(journal.records), tasks)).committed.alarm == 8_000_000
    await runner.close()


async def test_tickets_are_bounded(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "WAITING_MAX", 2)
    runner = await started(MemoryJournal(), tasks)
    waiting = [runner.submit(("wait",)), runner.submit(("wait",))]
    with pytest.raises(MachineStopped):
        await runner.submit(("wait",))
    await runner.close()
    for future in waiting:
        assert isinstance(future.exception(), MachineStopped)
