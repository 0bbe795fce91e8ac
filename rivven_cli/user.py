"""`rivven user`: create, list, delete - users and their SCRAM passwords on a running broker."""

from __future__ import annotations

from pathlib import Path

import click

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import confirm, done, output_option, show_one, show_rows, yes_option
from rivven_cli.passwords import generated_password, password_file_option, typed_password
from rivven_cli.session import Session, pass_session

MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
TYPED_ITERATIONS = 16_384  # the most Kafka's API takes (KIP-554); people choose guessable passwords
GENERATED_ITERATIONS = 8_192  # 140 random bits need no slow hash, and clients pay for it at every connection


@click.group()
def user() -> None:
    """Create, list and delete users."""


@user.command("create")
@click.argument("name")
@password_file_option
@click.option("--generate", is_flag=True, help="Make a random password and show it once.")
@click.option(
    "--mechanism",
    "mechanisms",
    multiple=True,
    type=click.Choice(MECHANISMS, case_sensitive=False),
    help="Repeatable.",
)
@click.option("--replace", "replace_", is_flag=True, help="Give an existing user a new password.")
@output_option
@pass_session
def create(
    session: Session,
    name: str,
    password_file: Path | None,
    generate: bool,
    mechanisms: tuple[str, ...],
    replace_: bool,
    output: str,
) -> None:
    """Create a user. A new user may do nothing until `rivven acl add` says so."""
    if generate and password_file is not None:
        raise click.UsageError("--generate and --password-file exclude each other.")
    password = generated_password() if generate else typed_password(password_file)
    iterations = GENERATED_ITERATIONS if generate else TYPED_ITERATIONS
    from rivven_client.security import list_users, put_user

    connection = session.connection
    if not replace_ and any(one.user == name for one in list_users(connection)):
        raise CommandFailed(
            f"user {name} exists already", "add --replace to give it a new password", Exit.EXISTS
        )
    chosen = mechanisms or MECHANISMS
    put_user(connection, name, password, chosen, iterations)
    facts = {"user": name, "mechanisms": list(chosen)}
    if generate:
        show_one(output, {**facts, "password": password})
    else:
        done(output, f"user {name} created", facts)


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


@user.command("delete")
@click.argument("name")
@yes_option
@output_option
@pass_session
def delete(session: Session, name: str, yes: bool, output: str) -> None:
    """Delete a user. Rules that name it stay; see `rivven acl remove`."""
    confirm(f"Delete user {name}?", yes)
    from rivven_client.security import delete_user

    delete_user(session.connection, name)
    done(output, f"deleted user {name}", {"deleted": name})
