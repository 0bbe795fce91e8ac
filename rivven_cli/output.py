"""Showing results: a table for people, JSON or YAML for programs, chosen by -o on every command.

Names come from a broker and so from strangers: control characters are escaped in tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = ("table", "json", "yaml")

output_option = click.option(
    "-o",
    "--output",
    "output",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="Output format.",
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def show_rows(output: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A list of like things; `columns` are shown in the table, JSON and YAML hold everything."""
    if output == "table":
        _print_table([[_cell(row.get(column)) for column in columns] for row in rows], columns)
    else:
        _print_data(output, [dict(row) for row in rows])


def show_one(output: str, facts: Mapping[str, Any]) -> None:
    """One thing: name and value per line, or an object."""
    if output == "table":
        width = max((len(name) for name in facts), default=0)
        for name, value in facts.items():
            click.echo(f"{name + ':':<{width + 2}}{_cell(value)}")
    else:
        _print_data(output, dict(facts))


def done(output: str, message: str, facts: Mapping[str, Any]) -> None:
    """Confirm a change: a sentence, or the facts as an object."""
    if output == "table":
        click.echo(message)
    else:
        _print_data(output, dict(facts))


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; without one, --yes is required. Raises Abort or UsageError."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Add --yes to confirm.")
    click.confirm(question, abort=True, err=True)


def visible(text: str) -> str:
    """The text with control characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{visible(str(key))}={_cell(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ",".join(_cell(inner) for inner in value) or "-"
    return visible(str(value))


def _print_table(rows: list[list[str]], columns: Sequence[str]) -> None:
    """As wide as its widest cells: a table must not lose characters in a pipe or a narrow window."""
    header = [column.replace("_", " ").upper() for column in columns]
    widths = [max(_cells(row[place]) for row in [header, *rows]) for place in range(len(columns))]
    for row in [header, *rows]:
        padded = (cell + " " * (width - _cells(cell)) for cell, width in zip(row, widths, strict=True))
        line = "  ".join(padded).rstrip()
        click.echo(click.style(line, bold=True) if row is header else line)


def _cells(text: str) -> int:
    """How many cells of a terminal it takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # takes longer to import than most commands take altogether

    return cell_len(text)


def _print_data(output: str, value: Any) -> None:
    if output == "json":
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
