"""`rivven acl`: add, list, remove - access rules in the words of actions.py."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from rivven_cli.actions import OPERATIONS, operations_for, parse_principal, parse_resource
from rivven_cli.output import confirm, output_option, show_rows, yes_option
from rivven_cli.session import Session, pass_session

if TYPE_CHECKING:
    from rivven_client.security import Rule

_COLUMNS = ("principal", "permission", "operation", "resource_type", "resource", "pattern", "host")

_principal = click.option(
    "--principal",
    metavar="user:NAME|group:NAME|role:NAME",
    help="Whom the rule is about; user:* is everybody.",
)
_resource = click.option(
    "--resource",
    metavar="TYPE:NAME",
    help="topic:NAME, group:NAME, transactional-id:NAME, cluster; NAME* is a prefix.",
)
_action = click.option(
    "--action", "actions", multiple=True, metavar="ACTION", help=", ".join(OPERATIONS) + "; repeatable."
)
_allow = click.option("--allow/--deny", "allow", default=None, help="Whether the rule grants or refuses.")
_pattern = click.option(
    "--pattern", type=click.Choice(["literal", "prefixed"]), help="How NAME is read, if not by its *."
)


@click.group()
def acl() -> None:
    """Add, list and remove access rules. Whatever no rule allows is refused; a deny wins over every allow."""


@acl.command("add")
@_principal
@_resource
@_action
@_allow
@_pattern
@click.option("--host", default="*", show_default=True, help="Only from this address.")
@output_option
@pass_session
def add(
    session: Session,
    principal: str | None,
    resource: str | None,
    actions: tuple[str, ...],
    allow: bool | None,
    pattern: str | None,
    host: str,
    output: str,
) -> None:
    """Add rules: --principal user:alice --resource topic:orders --action produce --allow."""
    if principal is None or resource is None or not actions:
        raise click.UsageError("--principal, --resource and --action are needed.")
    if allow is None:
        raise click.UsageError("Say --allow or --deny.")
    rules = _rules(parse_principal(principal), resource, actions, allow, pattern, host)
    from rivven_client.security import create_rules

    create_rules(session.connection, rules)
    for rule in {rule.resource: rule for rule in rules}.values():
        if rule.resource_type == "topic" and "*" in rule.resource and rule.resource != "*":
            click.echo(f"warning: no topic can be called {rule.resource!r}: the rule never matches", err=True)
    show_rows(output, [asdict(rule) for rule in rules], _COLUMNS)


@acl.command("list")
@_principal
@_resource
@click.option("--all-matching", is_flag=True, help="Also prefixes and wildcards that apply to --resource.")
@output_option
@pass_session
def list_(
    session: Session, principal: str | None, resource: str | None, all_matching: bool, output: str
) -> None:
    """List rules."""
    from rivven_client.security import list_rules

    if all_matching and resource is None:
        raise click.UsageError("--all-matching needs --resource.")
    filters = _filters(principal, resource, None)
    if all_matching:
        filters = [{**one, "pattern": "match"} for one in filters]
    show_rows(output, [asdict(rule) for rule in list_rules(session.connection, filters)], _COLUMNS)


@acl.command("remove")
@_principal
@_resource
@_action
@_allow
@_pattern
@yes_option
@output_option
@pass_session
def remove(
    session: Session,
    principal: str | None,
    resource: str | None,
    actions: tuple[str, ...],
    allow: bool | None,
    pattern: str | None,
    yes: bool,
    output: str,
) -> None:
    """Remove every rule that matches all that is given; shows the rules first."""
    if principal is None and resource is None:
        raise click.UsageError("Give --principal or --resource, so that not every rule is removed.")
    from rivven_client.security import delete_rules, list_rules

    filters = _filters(principal, resource, pattern)
    if allow is not None:
        filters = [{**one, "permission": "allow" if allow else "deny"} for one in filters]
    if actions:
        filters = [{**one, "operation": name} for one in filters for name in _operation_names(actions, one)]
    found = list_rules(session.connection, filters)
    rows = [asdict(rule) for rule in found]
    if not found:
        show_rows(output, rows, _COLUMNS)
        return
    if not yes:
        show_rows("table", rows, _COLUMNS)
    confirm(f"Remove {len(found)} rules?", yes)
    # Exactly what was shown: a rule added meanwhile was not agreed to.
    removed = delete_rules(session.connection, [asdict(rule) for rule in found])
    if output != "table" or yes:
        show_rows(output, [asdict(rule) for rule in removed], _COLUMNS)


def _rules(
    principal: str, resource: str, actions: tuple[str, ...], allow: bool, pattern: str | None, host: str
) -> list[Rule]:
    from rivven_client.security import Rule

    resources = parse_resource(resource, pattern)
    permission = "allow" if allow else "deny"
    rules: dict[Rule, None] = {}
    for action in actions:
        for kind, name, how in resources:
            if len(resources) > 1 and kind not in OPERATIONS.get(action, {kind: ()}):
                continue  # "everything" means everything the action is for
            blank = Rule(principal, host, kind, name, how, "", permission)
            rules.update((replace(blank, operation=one), None) for one in operations_for(action, kind))
    return list(rules)


def _filters(principal: str | None, resource: str | None, pattern: str | None) -> list[dict[str, str]]:
    one: dict[str, str] = {} if principal is None else {"principal": parse_principal(principal)}
    if resource is None:
        return [one]
    return [
        {**one, "resource_type": kind, "resource": name, "pattern": how}
        for kind, name, how in parse_resource(resource, pattern)
    ]


def _operation_names(actions: tuple[str, ...], filters: dict[str, str]) -> list[str]:
    kind = filters.get("resource_type")
    names: dict[str, None] = {}
    for action in actions:
        if action not in OPERATIONS:
            operations_for(action, "topic")  # raises with the list of actions
        kinds = [kind] if kind is not None else list(OPERATIONS[action])
        for one in kinds:
            names.update(dict.fromkeys(operations_for(action, one)))
    return list(names)
