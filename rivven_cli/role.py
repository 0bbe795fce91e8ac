"""`rivven role`: create, change, list, describe, delete, grant, revoke - roles, over the Admin API."""

from __future__ import annotations

import click

from rivven_cli.output import confirm, done, output_option, show_one, show_rows, yes_option
from rivven_cli.session import Session, pass_session

_permissions = click.option(
    "--permission",
    "permissions",
    multiple=True,
    metavar="RESOURCE:ACTIONS",
    help="topic:orders-*:produce,describe, cluster:describe, *:list; repeatable.",
)
_description = click.option("--description", default="", metavar="TEXT", help="What the role is for.")


@click.group()
def role() -> None:
    """Create roles, and give them to users and groups. Built-in: admin, producer, consumer, readonly."""


@role.command("create")
@click.argument("name")
@_permissions
@_description
@click.option("--replace", "replace_", is_flag=True, help="Change the role if it exists.")
@output_option
@pass_session
def create(
    session: Session, name: str, permissions: tuple[str, ...], description: str, replace_: bool, output: str
) -> None:
    """Create a role: rivven role create shipping --permission 'topic:orders-*:consume'."""
    from rivven_client.admin import path
    from rivven_client.failures import ClientFailed, FailureKind

    if not permissions:
        raise click.UsageError("Give at least one --permission.")
    body = {"description": description, "permissions": [_permission(text) for text in permissions]}
    try:
        session.admin.post(path("roles"), {"name": name, **body})
    except ClientFailed as failure:
        if not replace_ or failure.kind is not FailureKind.EXISTS:
            raise
        session.admin.put(path("roles", name), body)
        done(output, f"role {name} changed", {"role": name})
        return
    done(output, f"role {name} created", {"role": name})


@role.command("list")
@output_option
@pass_session
def list_(session: Session, output: str) -> None:
    """List roles and where they are defined."""
    from rivven_client.admin import path

    rows = [
        {**one, "permissions": [_text(permission) for permission in one["permissions"]]}
        for one in session.admin.listing(path("roles"))
    ]
    show_rows(output, rows, ("name", "source", "permissions", "description"))


@role.command("describe")
@click.argument("name")
@output_option
@pass_session
def describe(session: Session, name: str, output: str) -> None:
    """Show a role and who has it."""
    from rivven_client.admin import path

    found = session.admin.get(path("roles", name))
    members = [one["member"] for one in session.admin.listing(path("roles", name, "members"))]
    permissions = [_text(permission) for permission in found["permissions"]]
    show_one(output, {**found, "permissions": permissions, "members": members})


@role.command("delete")
@click.argument("name")
@yes_option
@output_option
@pass_session
def delete(session: Session, name: str, yes: bool, output: str) -> None:
    """Delete a role; nobody has it any more."""
    from rivven_client.admin import path

    confirm(f"Delete role {name} and take it from everybody?", yes)
    session.admin.delete(path("roles", name))
    done(output, f"deleted role {name}", {"deleted": name})


@role.command("grant")
@click.argument("name")
@click.argument("members", metavar="user:NAME|group:NAME...", nargs=-1, required=True)
@output_option
@pass_session
def grant(session: Session, name: str, members: tuple[str, ...], output: str) -> None:
    """Give users and groups a role."""
    from rivven_client.admin import path

    changed = session.admin.post(path("roles", name, "members"), {"members": list(members)})["changed"]
    done(output, f"granted {name} to {', '.join(changed) or 'nobody new'}", {"granted": changed})


@role.command("revoke")
@click.argument("name")
@click.argument("members", metavar="user:NAME|group:NAME...", nargs=-1, required=True)
@output_option
@pass_session
def revoke(session: Session, name: str, members: tuple[str, ...], output: str) -> None:
    """Take a role from users and groups. Their connections stay; their next request is decided anew."""
    from rivven_client.admin import path

    changed = [
        one
        for member in members
        for one in session.admin.delete(path("roles", name, "members", member))["changed"]
    ]
    done(output, f"revoked {name} from {', '.join(changed)}", {"revoked": changed})


def _permission(text: str) -> dict[str, object]:
    resource, colon, actions = text.rpartition(":")
    if not colon or not resource or not actions:
        raise click.UsageError(f"A permission is written RESOURCE:ACTION,ACTION, not {text!r}.")
    return {"resource": resource, "actions": actions.split(",")}


def _text(permission: dict[str, object]) -> str:
    actions = permission["actions"]
    assert isinstance(actions, list)
    return f"{permission['resource']}:{','.join(actions)}"
