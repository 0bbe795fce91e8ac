"""The entry point: global options, the list of commands, and the one place where errors become lines and
exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from rivven_cli.exits import CommandFailed, Exit, from_client
from rivven_cli.lazy import LazyGroup, Place
from rivven_cli.session import Session
from rivven_client.failures import ClientFailed
from rivven_client.profile import ProfileError

COMMANDS = {
    "server": Place("rivven_cli.server", "server", "Run a broker, or prepare one (server init)."),
    "topic": Place("rivven_cli.topic", "topic", "Create, list, describe, alter and delete topics."),
    "produce": Place("rivven_cli.produce", "produce", "Write records to a topic."),
    "consume": Place("rivven_cli.consume", "consume", "Read records from topics."),
    "group": Place("rivven_cli.group", "group", "List, describe, reset and delete consumer groups."),
    "cluster": Place("rivven_cli.cluster", "cluster", "Show the cluster and its nodes."),
    "acl": Place("rivven_cli.acl", "acl", "Add, list and remove access rules."),
    "role": Place("rivven_cli.role", "role", "Create roles; give them to users and groups."),
    "authz": Place("rivven_cli.authz", "authz", "Explain decisions: why, who, and what somebody may."),
    "user": Place("rivven_cli.user", "user", "Create, change, list and delete users."),
    "auth": Place("rivven_cli.auth", "auth", "Hash passwords; create, list and revoke API tokens."),
    "policy": Place("rivven_cli.policy", "policy", "Check Cedar policies, and list those in force."),
    "audit": Place("rivven_cli.audit", "audit", "Verify, follow, search and export audit logs."),
    "quota": Place("rivven_cli.quota", "quota", "Set, list and remove quotas."),
    "session": Place("rivven_cli.sessions", "session", "List and end the sessions of clients."),
    "revocation": Place("rivven_cli.revocation", "revocation", "Revoke certificates and JWTs."),
    "keys": Place("rivven_cli.keys", "keys", "Keys of encrypted storage: rotate, re-encrypt, shred."),
    "tls": Place("rivven_cli.tls", "tls", "Make, show and check certificates."),
    "log": Place("rivven_cli.log", "log", "Verify and dump log files of a stopped broker."),
    "config": Place("rivven_cli.config", "config", "Check and show configuration."),
    "completion": Place("rivven_cli.completion", "completion", "Print the completion script of a shell."),
}


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from rivven import __version__

        click.echo(f"rivven {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--profile", metavar="NAME", help="A profile of ~/.config/rivven/profiles.yaml.")
@click.option("--bootstrap-server", metavar="HOST:PORT", help="The broker to connect to.")
@click.option(
    "--command-config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Client settings as a properties file (librdkafka's or Java's names).",
)
@click.option("--admin-url", metavar="URL", help="The Admin API: https://HOST:PORT.")
@click.option(
    "--timeout", type=click.FloatRange(0.1, 3600), default=15.0, metavar="SECONDS", show_default=True
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.pass_context
def cli(
    ctx: click.Context,
    profile: str | None,
    bootstrap_server: str | None,
    command_config: Path | None,
    admin_url: str | None,
    timeout: float,
) -> None:
    """Rivven, a log broker that speaks the Kafka protocol.

    Commands that talk to a broker take the address and the user from --command-config, --profile, the
    default profile, or the development server's ./data/dev/client.properties, in this order.
    """
    ctx.obj = Session(profile, bootstrap_server, command_config, timeout, admin_url)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; errors are written to standard error as one line and a hint. Returns the exit code."""
    try:
        result = cli.main(args=arguments, prog_name="rivven", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.NoArgsIsHelpError as wanted:
        wanted.show()
        return Exit.USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "rivven"
        return _fail(CommandFailed(error.format_message(), f"see `{where} --help`", Exit.USAGE))
    except click.ClickException as error:
        return _fail(CommandFailed(error.format_message()))
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except ClientFailed as failure:
        return _fail(from_client(failure))
    except ProfileError as error:
        hint = "start one with `rivven server --dev`, or name a server with --bootstrap-server"
        return _fail(CommandFailed(str(error), hint, Exit.CONFIG))
    except CommandFailed as failed:
        return _fail(failed)
    except BrokenPipeError:
        # The reader of our output has gone (`rivven ... | head`); Python would complain once more at exit.
        sys.stdout = None
        return Exit.OK
    return result if isinstance(result, int) else Exit.OK


def _fail(failed: CommandFailed) -> int:
    click.echo(f"rivven: {' '.join(failed.reason.split())}", err=True)
    if failed.hint:
        click.echo(f"  hint: {failed.hint}", err=True)
    return failed.code


if __name__ == "__main__":
    main()
