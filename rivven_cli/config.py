"""`rivven config`: check, show, defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one

if TYPE_CHECKING:
    from rivven.config.models import Config

_file = click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
_dev = click.option("--dev", is_flag=True, help="Start from the development profile.")


@click.group()
def config() -> None:
    """Check and show configuration."""


@config.command("check")
@_file
@_dev
@output_option
def check(file: Path | None, dev: bool, output: str) -> None:
    """Check FILE with the RIVVEN_* variables as `rivven server` would, without starting anything."""
    loaded = load_config(file, dev)
    facts = {"valid": True, "listeners": [f"{one.protocol}://{one.bind}" for one in loaded.listeners]}
    if loaded.insecure:
        facts["warning"] = "insecure: true - anybody who reaches a listener may do everything"
    show_one(output, facts)


@config.command("show")
@_file
@_dev
@output_option
def show(file: Path | None, dev: bool, output: str) -> None:
    """Show the configuration in force: FILE, RIVVEN_* variables and defaults. Secrets stay references."""
    data: dict[str, Any] = load_config(file, dev).model_dump(mode="json", by_alias=True)
    if output == "table":
        for key, value in _flat(data):
            click.echo(f"{key} = {value}")
    else:
        show_one(output, data)


@config.command("defaults")
@output_option
def defaults(output: str) -> None:
    """Print every key and Kafka setting with its default; the table form is a commented YAML file."""
    from rivven.config.documentation import default_file, default_values

    if output == "table":
        click.echo(default_file(), nl=False)
    else:
        show_one(output, default_values())


def load_config(
    file: Path | None,
    dev: bool,
    overrides: dict[str, object] | None = None,
    dev_port: int | None = None,
) -> Config:
    """The configuration as the server reads it; raises CommandFailed with every problem."""
    from rivven.config.load import ConfigError, load

    try:
        return load(file, os.environ, overrides, dev=dev, dev_port=dev_port)
    except ConfigError as error:
        *others, last = [str(problem) for problem in error.problems]
        for problem in others:
            click.echo(f"rivven: {problem}", err=True)
        raise CommandFailed(last, "see `rivven config defaults` for every key", Exit.CONFIG) from None


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [
            row for key, inner in value.items() for row in _flat(inner, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [row for index, inner in enumerate(value) for row in _flat(inner, f"{path}[{index}]")]
    if isinstance(value, bool):
        return [(path, "true" if value else "false")]
    if isinstance(value, list):
        return [(path, ", ".join(map(str, value)))]
    return [(path, "" if value is None or value == {} else str(value))]
