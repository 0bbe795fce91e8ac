"""`rivven user`: users of a running broker. Passwords go over Kafka's API, all else over the Admin API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rivven_cli.exits import CommandFailed, Exit, from_client
from rivven_cli.output import confirm, done, output_option, show_one, show_rows, yes_option
from rivven_cli.passwords import generated_password, password_file_option, typed_password
from rivven_cli.session import Session, pass_session
from rivven_client.failures import ClientFailed

MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
TYPED_ITERATIONS = 600_000  # people choose guessable passwords; clients pay 0.6 s at every connection
GENERATED_ITERATIONS = 8_192  # 256 random bits need no slow hash, and clients pay for it at every connection

generate_option = click.option("--generate", is_flag=True, help="Make a random password and show it once.")
mechanism_option = click.option(
    "--mechanism",
    "mechanisms",
    multiple=True,
    type=click.Choice(MECHANISMS, case_sensitive=False),
    help="Repeatable; both by default.",
)
iterations_option = click.option(
    "--iterations",
    type=click.IntRange(4096, 1_000_000),
    help="Hash rounds: 600000 for a typed password, 8192 for a random one.",
)


@click.group()
def user() -> None:
    """Create, change, list and delete users."""


@user.command("create")
@click.argument("name")
@password_file_option
@generate_option
@mechanism_option
@iterations_option
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="Add the user to it. Repeatable.")
@click.option("--replace", "replace_", is_flag=True, help="Give an existing user a new password.")
@output_option
@pass_session
def create(
    session: Session,
    name: str,
    password_file: Path | None,
    generate: bool,
    mechanisms: tuple[str, ...],
    iterations: int | None,
    groups: tuple[str, ...],
    replace_: bool,
    output: str,
) -> None:
    """Create a user. A new user may do nothing until `rivven acl add` or a role says so."""
    password = _password(password_file, generate)
    if not replace_ and _exists(session, name):
        raise CommandFailed(
            f"user {name} exists already", "add --replace to give it a new password", Exit.EXISTS
        )
    if groups:
        _check_admin_api(session)
    facts = _put(session, name, password, generate, mechanisms, iterations)
    try:
        if groups:
            facts["groups"] = _alter(session, name, {"add_groups": list(groups)})["groups"]
    except ClientFailed as failure:
        # The user is there and its password is said only now.
        _tell(output, f"user {name} created, in no group", facts)
        added = " ".join(f"--add {group}" for group in groups)
        raise CommandFailed(
            f"the groups of user {name} are not set: {failure.reason}",
            f"rivven user groups {name} {added}",
            from_client(failure).code,
        ) from None
    _tell(output, f"user {name} created", facts)


@user.command("passwd")
@click.argument("name")
@password_file_option
@generate_option
@mechanism_option
@iterations_option
@output_option
@pass_session
def passwd(
    session: Session,
    name: str,
    password_file: Path | None,
    generate: bool,
    mechanisms: tuple[str, ...],
    iterations: int | None,
    output: str,
) -> None:
    """Give a user a new password; its sessions end."""
    password = _password(password_file, generate)
    if not _exists(session, name):
        raise CommandFailed(f"there is no user {name}", "see `rivven user list`", Exit.NOT_FOUND)
    facts = _put(session, name, password, generate, mechanisms, iterations)
    _tell(output, f"password of user {name} changed", facts)


@user.command("list")
@output_option
@pass_session
def list_(session: Session, output: str) -> None:
    """List users and the mechanisms they can log in with."""
    from rivven_client.security import list_users

    rows = [
        {
            "user": one.user,
            "mechanisms": [name for name, _ in one.mechanisms],
            "iterations": dict(one.mechanisms),
        }
        for one in list_users(session.connection)
    ]
    show_rows(output, rows, ("user", "mechanisms"))


@user.command("show")
@click.argument("name")
@output_option
@pass_session
def show(session: Session, name: str, output: str) -> None:
    """Show a user: enabled or not, groups, roles of the users file, mechanisms."""
    from rivven_client.admin import path

    show_one(output, session.admin.get(path("users", name)))


@user.command("enable")
@click.argument("name")
@output_option
@pass_session
def enable(session: Session, name: str, output: str) -> None:
    """Let a disabled user log in again."""
    done(output, f"user {name} enabled", _alter(session, name, {"enabled": True}))


@user.command("disable")
@click.argument("name")
@output_option
@pass_session
def disable(session: Session, name: str, output: str) -> None:
    """Keep a user out without deleting it; its sessions end, and so do those of its tokens."""
    done(output, f"user {name} disabled", _alter(session, name, {"enabled": False}))


@user.command("groups")
@click.argument("name")
@click.option("--add", multiple=True, metavar="GROUP", help="Repeatable.")
@click.option("--remove", multiple=True, metavar="GROUP", help="Repeatable; sessions of the user end.")
@output_option
@pass_session
def groups(session: Session, name: str, add: tuple[str, ...], remove: tuple[str, ...], output: str) -> None:
    """Change the groups of a user. A group that is added counts from its next login."""
    if not add and not remove:
        raise click.UsageError("Give --add or --remove.")
    changed = _alter(session, name, {"add_groups": list(add), "remove_groups": list(remove)})
    done(output, f"groups of user {name}: {', '.join(changed['groups']) or 'none'}", changed)


@user.command("delete")
@click.argument("name")
@yes_option
@output_option
@pass_session
def delete(session: Session, name: str, yes: bool, output: str) -> None:
    """Delete a user; its sessions end. Rules that name it stay; see `rivven acl remove`."""
    confirm(f"Delete user {name}?", yes)
    from rivven_client.security import delete_user

    delete_user(session.connection, name)
    done(output, f"deleted user {name}", {"deleted": name})


def _password(file: Path | None, generate: bool) -> str:
    if generate and file is not None:
        raise click.UsageError("--generate and --password-file exclude each other.")
    return generated_password() if generate else typed_password(file)


def _put(
    session: Session,
    name: str,
    password: str,
    generate: bool,
    mechanisms: tuple[str, ...],
    iterations: int | None,
) -> dict[str, Any]:
    from rivven_client.security import put_user

    chosen = mechanisms or MECHANISMS
    rounds = iterations or (GENERATED_ITERATIONS if generate else TYPED_ITERATIONS)
    put_user(session.connection, name, password, chosen, rounds)
    facts: dict[str, Any] = {"user": name, "mechanisms": list(chosen)}
    return {**facts, "password": password} if generate else facts


def _check_admin_api(session: Session) -> None:
    """Groups go over the Admin API: that it does not answer, or refuses us, is said before a user is made."""
    from rivven_client.admin import path

    session.admin.get(path("users"))


def _exists(session: Session, name: str) -> bool:
    from rivven_client.security import list_users

    return any(one.user == name for one in list_users(session.connection))


def _alter(session: Session, name: str, change: dict[str, Any]) -> dict[str, Any]:
    from rivven_client.admin import path

    changed: dict[str, Any] = session.admin.patch(path("users", name), change)
    return changed


def _tell(output: str, line: str, facts: dict[str, Any]) -> None:
    if "password" in facts:
        show_one(output, facts)
    else:
        done(output, line, facts)
