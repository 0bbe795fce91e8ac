"""`rivven audit`: verify, tail, search, export - files of the audit trail, or a broker's newest events."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rivven_cli.audit_follow import following, remote_events
from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one, show_rows, visible
from rivven_cli.session import Session, pass_session

if TYPE_CHECKING:
    from rivven.audit.reading import Wanted

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_LOG = Path("data/audit/audit.log")
_COLUMNS = ("timestamp", "event_type", "principal", "action", "resource", "result", "client_ip", "reason")
_FULL = re.compile(r".+\.\d{20}")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_remote = click.option("--remote", is_flag=True, help="Ask the running broker instead of reading files.")
_files = click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))


def _filters(command: Command) -> Command:
    """The options that choose events; texts may use * and ?."""
    for option in (
        click.option("--until", metavar="TIME", help="Before this time or this long ago."),
        click.option("--since", metavar="TIME", help="From this time on, or since 15m, 7d ...; UTC."),
        click.option(
            "--result", metavar="RESULT", help="allowed, denied, success, failure, intent, unknown."
        ),
        click.option("--resource", metavar="TYPE:NAME", help="topic:orders-*, user:alice ..."),
        click.option("--action", metavar="ACTION", help="produce, consume, create, login ..."),
        click.option("--principal", metavar="user:NAME", help="Who did it."),
        click.option("--type", "event_type", metavar="TYPE", help="authentication, acl_change ..."),
    ):
        command = option(command)
    return command


@click.group()
def audit() -> None:
    """Verify, follow, search and export audit logs.

    FILES are audit logs, with the files that were rotated out of them, or directories with an audit.log;
    without any, ./data/audit/audit.log.
    """


@audit.command("verify")
@_files
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="HASH|FILE",
    help="A line's hash kept elsewhere, or a file with such hashes: it must be in the chain. Repeatable.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The public key (PEM); by default signing.pub beside the log. Better: a copy from elsewhere.",
)
@output_option
def verify(files: tuple[Path, ...], heads: tuple[str, ...], key: Path | None, output: str) -> int:
    """Check the chain: every edited, removed, added or moved line is found, with its file and line.

    Ends with code 7 when something is wrong. What was cut off at the end, and a whole chain written anew, is
    only found with --head, or by the signatures while the signing key is safe.
    """
    from rivven.audit.verify import Verifier
    from rivven.log.files import OsFiles

    paths = log_paths(files)
    key = key or next((path for path in [Path(paths[0]).parent / "signing.pub"] if path.exists()), None)
    try:
        public = key.read_bytes() if key is not None else None
        report = Verifier(OsFiles(), public, [h for head in heads for h in _heads(head)]).verify(paths)
    except (OSError, ValueError) as error:
        raise CommandFailed(str(error), "", Exit.STORAGE) from None
    facts = {
        "intact": report.intact,
        "files": report.files,
        "lines": report.lines,
        "first_sequence": report.first_sequence,
        "next_sequence": report.head.next_sequence,
        "head": report.head.hash,
        "key": str(key) if key is not None else None,
        "checkpoints": report.checkpoints,
        "unsigned_lines": max(0, report.head.next_sequence - report.signed_below) if key else report.lines,
        "recoveries": report.recovered,
        "dropped_events": report.dropped_events,
    }
    findings = [{"file": f.file, "line": f.line, "reason": f.reason} for f in report.findings]
    if output == "table":
        show_one(output, facts)
        if findings:
            click.echo()
            show_rows(output, findings, ("file", "line", "reason"))
    else:
        show_one(output, {**facts, "findings": findings})
    return Exit.OK if report.intact else Exit.STORAGE


@audit.command("tail")
@_files
@click.option("-n", "--lines", type=click.IntRange(0, 100_000), default=20, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written.")
@_remote
@_filters
@output_option
@pass_session
def tail(
    session: Session,
    /,
    files: tuple[Path, ...],
    lines: int,
    follow: bool,
    remote: bool,
    output: str,
    **filters: str | None,
) -> None:
    """Show the last events."""
    if remote:
        _no_files(files)
        for event in remote_events(session.admin, _conditions(filters), lines, follow=follow):
            _show(output, event)
        return
    from rivven.audit.reading import events_of
    from rivven.log.files import OsFiles

    wanted = _wanted(filters)
    paths = log_paths(files)
    newest, found = -1, deque[dict[str, Any]](maxlen=lines)
    for event in events_of(OsFiles(), paths):
        newest = int(event.get("sequence", newest))
        if wanted.matches(event):
            found.append(event)
    for event in found:
        _show(output, event)
    if follow:
        for event in following(Path(paths[-1]), newest):
            if wanted.matches(event):
                _show(output, event)


@audit.command("search")
@_files
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Events shown.")
@_remote
@_filters
@output_option
@pass_session
def search(
    session: Session,
    /,
    files: tuple[Path, ...],
    limit: int,
    remote: bool,
    output: str,
    **filters: str | None,
) -> None:
    """Show events by who, what, on what, with what result, and when.

    With --remote the newest ones that the broker finds in the newest part of its log.
    """
    if remote:
        _no_files(files)
        for event in remote_events(session.admin, _conditions(filters), limit):
            _show(output, event)
        return
    from rivven.audit.reading import events_of
    from rivven.log.files import OsFiles

    for number, event in enumerate(events_of(OsFiles(), log_paths(files), _wanted(filters)), 1):
        _show(output, event)
        if number >= limit:
            click.echo(f"rivven: only the first {limit} are shown; see --limit", err=True)
            return


@audit.command("export")
@_files
@click.option(
    "--format", "language", type=click.Choice(["json", "csv", "ocsf"]), default="json", show_default=True
)
@_filters
def export(files: tuple[Path, ...], language: str, **filters: str | None) -> None:
    """Write events as JSON lines, CSV, or JSON lines in OCSF 1.5."""
    from rivven.audit.export import csv_header, to_csv, to_ocsf
    from rivven.audit.reading import events_of
    from rivven.log.files import OsFiles

    if language == "csv":
        click.echo(csv_header())
    for event in events_of(OsFiles(), log_paths(files), _wanted(filters)):
        if language == "csv":
            click.echo(to_csv(event))
        else:
            click.echo(json.dumps(to_ocsf(event) if language == "ocsf" else event, separators=(",", ":")))


def log_paths(given: tuple[Path, ...]) -> list[str]:
    """Log files, oldest first; a directory stands for the audit.log in it, a log for its full files too."""
    from rivven.audit.verify import chain_files
    from rivven.log.files import OsFiles

    paths: dict[str, None] = {}
    for path in given or (DEFAULT_LOG,):
        current = path / DEFAULT_LOG.name if path.is_dir() else path
        if not current.exists():
            hint = "name the audit log, or ask a running broker with --remote"
            raise CommandFailed(f"there is no {current}", hint, Exit.NOT_FOUND)
        paths |= dict.fromkeys(
            [str(current)] if _FULL.fullmatch(current.name) else chain_files(OsFiles(), str(current))
        )
    return list(paths)


def _heads(text: str) -> list[str]:
    """Hashes: one, or those in a file."""
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return [text]
    try:
        found = re.findall(r"\b[0-9a-f]{64}\b", Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailed(
            f"--head {text}: {error.strerror}", "a hash of 64 hex digits, or a file"
        ) from None
    if not found:
        raise CommandFailed(f"--head {text}: there is no hash in it", "64 hex digits, lower case")
    return found


def _wanted(filters: dict[str, str | None]) -> Wanted:
    from rivven.audit.reading import Wanted

    conditions: dict[str, Any] = _conditions(filters)
    return Wanted(**conditions)


def _conditions(filters: dict[str, str | None]) -> dict[str, str]:
    given = {name: value for name, value in filters.items() if value}
    for name in ("since", "until"):
        if name in given:
            given[name] = moment_of(given[name], name)
    return given


def _no_files(files: tuple[Path, ...]) -> None:
    if files:
        raise click.UsageError("--remote asks the broker; FILES are read without it.")


def moment_of(text: str, option: str) -> str:
    """A timestamp as the lines spell it, from one or from a length of time ago."""
    ago = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if ago:
        moment = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    else:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            raise click.UsageError(
                f"--{option} {text}: neither a time nor a length of time like 15m"
            ) from None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _show(output: str, event: dict[str, Any]) -> None:
    """One event at a time: a log holds millions."""
    if output == "json":
        click.echo(json.dumps(event, ensure_ascii=False))
    elif output == "yaml":
        import yaml

        click.echo("---\n" + yaml.safe_dump(event, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo("  ".join(visible(str(event.get(column) or "-")) for column in _COLUMNS))
