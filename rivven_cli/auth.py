"""`rivven auth`: hash-password, which needs no server, and API tokens."""

from __future__ import annotations

import os
from pathlib import Path

import click

from rivven_cli.output import output_option, show_one
from rivven_cli.passwords import password_file_option, typed_password
from rivven_cli.token import token


@click.group()
def auth() -> None:
    """Verifiers of passwords, and API tokens."""


@auth.command("hash-password")
@password_file_option
@click.option(
    "--mechanism",
    type=click.Choice(["SCRAM-SHA-256", "SCRAM-SHA-512"], case_sensitive=False),
    default="SCRAM-SHA-256",
    show_default=True,
)
@click.option("--iterations", type=click.IntRange(4096, 1_000_000), default=600_000, show_default=True)
@click.option(
    "--argon2id", is_flag=True, help="A hash for PLAIN and Basic only: the broker pays, not clients."
)
@output_option
def hash_password(
    password_file: Path | None, mechanism: str, iterations: int, argon2id: bool, output: str
) -> None:
    """Print what the users file takes as password_hash:
    $scram-sha-256$iterations$salt$stored-key$server-key, or $argon2id$..."""
    from rivven.protocol.scram import ScramMechanism
    from rivven.security.authn.passwords import hash_argon2id
    from rivven.security.authn.passwords import hash_password as hashed

    password = typed_password(password_file)
    if argon2id:
        text = hash_argon2id(password, os.urandom)
    else:
        text = hashed(password, ScramMechanism(mechanism.upper()), os.urandom, iterations)
    if output == "table":
        click.echo(text)
    else:
        show_one(output, {"password_hash": text})


auth.add_command(token)
