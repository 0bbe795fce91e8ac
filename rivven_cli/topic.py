"""`rivven topic`: create, list, describe, alter, delete, add-partitions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from rivven_cli.output import confirm, done, output_option, show_one, show_rows, yes_option
from rivven_cli.pairs import name_values
from rivven_cli.session import Session, pass_session


@click.group()
def topic() -> None:
    """Create, list, describe, alter and delete topics."""


@topic.command("create")
@click.argument("name")
@click.option(
    "--partitions", type=click.IntRange(1), help="Number of partitions; the broker's default if not given."
)
@click.option(
    "--config", "settings", multiple=True, metavar="NAME=VALUE", help="A topic setting; repeatable."
)
@click.option("--validate-only", is_flag=True, help="Only check whether it could be created.")
@output_option
@pass_session
def create(
    session: Session,
    name: str,
    partitions: int | None,
    settings: tuple[str, ...],
    validate_only: bool,
    output: str,
) -> None:
    """Create a topic."""
    from rivven_client.topics import create_topic

    config = name_values(settings, "--config")
    create_topic(session.connection, name, partitions, config, validate_only=validate_only)
    what = "could be created" if validate_only else "created"
    done(output, f"topic {name} {what}", {"topic": name, "created": not validate_only})


@topic.command("list")
@click.option("--internal", is_flag=True, help="Also topics whose name starts with __.")
@output_option
@pass_session
def list_(session: Session, internal: bool, output: str) -> None:
    """List topics."""
    from rivven_client.topics import list_topics

    found = list_topics(session.connection, internal=internal)
    show_rows(output, [asdict(one) for one in found], ("name", "partitions", "replicas"))


@topic.command("describe")
@click.argument("name")
@click.option("--all-settings", is_flag=True, help="Also settings that have the broker's default.")
@output_option
@pass_session
def describe(session: Session, name: str, all_settings: bool, output: str) -> None:
    """Show a topic's partitions, offsets and settings."""
    from rivven_client.topics import describe_topic

    info = describe_topic(session.connection, name)
    settings = info.all_settings if all_settings else info.settings
    partitions: list[dict[str, Any]] = [asdict(part) for part in info.partitions]
    if output != "table":
        show_one(
            output, {"name": info.name, "id": info.id, "partitions": _plain(partitions), "settings": settings}
        )
        return
    show_one(
        output, {"name": info.name, "id": info.id, **{f"setting {key}": settings[key] for key in settings}}
    )
    click.echo()
    show_rows(output, partitions, ("partition", "leader", "replicas", "in_sync", "earliest", "latest"))


@topic.command("alter")
@click.argument("name")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a topic setting; repeatable."
)
@click.option(
    "--unset", "removed", multiple=True, metavar="NAME", help="Go back to the broker's default; repeatable."
)
@output_option
@pass_session
def alter(
    session: Session, name: str, settings: tuple[str, ...], removed: tuple[str, ...], output: str
) -> None:
    """Change a topic's settings; what is not named stays."""
    from rivven_client.topics import alter_topic

    changes = name_values(settings, "--set")
    if not changes and not removed:
        raise click.UsageError("Nothing to change: give --set or --unset.")
    alter_topic(session.connection, name, changes, removed)
    done(output, f"topic {name} changed", {"topic": name, "set": changes, "unset": list(removed)})


@topic.command("delete")
@click.argument("names", nargs=-1, required=True)
@yes_option
@output_option
@pass_session
def delete(session: Session, names: tuple[str, ...], yes: bool, output: str) -> None:
    """Delete topics with all their records."""
    from rivven_client.topics import delete_topic

    confirm(f"Delete {', '.join(names)} with all records?", yes)
    for name in names:
        delete_topic(session.connection, name)
    done(output, f"deleted {', '.join(names)}", {"deleted": list(names)})


@topic.command("add-partitions")
@click.argument("name")
@click.argument("total", type=click.IntRange(1))
@output_option
@pass_session
def add_partitions(session: Session, name: str, total: int, output: str) -> None:
    """Raise the number of partitions to TOTAL. Keys may then go to other partitions than before."""
    from rivven_client.topics import add_partitions as add

    add(session.connection, name, total)
    done(output, f"topic {name} has {total} partitions", {"topic": name, "partitions": total})


def _plain(partitions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: list(value) if isinstance(value, tuple) else value for key, value in p.items()}
        for p in partitions
    ]
