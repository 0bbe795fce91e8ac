"""The world the administrative handlers are tested in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rivven.tasks import Tasks
from tests.unit.api.administration import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    tasks = Tasks()
    yield await World(tasks).start()
    await tasks.cancel_all()
