"""`rivven consume`: records as text lines, JSON lines or YAML documents."""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from rivven_cli.output import output_option, visible
from rivven_cli.pairs import point_in_time
from rivven_cli.session import Session, pass_session

if TYPE_CHECKING:
    from rivven_client.consuming import Received, Start


@click.command()
@click.argument("topics", nargs=-1, required=True)
@click.option("--from-beginning", is_flag=True, help="Start at the oldest record.")
@click.option("--offset", type=click.IntRange(0), help="Start at this offset of every partition.")
@click.option(
    "--since", metavar="TIME", help="Start at a time: 15m (ago), 2026-01-31T12:00:00Z or milliseconds."
)
@click.option("--group", metavar="NAME", help="Read as a member of this group, and commit what was shown.")
@click.option("--partition", type=click.IntRange(0), help="Read only this partition.")
@click.option("--count", type=click.IntRange(1), help="End after this many records.")
@click.option("--exit-at-end", is_flag=True, help="End at the records that exist now.")
@click.option("--follow", is_flag=True, help="Wait for new records (the default without --exit-at-end).")
@click.option("--keys", is_flag=True, help="Show keys.")
@click.option("--headers", is_flag=True, help="Show headers.")
@output_option
@pass_session
def consume(
    session: Session,
    topics: tuple[str, ...],
    from_beginning: bool,
    offset: int | None,
    since: str | None,
    group: str | None,
    partition: int | None,
    count: int | None,
    exit_at_end: bool,
    follow: bool,
    keys: bool,
    headers: bool,
    output: str,
) -> None:
    """Show the records of TOPICS: from now on, unless told where to start."""
    if sum((from_beginning, offset is not None, since is not None)) > 1:
        raise click.UsageError("--from-beginning, --offset and --since exclude each other.")
    if follow and exit_at_end:
        raise click.UsageError("--follow and --exit-at-end exclude each other.")
    if group is not None and (partition is not None or offset is not None or since is not None):
        raise click.UsageError(
            "--group reads from its committed offsets: no --partition, --offset or --since."
        )
    start = _start(from_beginning, offset, since)
    from rivven_client.consuming import RecordReader

    reader = RecordReader(
        session.connection, topics, start=start, group=group, partition=partition, to_the_end=exit_at_end
    )
    shown = 0
    try:
        for record in reader:
            _show(record, output, keys, headers)
            shown += 1
            if count is not None and shown >= count:
                break
    finally:
        reader.close()


def _start(from_beginning: bool, offset: int | None, since: str | None) -> Start:
    from rivven_client.consuming import Start

    if from_beginning:
        return Start("earliest")
    if offset is not None:
        return Start("offset", offset)
    if since is not None:
        return Start("time", point_in_time(since, time.time_ns() // 1_000_000))
    return Start("latest")


def _show(record: Received, output: str, keys: bool, headers: bool) -> None:
    if output == "json":
        click.echo(json.dumps(_facts(record), ensure_ascii=False))
    elif output == "yaml":
        import yaml

        click.echo("---\n" + yaml.safe_dump(_facts(record), sort_keys=False, allow_unicode=True), nl=False)
    else:
        _write_line(record, keys, headers)
    sys.stdout.flush()  # each record is there when it is there, also in a pipe


def _write_line(record: Received, keys: bool, headers: bool) -> None:
    parts = []
    if headers:
        parts.append(",".join(f"{name}={_text(value)}" for name, value in record.headers).encode())
    if keys:
        parts.append(record.key if record.key is not None else b"null")
    parts.append(record.value if record.value is not None else b"null")
    line = b"\t".join(parts)
    if sys.stdout.isatty():  # bytes of strangers must not drive a terminal
        line = visible(line.decode(errors="backslashreplace")).encode()
    sys.stdout.flush()  # what was written as text comes first
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _facts(record: Received) -> dict[str, Any]:
    """Everything about a record; bytes that are not UTF-8 stand as base64 under NAME_base64."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        **_named("key", record.key),
        **_named("value", record.value),
        "headers": [{"name": name, **_named("value", value)} for name, value in record.headers],
    }


def _named(name: str, value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def _text(value: bytes | None) -> str:
    return "null" if value is None else value.decode(errors="backslashreplace")
