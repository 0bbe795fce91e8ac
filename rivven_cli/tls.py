"""`rivven tls`: the group, and principal-test. None of its commands needs a server."""

from __future__ import annotations

from pathlib import Path

import click

from rivven_cli.config import load_config
from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one
from rivven_cli.pem import certificate_in
from rivven_cli.tls_authority import crl, init_ca, issue
from rivven_cli.tls_files import expiry, inspect, verify_config


@click.group()
def tls() -> None:
    """Certificates."""


for command in (init_ca, issue, crl, inspect, expiry, verify_config):
    tls.add_command(command)


@tls.command("principal-test")
@click.argument("certificate", type=click.Path(path_type=Path, dir_okay=False), metavar="CERT")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Use auth.mtls_mapping of this file.",
)
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="Try this rule instead; repeatable.")
@output_option
def principal_test(certificate: Path, config_file: Path | None, rules: tuple[str, ...], output: str) -> None:
    """Show which principal a client certificate names, and the rule that made it.

    Without --config and --rule the principal is the whole distinguished name, as in Kafka.
    """
    from rivven.security.authn.certificates import read_certificate
    from rivven.security.authn.principal_rules import Mapped, RuleError, name_mapping
    from rivven.security.certificate import MalformedCertificate

    if config_file is not None and rules:
        raise click.UsageError("--config and --rule exclude each other.")
    kind, prefix = ("rules", "") if rules else ("distinguished_name", "")
    if config_file is not None:
        mapping = load_config(config_file, False).auth.mtls_mapping
        kind, rules, prefix = mapping.type, tuple(mapping.rules), mapping.prefix
    try:
        by = name_mapping(kind, rules)
        found = read_certificate(certificate_in(certificate))
    except RuleError as error:
        raise CommandFailed(str(error), "see docs/security.md", Exit.CONFIG) from None
    except MalformedCertificate as error:
        raise CommandFailed(f"{certificate}: {error}", "", Exit.CONFIG) from None
    mapped = by(found.names)
    facts: dict[str, object] = {
        "subject": found.names.distinguished_name,
        "issuer": found.issuer,
        "serial": found.serial,
        "sha256": found.fingerprint,
        "dns_names": list(found.names.dns_names),
        "uris": list(found.names.uris),
    }
    if not isinstance(mapped, Mapped):
        raise CommandFailed(
            f"no principal: {mapped.reason}", f"its subject is {facts['subject']}", Exit.REFUSED
        )
    show_one(output, {**facts, "mapped_by": mapped.by, "principal": f"User:{prefix}{mapped.name}"})
