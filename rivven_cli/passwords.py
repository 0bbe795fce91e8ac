"""Where a password comes from: a file, the terminal, or chance - never the command line, which other users
can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

PASSWORD_FILE_BYTES_MAX = 8192  # far above the longest password; a larger file is the wrong one

password_file_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Read the password from FILE (- is standard input).",
)


def typed_password(file: Path | None) -> str:
    """The password from a file or the terminal, checked for complexity; raises UsageError."""
    from rivven.security.authn.passwords import require_complexity

    password = _from_file(file) if file is not None else _asked()
    try:
        require_complexity(password)
    except ValueError as error:
        raise click.UsageError(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    return password


def generated_password() -> str:
    """A random password."""
    from rivven.security.authn.passwords import generate_password

    return generate_password(os.urandom)


def _from_file(file: Path) -> str:
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(PASSWORD_FILE_BYTES_MAX + 1)
        else:
            with file.open("rb") as stream:
                content = stream.read(PASSWORD_FILE_BYTES_MAX + 1)
        if len(content) > PASSWORD_FILE_BYTES_MAX:
            raise click.UsageError(f"{file} is larger than {PASSWORD_FILE_BYTES_MAX} bytes: no password.")
        return content.decode().rstrip("\r\n")
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{file} is not UTF-8 text.") from None


def _asked() -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("No terminal to ask for the password: use --password-file or --generate.")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
