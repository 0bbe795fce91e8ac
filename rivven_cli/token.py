"""`rivven auth token`: create, list, revoke, rotate - API tokens, over the Admin API."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import confirm, done, output_option, show_one, show_rows, yes_option
from rivven_cli.session import Session, pass_session

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_COLUMNS = ("id", "name", "owner", "state", "scope", "expires", "last_used", "last_used_from")


@click.group("token")
def token() -> None:
    """Create, list, revoke and rotate API tokens."""


@token.command("create")
@click.option("--name", required=True, help="A label; it identifies nothing.")
@click.option(
    "--ttl", default="90d", show_default=True, metavar="DURATION", help="How long it lives: 12h, 365d."
)
@click.option("--owner", metavar="user:NAME", help="As whom it acts; yourself by default.")
@click.option(
    "--scope",
    "scope",
    multiple=True,
    metavar="ENTRY",
    help="A ceiling: role:NAME or topic:orders-*:produce,describe. Repeatable.",
)
@click.option(
    "--allow-cidr", "cidrs", multiple=True, metavar="RANGE", help="Where it works from. Repeatable."
)
@output_option
@pass_session
def create(
    session: Session,
    name: str,
    ttl: str,
    owner: str | None,
    scope: tuple[str, ...],
    cidrs: tuple[str, ...],
    output: str,
) -> None:
    """Make a token and show its secret, this once."""
    body: dict[str, Any] = {"name": name, "ttl_ms": _duration_ms("--ttl", ttl), "allowed_cidrs": list(cidrs)}
    if owner is not None:
        body["owner"] = _principal(owner)
    if scope:
        body["scope"] = list(scope)
    _show_secret(output, session.admin.post("/v1/tokens", body))


@token.command("list")
@click.option("--owner", metavar="user:NAME", help="Only those of one owner.")
@click.option("--all", "all_", is_flag=True, help="Those that ended in the last week too.")
@output_option
@pass_session
def list_(session: Session, owner: str | None, all_: bool, output: str) -> None:
    """List the tokens you may see."""
    query = {"owner": _principal(owner)} if owner is not None else None
    found = session.admin.listing("/v1/tokens", query)
    rows = [_row(one) for one in found if all_ or one["state"] == "active"]
    show_rows(output, sorted(rows, key=lambda row: (row["owner"], row["name"])), _COLUMNS)


@token.command("revoke")
@click.argument("token_", metavar="NAME_OR_ID")
@yes_option
@output_option
@pass_session
def revoke(session: Session, token_: str, yes: bool, output: str) -> None:
    """End a token for good; its connections are closed."""
    from rivven_client.admin import path

    found = _find(session, token_)
    confirm(f"Revoke token {found['name']} ({found['id']}) of {found['owner']}?", yes)
    session.admin.delete(path("tokens", found["id"]))
    done(output, f"revoked token {found['name']} ({found['id']})", {"revoked": found["id"]})


@token.command("rotate")
@click.argument("token_", metavar="NAME_OR_ID")
@click.option(
    "--overlap", default="0s", show_default=True, metavar="DURATION", help="How long the old secret works on."
)
@output_option
@pass_session
def rotate(session: Session, token_: str, overlap: str, output: str) -> None:
    """Give a token a new secret and show it, this once."""
    from rivven_client.admin import path

    found = _find(session, token_)
    body = {"overlap_ms": _duration_ms("--overlap", overlap)}
    _show_secret(output, session.admin.post(path("tokens", found["id"]) + "/rotate", body))


def _find(session: Session, wanted: str) -> dict[str, Any]:
    """The one active token of this id or name; raises CommandFailed."""
    found = [
        one
        for one in session.admin.listing("/v1/tokens")
        if one["state"] == "active" and wanted in (one["id"], one["name"])
    ]
    by_id = [one for one in found if one["id"] == wanted]
    found = by_id or found
    if not found:
        raise CommandFailed(
            f"there is no active token {wanted!r} that you may see",
            "see `rivven auth token list`",
            Exit.NOT_FOUND,
        )
    if len(found) > 1:
        raise CommandFailed(
            f"{len(found)} tokens are called {wanted!r}: {', '.join(one['id'] for one in found)}",
            "name one by its id",
            Exit.USAGE,
        )
    chosen: dict[str, Any] = found[0]
    return chosen


def _show_secret(output: str, answer: dict[str, Any]) -> None:
    info = answer["info"]
    facts = {
        "id": info["id"],
        "name": info["name"],
        "owner": info["owner"],
        "expires": _time(info["expires_at_ms"]),
        "token": answer["token"],
        "kafka_password": answer["kafka_password"],
    }
    if info["old_secret_until_ms"] is not None:
        facts["old_secret_until"] = _time(info["old_secret_until_ms"])
    show_one(output, facts)
    if output == "table":
        click.echo(
            "The token is shown this once. Use it as a PLAIN password or a bearer token; clients", err=True
        )
        click.echo("that know tokenauth log in by SCRAM with the id and the Kafka password.", err=True)


def _row(info: dict[str, Any]) -> dict[str, Any]:
    return {**info, "expires": _time(info["expires_at_ms"]), "last_used": _time(info["last_used_at_ms"])}


def _time(ms: int | None) -> str | None:
    if ms is None:
        return None
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _principal(text: str) -> str:
    from rivven_cli.actions import parse_principal

    return parse_principal(text)


def _duration_ms(option: str, text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.UsageError(f"{option} is a number with s, m, h or d, such as 12h or 365d, not {text!r}.")
    return int(match[1]) * _UNITS_MS[match[2]]
