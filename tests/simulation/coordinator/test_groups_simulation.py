"""Seeded histories of a consumer group: members join, leave, crash, repeat themselves; the journal commits
late, fails, restarts. See `world` for what must hold."""

from __future__ import annotations

import os

import pytest

from tests.simulation.coordinator.world import World

SEEDS = int(os.environ.get("RIVVEN_SIM_SEEDS", "150"))
STEPS = 600


@pytest.mark.parametrize("first", range(0, SEEDS, 25))
def test_group_histories(first: int) -> None:
    answers = 0
    for seed in range(first, min(first + 25, SEEDS)):
        print(f"seed {seed}")
        world = World(seed)
        for _ in range(STEPS):
            world.step()
        world.check_durable()
        world.drain()
        world.check_durable()
        answers += world.answers
    assert answers > 1_000, "histories in which nothing happens prove nothing"


def test_histories_reach_stable_generations() -> None:
    """The luck is not so bad that the interesting states are never reached."""
    worlds = [World(seed) for seed in range(10)]
    for world in worlds:
        for _ in range(STEPS):
            world.step()
    print({world.seed: (len(world.assigned), len(world.leaders), world.life) for world in worlds})
    assert sum(len(world.assigned) for world in worlds) >= 30
    assert sum(len(world.leaders) for world in worlds) >= 60
    assert sum(world.life for world in worlds) >= 10
