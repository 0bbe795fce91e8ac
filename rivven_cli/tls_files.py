"""`rivven tls inspect`, `expiry` and `verify-config`: what certificate files say, without a server."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivven_cli.config import load_config
from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one, show_rows

if TYPE_CHECKING:
    from rivven.security.tls_inspection import CertificateFacts, RevocationListFacts

_SPAN = re.compile(r"([0-9]{1,5})(h|d)", re.ASCII)
_files = click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE...",
)


@click.command("inspect")
@_files
@output_option
def inspect(files: tuple[Path, ...], output: str) -> None:
    """Show every certificate and every list of revoked certificates of PEM files.

    `problems` are what strict verifiers (Python 3.13, Go, OpenSSL's X509_STRICT) refuse a certificate for.
    """
    from rivven.security.tls_inspection import (
        CertificateFileError,
        certificate_facts,
        revocation_list_facts,
    )

    shown: list[dict[str, object]] = []
    for file in files:
        try:
            found = [certificate_row(one) for one in certificate_facts(file)]
            found += [_list_row(one) for one in revocation_list_facts(file)]
        except CertificateFileError as error:
            raise CommandFailed(str(error), "", Exit.CONFIG) from None
        if not found:
            raise CommandFailed(
                f"{file}: holds neither a PEM certificate nor a list of revoked ones", "", Exit.CONFIG
            )
        shown += found
    if output != "table":
        show_rows(output, shown, ())
        return
    for number, row in enumerate(shown):
        if number:
            click.echo()
        show_one(output, {name: value for name, value in row.items() if value not in (None, [])})


@click.command("expiry")
@_files
@click.option(
    "--within",
    default="30d",
    show_default=True,
    metavar="TIME",
    help="Exit with 1 when a certificate ends within this time (24h, 30d).",
)
@output_option
def expiry(files: tuple[Path, ...], within: str, output: str) -> int:
    """When every certificate of PEM files ends: whole chains and bundles, the first to end first.

    Exits with 1 when one has ended, ends within --within or is not valid yet, for monitoring.
    """
    from rivven.security.tls_inspection import CertificateFileError, certificate_facts

    now, warn_days = datetime.now(UTC), days(within, "--within")
    rows: list[dict[str, object]] = []
    for file in files:
        try:
            found = certificate_facts(file)
        except CertificateFileError as error:
            raise CommandFailed(str(error), "", Exit.CONFIG) from None
        if not found:
            raise CommandFailed(f"{file}: holds no PEM certificate", "", Exit.CONFIG)
        for one in found:
            left = one.dates.days_left(now)
            rows.append(
                {
                    "file": str(file),
                    "place": one.dates.place + 1,
                    "subject": one.subject,
                    "not_after": stamp(one.dates.not_after),
                    "days_left": math.floor(left),
                    "state": _state(one.dates.not_before > now, left, warn_days),
                }
            )
    rows.sort(key=lambda row: str(row["not_after"]))
    show_rows(output, rows, ("file", "place", "subject", "not_after", "days_left", "state"))
    return Exit.OK if all(row["state"] == "ok" for row in rows) else Exit.FAILED


@click.command("verify-config")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--ca",
    "trust",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Whom clients trust: connect to every listener's certificate as a strict client would.",
)
@click.option(
    "--within", default="30d", show_default=True, metavar="TIME", help="Warn of what ends within this time."
)
@output_option
def verify_config(file: Path, trust: Path | None, within: str, output: str) -> int:
    """Judge every certificate, key, bundle and list of revoked certificates that configuration FILE names.

    Pairs, chains, dates, purposes, names against advertised addresses. Exits with 3 when the broker would not
    start, or clients would refuse it; warnings alone exit with 0.
    """
    span = timedelta(days=days(within, "--within"))
    config = load_config(file, False)
    from rivven.security.tls_inspection import CertificateFileError
    from rivven.security.tls_verification import PROBLEM
    from rivven.security.tls_verification import verify_config as judge

    try:
        found = judge(config, datetime.now(UTC), span, trust)
    except CertificateFileError as error:
        raise CommandFailed(f"--ca: {error}", "", Exit.CONFIG) from None
    rows = [
        {"key": one.key, "file": str(one.path), "verdict": one.verdict, "finding": one.text} for one in found
    ]
    show_rows(output, rows, ("verdict", "key", "file", "finding"))
    return Exit.CONFIG if any(one.verdict == PROBLEM for one in found) else Exit.OK


def days(text: str, option: str) -> float:
    """``24h`` or ``30d`` in days; raises UsageError."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise click.UsageError(f"{option} wants hours or days, as 24h or 30d, not {text!r}.")
    return int(found[1]) / (24 if found[2] == "h" else 1)


def stamp(moment: datetime) -> str:
    """A time in UTC, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def certificate_row(facts: CertificateFacts) -> dict[str, object]:
    """One certificate as JSON and YAML hold it."""
    dates = facts.dates
    return {
        "file": str(dates.path),
        "kind": "certificate",
        "place": dates.place + 1,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "sha256": facts.sha256,
        "version": facts.version,
        "not_before": stamp(dates.not_before),
        "not_after": stamp(dates.not_after),
        "days_left": math.floor(dates.days_left(datetime.now(UTC))),
        "key": facts.key,
        "signature": facts.signature,
        "authority": facts.authority,
        "path_length": facts.path_length,
        "key_usage": list(facts.key_usage),
        "extended_key_usage": list(facts.extended_key_usage),
        "dns_names": list(facts.dns_names),
        "addresses": list(facts.addresses),
        "uris": list(facts.uris),
        "subject_key_id": facts.subject_key_id or None,
        "authority_key_id": facts.authority_key_id or None,
        "problems": list(facts.problems),
    }


def _list_row(facts: RevocationListFacts) -> dict[str, object]:
    return {
        "file": str(facts.path),
        "kind": "revocation list",
        "issuer": facts.issuer,
        "number": facts.number,
        "last_update": stamp(facts.last_update),
        "next_update": None if facts.next_update is None else stamp(facts.next_update),
        "revoked": list(facts.revoked),
    }


def _state(is_early: bool, days_left: float, warn_days: float) -> str:
    if days_left <= 0:
        return "expired"
    if is_early:
        return "not valid yet"
    return "ends soon" if days_left <= warn_days else "ok"
