"""Tables: nothing is lost, columns stand below each other, whatever names are made of."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rivven_cli.output import show_rows


def table(capsys: pytest.CaptureFixture[str], rows: list[dict[str, object]], *columns: str) -> list[str]:
    show_rows("table", rows, columns)
    return capsys.readouterr().out.splitlines()


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [{"name": "orders", "in_sync": [1, 2]}, {"name": "a", "in_sync": None}]
    assert table(capsys, rows, "name", "in_sync") == ["NAME    IN SYNC", "orders  1,2", "a       -"]


def test_without_rows_there_is_the_head(capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, [], "name", "in_sync") == ["NAME  IN SYNC"]


def test_characters_of_two_cells_and_of_none_keep_their_column(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [{"name": name, "n": 1} for name in ("漢字", "e\u0301", "🙂x", "abcd")]
    shown = table(capsys, rows, "name", "n")
    assert shown == ["NAME  N", "漢字  1", "e\u0301     1", "🙂x   1", "abcd  1"]


def test_nothing_of_a_long_cell_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    name = "漢" * 300 + "e\u0301" * 300
    assert table(capsys, [{"name": name}], "name")[1] == name


def test_names_of_strangers_do_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, [{"name": "a\x1b[2J\n[bold]b"}], "name")[1] == "a\\x1b[2J\\n[bold]b"


def test_a_plain_table_is_shown_without_rich() -> None:
    """Its import takes longer than what most commands do."""
    script = "import sys; from rivven_cli.output import show_rows; show_rows('table', [{'a': 1}], ['a']); "
    done = subprocess.run(
        [sys.executable, "-c", script + "sys.exit('rich.console' in sys.modules or 'rich' in sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "A\n1\n")
