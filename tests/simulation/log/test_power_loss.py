"""Random work, random crashes: what was acknowledged is there, in order, unchanged, and nothing was invented.

RIVVEN_SIM_SEEDS sets how many seeds run (300 in `make test`, more at night); a failure names its seed.
"""

from __future__ import annotations

import os

import pytest

from rivven.testing.files import PowerCut
from tests.simulation.log.world import World

SEEDS = int(os.environ.get("RIVVEN_SIM_SEEDS", "300"))
SEEDS_PER_TEST = 25
LIVES = 4
ACTIONS = 60


def _live(world: World) -> None:
    """One life of a broker: work until it stops, cleanly or not."""
    random = world.random
    if random.random() < 0.5:
        world.files.cut_power_at = world.files.operations + random.randint(1, 150)
    for _ in range(random.randint(5, ACTIONS)):
        action = random.choices(
            (
                world.append,
                world.step,
                world.let_time_pass,
                world.delete_records,
                world.break_something,
                world.change_keys,
                world.read_back,
            ),
            (50, 30, 5, 3, 2, 2, 1),
        )[0]
        action()
        if world.offline:
            break
    if random.random() < 0.3 and not world.offline and not world.files.faults:
        world.files.cut_power_at = None
        world.stop_cleanly()
    else:
        world.crash()


def simulate(seed: int) -> World:
    """Several lives of one data directory."""
    world = World(seed)
    try:
        world.open()
        for _ in range(LIVES):
            try:
                _live(world)
            except PowerCut:
                world.crash()
            world.reopen()
    except BaseException:
        print(f"seed {seed}")
        raise
    finally:
        world.close()
    return world


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_nothing_acknowledged_is_lost(first: int) -> None:
    crashes = 0
    for seed in range(first, min(first + SEEDS_PER_TEST, SEEDS)):
        crashes += simulate(seed).crashes
    assert crashes > 0
