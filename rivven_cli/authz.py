"""`rivven authz`: explain, who-can, show - why somebody may or may not do something, over the Admin API.

`test` and `replay`, which need no broker, are in `authz_try`.
"""

from __future__ import annotations

from typing import Any

import click

from rivven_cli.authz_try import replay, test
from rivven_cli.output import output_option, show_one, show_rows, visible
from rivven_cli.session import Session, pass_session


@click.group()
def authz() -> None:
    """Explain decisions: why, who, and what somebody may; try other rules before they bite."""


authz.add_command(test)
authz.add_command(replay)


@authz.command("explain")
@click.option("--principal", metavar="user:NAME", help="About whom; yourself by default.")
@click.option("--action", required=True, metavar="ACTION", help="produce, consume, ... or Kafka's operation.")
@click.option("--resource", required=True, metavar="TYPE:NAME", help="topic:NAME, group:NAME, cluster, ...")
@click.option("--from-address", metavar="IP", help="Where the request would come from.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="A group from elsewhere; repeatable.")
@click.option("--listener", metavar="NAME", help="Where it would arrive, for policies.")
@click.option("--mechanism", metavar="NAME", help="How it logged in, for policies.")
@click.option("--client-id", metavar="ID", help="What the client says of itself, for policies.")
@output_option
@pass_session
def explain(
    session: Session,
    principal: str | None,
    action: str,
    resource: str,
    from_address: str | None,
    groups: tuple[str, ...],
    listener: str | None,
    mechanism: str | None,
    client_id: str | None,
    output: str,
) -> None:
    """Show the decision, every engine's verdict, and what would change it."""
    from rivven_client.admin import path

    query: list[tuple[str, str]] = [("action", action), ("resource", resource)]
    query += [("groups", group) for group in groups]
    given = {
        "principal": principal,
        "address": from_address,
        "listener": listener,
        "mechanism": mechanism,
        "client_id": client_id,
    }
    query += [(name, value) for name, value in given.items() if value is not None]
    answer = session.admin.get(path("authz", "explain"), query)
    if output == "table":
        _print_explanation(answer)
    else:
        show_one(output, answer)


@authz.command("who-can")
@click.argument("action")
@click.argument("resource", metavar="TYPE:NAME")
@click.option("--from-address", metavar="IP", help="Where the request would come from.")
@output_option
@pass_session
def who_can(session: Session, action: str, resource: str, from_address: str | None, output: str) -> None:
    """List the users and groups that may: rivven authz who-can produce topic:orders."""
    from rivven_client.admin import path

    query = {"action": action, "resource": resource}
    if from_address is not None:
        query["address"] = from_address
    answer = session.admin.get(path("authz", "who-can"), query)
    if output == "table":
        show_rows(output, answer["holders"], ("principal", "decided_by", "rule"))
        if not answer["complete"]:
            click.echo("There are more users than were looked at.", err=True)
    else:
        show_one(output, answer)


@authz.command("show")
@click.argument("principal", metavar="user:NAME|group:NAME", required=False)
@output_option
@pass_session
def show(session: Session, principal: str | None, output: str) -> None:
    """List what rules, roles and policies say about somebody; yourself by default."""
    from rivven_client.admin import path

    query = {} if principal is None else {"principal": principal}
    answer = session.admin.get(path("authz", "permissions"), query)
    if output != "table":
        show_one(output, answer)
        return
    facts = {name: answer[name] for name in ("principal", "groups", "roles", "scope")}
    show_one(output, {name: value for name, value in facts.items() if value is not None})
    show_rows(output, answer["effects"], ("effect", "operation", "resource", "host", "via"))
    if answer["not_listed"]:
        asked = ", ".join(answer["not_listed"])
        click.echo(f"{asked} decides too and can only be asked: see `rivven authz explain`.", err=True)


def _print_explanation(answer: dict[str, Any]) -> None:
    decision = "ALLOWED" if answer["allowed"] else "DENIED"
    question = f"{answer['principal']} {answer['action']} {answer['resource']} from {answer['address']}"
    click.echo(visible(f"{decision}: {question}"))
    for name in ("groups", "roles", "scope"):
        if answer[name]:
            click.echo(visible(f"  {name}: {', '.join(answer[name])}"))
    for one in answer["operations"]:
        word = "allowed" if one["allowed"] else "denied"
        click.echo(visible(f"  {one['operation']}: {word}: {one['reason']}"))
        for verdict in one["verdicts"]:
            click.echo(visible(f"    {verdict['engine']}: {verdict['verdict']}: {verdict['reason']}"))
        for denial in one["denials"]:
            click.echo(visible(f"    in the way: {denial['engine']}: {denial['reason']}"))
        for remedy in one["remedies"]:
            click.echo(visible(f"    would allow it: {remedy['command']}"))
