"""`rivven session`: list, kill - who is connected to a running broker."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import confirm, done, output_option, show_rows, yes_option
from rivven_cli.session import Session, pass_session


@click.group()
def session() -> None:
    """List and end the sessions of clients."""


@session.command("list")
@click.option("--principal", metavar="NAME", help="Only sessions of user:NAME.")
@output_option
@pass_session
def list_(session: Session, principal: str | None, output: str) -> None:
    """List who is connected, how they authenticated and until when."""
    from rivven_client.admin import path

    wanted = None if principal is None else _principal(principal)
    rows = [
        {**one, "connected": _time(one["connected_at_ms"]), "expires": _time(one["expires_at_ms"])}
        for one in session.admin.listing(path("sessions"))
        if wanted is None or one["principal"] == wanted
    ]
    columns = ("id", "principal", "mechanism", "listener", "address", "client_id", "connected", "expires")
    show_rows(output, sorted(rows, key=lambda row: int(row["id"])), columns)


@session.command("kill")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--principal", metavar="NAME", help="Every session of user:NAME.")
@yes_option
@output_option
@pass_session
def kill(session: Session, ids: tuple[str, ...], principal: str | None, yes: bool, output: str) -> None:
    """End sessions; answers in flight leave first. The client may connect again: to keep it out, disable the
    user or revoke its token or certificate."""
    from rivven_client.admin import path
    from rivven_client.failures import ClientFailed, FailureKind

    if bool(ids) == (principal is not None):
        raise click.UsageError("Give session ids or --principal.")
    chosen = list(ids)
    if principal is not None:
        name = _principal(principal)
        chosen = [one["id"] for one in session.admin.listing(path("sessions")) if one["principal"] == name]
        if not chosen:
            raise CommandFailed(f"{name} has no session", "", Exit.NOT_FOUND)
    confirm(f"End {len(chosen)} session{'s' if len(chosen) != 1 else ''}?", yes)
    for one in chosen:
        try:
            session.admin.delete(path("sessions", one))
        except ClientFailed as failure:
            # Of several sessions some may have ended by themselves meanwhile: that was the aim.
            if failure.kind is not FailureKind.NOT_FOUND or principal is None:
                raise
    done(output, f"{len(chosen)} sessions ended", {"ended": chosen})


def _principal(text: str) -> str:
    """``user:x``, ``User:x`` or ``x`` as the broker writes it."""
    kind, colon, name = text.partition(":")
    return f"User:{name}" if colon and kind.lower() == "user" else f"User:{text}"


def _time(milliseconds: Any) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
