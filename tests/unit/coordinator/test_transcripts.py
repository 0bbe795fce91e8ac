"""The rules of groups as transcripts: each file is a story, replayed and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.coordinator.transcript import Transcript

STORIES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
def test_a_group_does_what_the_transcript_says(story: Path) -> None:
    expected = story.read_text()
    assert Transcript().run(expected) == expected


def test_there_are_stories() -> None:
    assert len(STORIES) >= 12
