"""`rivven policy`: check, schema - policies in files, offline; list - those a broker decides by."""

from __future__ import annotations

from pathlib import Path

import click

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one, show_rows
from rivven_cli.session import Session, pass_session

_COLUMNS = ("level", "id", "file", "line", "reason")


@click.group()
def policy() -> None:
    """Check Cedar policies, and show those in force."""


@policy.command("check")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--schema",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A schema of your own instead of the shipped one (authorization.cedar.schema_path).",
)
@click.option(
    "--rbac",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A roles file: warns about roles that neither it nor the broker defines.",
)
@output_option
def check(directory: Path, schema: Path | None, rbac: Path | None, output: str) -> int:
    """Read, validate and lint the *.cedar files of DIRECTORY as a broker would.

    Ends with code 1 when a broker would refuse them. Warnings are shown and refuse nothing.
    """
    from rivven.security.authz.cedar.binding import CedarMissing
    from rivven.security.authz.cedar.book import PoliciesRefused
    from rivven.security.authz.cedar.linter import lint
    from rivven.security.authz.cedar.policies import load_policies, load_schema

    known = None if rbac is None else {"Role": _roles(rbac)}
    try:
        book = load_policies(directory, load_schema(schema))
    except CedarMissing as error:
        raise CommandFailed(str(error), "pip install 'rivven[cedar]'") from None
    except PoliciesRefused as refused:
        rows = [
            {"level": "error", "id": one.id or None, "file": one.file, "line": one.line, "reason": one.reason}
            for one in refused.problems
        ]
    else:
        rows = [
            {
                "level": finding.level,
                "id": finding.policy.id,
                "file": finding.policy.file,
                "line": finding.policy.line,
                "reason": finding.reason,
            }
            for finding in lint(book.policies.values(), known)
        ]
        if not rows:
            facts = {"policies": len(book.policies), "findings": 0}
            show_one(output, facts) if output == "table" else show_rows(output, [], _COLUMNS)
            return Exit.OK
    show_rows(output, rows, _COLUMNS)
    return Exit.FAILED if any(row["level"] == "error" for row in rows) else Exit.OK


@policy.command("schema")
@output_option
def schema(output: str) -> None:
    """Print the schema policies are validated against."""
    from rivven.security.authz.cedar.vocabulary import schema_text

    if output == "table":
        click.echo(schema_text(), nl=False)
    else:
        show_one(output, {"schema": schema_text()})


@policy.command("list")
@output_option
@pass_session
def list_(session: Session, output: str) -> None:
    """List the policies in force, with where each is written (needs Describe on the cluster)."""
    rows = list(session.admin.listing("/v1/policies"))
    show_rows(output, rows, ("id", "effect", "file", "line"))


def _roles(path: Path) -> frozenset[str]:
    from rivven.actions import BUILT_IN_ROLES
    from rivven.security.authz.roles_file import RolesFileProblem, parse_roles

    try:
        return frozenset(role.name for role in parse_roles(path.read_bytes(), str(path)).roles) | set(
            BUILT_IN_ROLES
        )
    except (OSError, RolesFileProblem) as error:
        raise CommandFailed(str(error), "", Exit.CONFIG) from None
