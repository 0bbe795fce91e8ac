"""`rivven quota`: set, list, remove - how much users, clients, addresses and topics may use."""

from __future__ import annotations

from typing import Any

import click

from rivven_cli.output import done, output_option, show_rows
from rivven_cli.session import Session, pass_session

DEFAULT = "<default>"
"""As a name: everyone of the type who has no quota of its own."""

_ENTITY = (
    click.option("--user", metavar="NAME", help="A user; <default> is every user without its own."),
    click.option("--client-id", metavar="NAME", help="A client id; may go with --user."),
    click.option("--ip", metavar="ADDRESS", help="An address (for connection_creation_rate)."),
    click.option("--topic", metavar="NAME", help="A topic (for the byte rates)."),
)


def entity_options(command: Any) -> Any:
    """The options that name whom a quota is for."""
    for option in reversed(_ENTITY):
        command = option(command)
    return command


@click.group()
def quota() -> None:
    """Set, list and remove quotas. Whoever is above one is throttled, never refused."""


@quota.command("set")
@entity_options
@click.argument("values", metavar="QUOTA=NUMBER...", nargs=-1, required=True)
@output_option
@pass_session
def set_(session: Session, /, values: tuple[str, ...], output: str, **entity: str | None) -> None:
    """Set quotas: producer_byte_rate, consumer_byte_rate, request_percentage, controller_mutation_rate,
    connection_creation_rate."""
    _alter(session, _named(entity), dict(_value(text) for text in values), "set", output)


@quota.command("remove")
@entity_options
@click.argument("names", metavar="QUOTA...", nargs=-1, required=True)
@output_option
@pass_session
def remove(session: Session, /, names: tuple[str, ...], output: str, **entity: str | None) -> None:
    """Remove quotas."""
    _alter(session, _named(entity), dict.fromkeys(names), "removed", output)


@quota.command("list")
@output_option
@pass_session
def list_(session: Session, output: str) -> None:
    """List every quota."""
    from rivven_client.admin import path

    rows = [
        {"entity": one["key"], "quota": name, "value": value}
        for one in session.admin.listing(path("quotas"))
        for name, value in one["values"].items()
    ]
    show_rows(output, rows, ("entity", "quota", "value"))


def _alter(
    session: Session, entity: dict[str, str | None], values: dict[str, float | None], verb: str, output: str
) -> None:
    from rivven_client.admin import path

    answer = session.admin.post(path("quotas"), {"entity": entity, "values": values})
    done(output, f"{', '.join(values)} {verb} for {answer['key']}", answer)


def _named(options: dict[str, str | None]) -> dict[str, str | None]:
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    if not given:
        raise click.UsageError("Say whom: --user, --client-id, --ip or --topic.")
    return {name: None if value == DEFAULT else value for name, value in given.items()}


def _value(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise click.UsageError(f"A quota is written NAME=NUMBER, not {text!r}.") from None
