"""Large frames reserve their memory before they arrive and give it back once."""

from rivven.api.memory import MemoryBudget
from rivven.server.frame_memory import LEASED_FRAME_BYTES, LEASED_STRANGER_FRAME_BYTES, FrameMemory

MIB = 1 << 20


class World:
    def __init__(self) -> None:
        self.requests, self.strangers = MemoryBudget(MIB), MemoryBudget(MIB)
        self.granted = 0
        self.memory = FrameMemory(self.requests, self.strangers, self._grant)

    def _grant(self) -> None:
        self.granted += 1


def test_small_frames_are_free() -> None:
    world = World()
    world.memory.expect(LEASED_FRAME_BYTES, known=True)
    world.memory.expect(LEASED_STRANGER_FRAME_BYTES, known=False)
    assert (world.requests.used_bytes, world.strangers.used_bytes) == (0, 0)


def test_a_frame_holds_its_memory_until_it_is_answered() -> None:
    world = World()
    world.memory.expect(500_000, known=True)
    world.memory.expect(500_000, known=True)  # told again while it arrives
    assert world.requests.used_bytes == 500_000
    world.memory.arrived(7)
    world.memory.answered(6)
    assert world.requests.used_bytes == 500_000
    world.memory.answered(7)
    assert world.requests.used_bytes == 0


def test_a_frame_waits_for_its_turn() -> None:
    world = World()
    others: list[object] = []
    world.requests.take_whole(MIB, others.append)
    world.memory.expect(500_000, known=True)
    assert world.memory.waiting
    assert world.granted == 0
    others[0].release()  # type: ignore[attr-defined]
    assert not world.memory.waiting
    assert world.granted == 1
    world.memory.release_all()
    assert world.requests.used_bytes == 0


def test_whoever_leaves_the_queue_takes_nothing() -> None:
    world = World()
    others: list[object] = []
    world.strangers.take_whole(MIB, others.append)
    world.memory.expect(500_000, known=False)
    world.memory.release_all()
    others[0].release()  # type: ignore[attr-defined]
    assert world.strangers.used_bytes == 0
    assert world.granted == 0
