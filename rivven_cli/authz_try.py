"""`rivven authz test` and `rivven authz replay`: rules tried offline, before they bite."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rivven_cli.audit import log_paths, moment_of
from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one, show_rows

if TYPE_CHECKING:
    from rivven.security.authz.cedar.engine import Rules
    from rivven.security.authz.replay import Recorded
    from rivven.security.authz.roles import FileRoles
    from rivven.security.authz.trial import Candidate
    from rivven.types import AclBinding

Command = TypeVar("Command", bound=Callable[..., Any])

_MORE = re.compile(r"and \d+ more")
_TEST_COLUMNS = ("test", "result", "expected", "actual", "reason")
_REPLAY_COLUMNS = (
    "outcome",
    "count",
    "principal",
    "operation",
    "resource",
    "recorded",
    "candidate",
    "reason",
)


def _candidate_options(command: Command) -> Command:
    """The options that say which rules are tried."""
    for option in (
        click.option(
            "--schema",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="FILE",
            help="A schema of your own for the policies.",
        ),
        click.option(
            "--rbac",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="FILE",
            help="A roles file: its roles decide, and policies may name them.",
        ),
        click.option(
            "--acls",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="FILE",
            help="Access rules as `rivven acl list -o json` prints them.",
        ),
        click.option(
            "--roles",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="FILE",
            help="A roles file that only policies look into: roles alone permit nothing.",
        ),
        click.option(
            "--policies",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            metavar="DIR",
            help="A directory of Cedar policies.",
        ),
    ):
        command = option(command)
    return command


@click.command("test")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_candidate_options
@output_option
def test(
    file: Path,
    policies: Path | None,
    rbac: Path | None,
    acls: Path | None,
    roles: Path | None,
    schema: Path | None,
    output: str,
) -> int:
    """Run the tests of policies, roles and access rules in FILE (YAML). Ends with code 1 when one fails.

    A test says principal, action, resource and what is expected: allow or deny. See docs/security.md.
    """
    from rivven.security.authz.policy_tests import TestsRefused, parse_tests, run_tests
    from rivven.security.authz.roles import FileRoles

    candidate = _candidate(policies, rbac, acls, roles, schema, no_roles=FileRoles())
    try:
        tests = parse_tests(file.read_bytes(), str(file))
    except (OSError, TestsRefused) as error:
        raise CommandFailed(str(error), "", Exit.CONFIG) from None
    results = list(run_tests(tests, candidate))
    failed = sum(not result.passed for result in results)
    rows = [
        {
            "test": result.name,
            "result": "passed" if result.passed else "failed",
            "expected": result.expected,
            "actual": result.actual,
            "reason": result.reason,
        }
        for result in results
    ]
    show_rows(output, rows, _TEST_COLUMNS)
    if output == "table":
        click.echo(f"{len(results) - failed} passed, {failed} failed")
    return Exit.FAILED if failed else Exit.OK


@click.command("replay")
@click.option("--since", metavar="TIME", default="7d", show_default=True, help="15m, 7d, or a time in UTC.")
@_candidate_options
@click.option(
    "--audit-log",
    "logs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="An audit log, or a directory with some; ./data/audit/audit.log and its rotated files by default.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Rows shown.")
@output_option
def replay(
    since: str,
    policies: Path | None,
    rbac: Path | None,
    acls: Path | None,
    roles: Path | None,
    schema: Path | None,
    logs: tuple[Path, ...],
    limit: int,
    output: str,
) -> int:
    """Put recorded decisions to other rules: same, changes, or cannot tell and what was not recorded.

    The rules given are the whole candidate. Ends with code 1 unless every decision would be the same.
    """
    from rivven.audit.events import AUTHORIZATION
    from rivven.audit.reading import Wanted, events_of
    from rivven.log.files import OsFiles
    from rivven.security.authz.replay import CANNOT_TELL, CHANGES, SAME, Replay

    run = Replay(_candidate(policies, rbac, acls, roles, schema))
    wanted = Wanted(event_type=AUTHORIZATION, since=moment_of(since, "since"))
    unreadable = 0
    try:
        for event in events_of(OsFiles(), log_paths(logs), wanted):
            if event.get("result") not in ("allowed", "denied"):
                continue
            try:
                run.take(recorded(event))
            except ValueError:
                unreadable += 1
    except OSError as error:
        raise CommandFailed(str(error), "", Exit.STORAGE) from None
    totals = {
        "same": run.totals[SAME],
        "changes": run.totals[CHANGES],
        "cannot_tell": run.totals[CANNOT_TELL],
        "not_understood": unreadable,
        "missing": dict(run.missing.most_common()),
    }
    rows = [
        {
            "outcome": row.outcome,
            "count": count,
            "principal": str(row.principal),
            "operation": row.operation,
            "resource": row.resource,
            "recorded": row.recorded,
            "candidate": row.candidate,
            "reason": row.reason,
        }
        for row, count in run.rows.most_common(limit)
    ]
    if output == "table":
        show_one(output, totals)
        if rows:
            click.echo()
            show_rows(output, rows, _REPLAY_COLUMNS)
    else:
        show_one(output, {**totals, "rows": rows})
    unchanged = not (run.totals[CHANGES] or run.totals[CANNOT_TELL] or unreadable)
    return Exit.OK if unchanged else Exit.FAILED


def recorded(event: Mapping[str, Any]) -> Recorded:
    """The decision an audit event tells of. Raises ValueError for another event."""
    from rivven.audit.events import operation_of
    from rivven.security.authz.authorizer import Action
    from rivven.security.authz.cedar.engine import HOUR_MS, time_of
    from rivven.security.authz.replay import Recorded
    from rivven.security.authz.trial import Question
    from rivven.types import Principal

    details = event.get("details")
    details = details if isinstance(details, dict) else {}
    principal = Principal.parse(str(event.get("principal")))
    operation, resource_type, resource = operation_of(str(event.get("action")), str(event.get("resource")))
    at = datetime.fromisoformat(str(event.get("timestamp"))).astimezone(UTC)
    context = time_of(int(at.timestamp() * 1000) // HOUR_MS) | {
        name: value
        for name, value in (
            ("address", event.get("client_ip")),
            ("listener", event.get("listener")),
            ("mechanism", event.get("mechanism")),
            ("tls", details.get("tls")),
            ("client_id", details.get("client_id")),
        )
        if value is not None
    }
    scope = _texts(details.get("scope"))
    question = Question(
        Principal(principal.kind.capitalize(), principal.name),
        Action(operation, resource_type, resource),
        groups=_texts(details.get("groups")),
        scope=scope,
        # Without a scope the event says null; one that was cut off is not known.
        scope_known=scope is not None or ("scope" in details and details["scope"] is None),
        context=context,
    )
    count = details.get("count")
    count = count if type(count) is int and count > 0 else 1
    return Recorded(question, event.get("result") == "allowed", str(details.get("engine") or ""), count)


def _texts(value: Any) -> tuple[str, ...] | None:
    """A list of texts that is whole, else None."""
    if not isinstance(value, list) or (value and _MORE.fullmatch(value[-1])):
        return None
    return tuple(value)


def _candidate(
    policies: Path | None,
    rbac: Path | None,
    acls: Path | None,
    roles: Path | None,
    schema: Path | None,
    no_roles: FileRoles | None = None,
) -> Candidate:
    """What the options name; `no_roles` stands where no roles file is given (None: roles are not known)."""
    from rivven.security.authz.trial import Candidate

    if policies is None and rbac is None and acls is None:
        raise click.UsageError("Name what is tried: --policies DIR, --rbac FILE, --acls FILE, or several.")
    if rbac is not None and roles is not None:
        raise click.UsageError("--rbac and --roles are two uses of one file: give one of them.")
    file = rbac or roles
    return Candidate(
        None if policies is None else _rules(policies, schema),
        no_roles if file is None else _roles(file),
        decides_by_roles=rbac is not None,
        acls=None if acls is None else _acls(acls),
    )


def _rules(policies: Path, schema: Path | None) -> Rules:
    from rivven.security.authz.cedar.binding import CedarMissing
    from rivven.security.authz.cedar.book import PoliciesRefused
    from rivven.security.authz.cedar.store import read_rules

    try:
        return read_rules(policies, schema)
    except CedarMissing as error:
        raise CommandFailed(str(error), "pip install 'rivven[cedar]'") from None
    except PoliciesRefused as refused:
        raise CommandFailed(str(refused), f"see `rivven policy check {policies}`", Exit.CONFIG) from None


def _roles(path: Path) -> FileRoles:
    from rivven.security.authz.roles_file import RolesFileProblem, parse_roles

    try:
        return parse_roles(path.read_bytes(), str(path))
    except (OSError, RolesFileProblem) as error:
        raise CommandFailed(str(error), "", Exit.CONFIG) from None


def _acls(path: Path) -> tuple[AclBinding, ...]:
    from rivven.security.authz.acl_file import AclFileProblem, parse_rules

    try:
        return parse_rules(path.read_bytes(), str(path))
    except (OSError, AclFileProblem) as error:
        raise CommandFailed(str(error), "", Exit.CONFIG) from None
