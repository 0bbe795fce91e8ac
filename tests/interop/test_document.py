"""docs/interop.md says what is tested; here is held that it says the truth."""

from __future__ import annotations

import re
from pathlib import Path

from tests.interop.test_kafka_tools import TOOLS

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "interop.md"


def _cases() -> list[dict[str, str]]:
    rows = [
        line for line in DOCUMENT.read_text().partition("## Cases")[2].splitlines() if line.startswith("|")
    ]
    header, _, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [dict(zip(header, row, strict=True)) for row in body]


def test_every_cell_names_a_test_that_exists_or_gives_a_reason() -> None:
    notes = set(re.findall(r"^(\d+)\. ", DOCUMENT.read_text(), re.MULTILINE))
    for case in _cases():
        for client, cell in case.items():
            if client == "case":
                continue
            if cell.startswith("-"):
                assert cell.strip("- ()") in notes, (case["case"], client)
            elif cell.strip("`").endswith(".py"):
                assert (HERE / cell.strip("`")).exists()
            else:
                source = (HERE / f"test_{client}.py").read_text()
                assert f"def {cell.strip('`')}(" in source, (case["case"], client)


def test_every_named_file_exists_and_every_tool_is_named() -> None:
    text = DOCUMENT.read_text()
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert (HERE / name).exists(), name
    for path in re.findall(r"`(tests/[\w./-]+)`", text):
        assert (HERE.parents[1] / path).exists(), path
    for tool in TOOLS:
        assert tool in text, tool
