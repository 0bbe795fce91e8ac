"""`rivven server`: run a broker; `rivven server init`: its first user."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivven_cli.config import load_config
from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one

if TYPE_CHECKING:
    from rivven.config.models import Config

_config = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Configuration file.",
)
_data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Overrides data_dir."
)


@click.group(invoke_without_command=True)
@_config
@click.option(
    "--dev", is_flag=True, help="Development: certificates, user and client files are made below ./data/dev."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="With --dev: another port than 9092; 0 takes a free one.",
)
@_data_dir
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Written once clients are served.",
)
@click.pass_context
def server(
    ctx: click.Context,
    config_path: Path | None,
    dev: bool,
    port: int | None,
    data_dir: Path | None,
    ready_file: Path | None,
) -> int | None:
    """Run a broker in the foreground until SIGTERM or Ctrl-C; a second Ctrl-C stops at once."""
    if ctx.invoked_subcommand is not None:
        if dev or any(given is not None for given in (config_path, port, data_dir, ready_file)):
            raise click.UsageError("Options of `server` stand behind the subcommand.")
        return None
    if port is not None and not dev:
        raise click.UsageError("--port goes with --dev; elsewhere listeners[].bind names the port.")
    # Start-up only makes things that stay: collecting meanwhile took a fifth of it. `settle` turns it on
    # again.
    gc.disable()
    config = _configuration(config_path, dev, data_dir, port)
    from rivven.app.serve import run
    from rivven.telemetry import configure_logging, get_logger

    handler = configure_logging(config.logging.format, config.logging.level)
    if config.insecure:
        get_logger("rivven").warning("insecure: true - anybody who reaches a listener may do everything")
    try:
        return run(config, config_path=config_path, ready_file=ready_file)
    finally:
        handler.close()


@server.command("init")
@_config
@_data_dir
@click.option("--admin", metavar="NAME", required=True, help="The first user; it may do everything.")
@output_option
def init(config_path: Path | None, data_dir: Path | None, admin: str, output: str) -> int:
    """Store the first user in a stopped broker's data directory and show its password once."""
    gc.disable()  # what is imported stays, and the process ends before there is anything to collect
    config = _configuration(config_path, False, data_dir)
    from rivven.app.failures import StartFailed
    from rivven.app.first_start import init as init_admin

    try:
        made = init_admin(config, admin)
    except StartFailed as failure:
        raise CommandFailed(failure.reason, failure.hint, failure.exit_code) from None
    show_one(output, {"user": made.name, "password": made.password})
    click.echo("The password is shown once: only verifiers are stored.", err=True)
    return Exit.OK


def _configuration(
    path: Path | None, dev: bool, data_dir: Path | None, dev_port: int | None = None
) -> Config:
    if path is None and not dev and data_dir is None:
        raise click.UsageError("Give --config FILE, or --dev for a development server.")
    overrides: dict[str, object] = {} if data_dir is None else {"data_dir": str(data_dir)}
    return load_config(path, dev, overrides, dev_port)
