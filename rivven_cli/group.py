"""`rivven group`: list, describe, reset-offsets, delete."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import confirm, done, output_option, show_one, show_rows, yes_option
from rivven_cli.pairs import point_in_time
from rivven_cli.session import Session, pass_session

if TYPE_CHECKING:
    from rivven_client.groups import GroupInfo


@click.group()
def group() -> None:
    """List, describe, reset and delete consumer groups."""


@group.command("list")
@output_option
@pass_session
def list_(session: Session, output: str) -> None:
    """List groups."""
    from rivven_client.groups import list_groups

    rows = [asdict(one) for one in list_groups(session.connection)]
    show_rows(output, rows, ("group", "state", "kind"))


@group.command("describe")
@click.argument("name")
@output_option
@pass_session
def describe(session: Session, name: str, output: str) -> None:
    """Show a group's members, committed offsets and lag."""
    from rivven_client.groups import describe_group

    info = describe_group(session.connection, name)
    facts = {
        "group": info.group,
        "state": info.state,
        "assignor": info.assignor,
        "coordinator": info.coordinator,
    }
    members, offsets = _members(info), _offsets(info)
    if output != "table":
        show_one(output, {**facts, "members": members, "offsets": offsets})
        return
    show_one(output, facts)
    if members:
        click.echo()
        show_rows(output, members, ("member", "client", "host", "partitions"))
    if offsets:
        click.echo()
        show_rows(output, offsets, ("topic", "partition", "committed", "end", "lag"))


@group.command("reset-offsets")
@click.argument("name")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="NAME",
    help="A topic; all with committed offsets if not given.",
)
@click.option("--to-earliest", is_flag=True, help="To the oldest record.")
@click.option("--to-latest", is_flag=True, help="To the end.")
@click.option("--to-offset", type=click.IntRange(0), metavar="OFFSET")
@click.option("--to-time", metavar="TIME", help="To a time: 15m (ago), 2026-01-31T12:00:00Z or milliseconds.")
@click.option("--shift-by", type=int, metavar="N", help="Forwards, or with a negative number backwards.")
@click.option("--dry-run", is_flag=True, help="Only show what would be set.")
@yes_option
@output_option
@pass_session
def reset_offsets(
    session: Session,
    name: str,
    topics: tuple[str, ...],
    to_earliest: bool,
    to_latest: bool,
    to_offset: int | None,
    to_time: str | None,
    shift_by: int | None,
    dry_run: bool,
    yes: bool,
    output: str,
) -> None:
    """Set the committed offsets of a group that has no members."""
    chosen = sum((to_earliest, to_latest, to_offset is not None, to_time is not None, shift_by is not None))
    if chosen != 1:
        raise click.UsageError(
            "Give exactly one of --to-earliest, --to-latest, --to-offset, --to-time, --shift-by."
        )
    from rivven_client.groups import commit_offsets, committed_offsets, shifted_offsets, target_offsets

    connection = session.connection
    current = {(part.topic, part.partition): part.offset for part in committed_offsets(connection, name)}
    wanted = topics or tuple(dict.fromkeys(topic for topic, _ in current))
    if not wanted:
        raise CommandFailed(
            f"group {name} has no committed offsets", "name a topic with --topic", Exit.NOT_FOUND
        )
    if shift_by is not None:
        targets = shifted_offsets(connection, name, wanted, shift_by)
    elif to_time is not None:
        moment = point_in_time(to_time, time.time_ns() // 1_000_000)
        targets = target_offsets(connection, wanted, to="time", value=moment)
    elif to_offset is not None:
        targets = target_offsets(connection, wanted, to="offset", value=to_offset)
    else:
        targets = target_offsets(connection, wanted, to="earliest" if to_earliest else "latest")
    rows = [
        {"topic": topic, "partition": partition, "from": current.get((topic, partition)), "to": offset}
        for (topic, partition), offset in sorted(targets.items())
    ]
    if not dry_run:
        confirm(f"Set {len(rows)} offsets of group {name}?", yes)
        commit_offsets(connection, name, targets)
    show_rows(output, rows, ("topic", "partition", "from", "to"))


@group.command("delete")
@click.argument("names", nargs=-1, required=True)
@yes_option
@output_option
@pass_session
def delete(session: Session, names: tuple[str, ...], yes: bool, output: str) -> None:
    """Delete groups that have no members, with their offsets."""
    from rivven_client.groups import delete_group

    confirm(f"Delete {', '.join(names)} with all committed offsets?", yes)
    for name in names:
        delete_group(session.connection, name)
    done(output, f"deleted {', '.join(names)}", {"deleted": list(names)})


def _members(info: GroupInfo) -> list[dict[str, Any]]:
    return [
        {
            "member": member.member,
            "client": member.client,
            "host": member.host,
            "partitions": [f"{topic}-{partition}" for topic, partition in member.partitions],
        }
        for member in info.members
    ]


def _offsets(info: GroupInfo) -> list[dict[str, Any]]:
    return [
        {
            "topic": one.topic,
            "partition": one.partition,
            "committed": one.committed,
            "end": one.end if one.end >= 0 else None,
            "lag": one.lag,
            "metadata": one.metadata,
        }
        for one in info.offsets
    ]
