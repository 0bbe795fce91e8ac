"""`rivven revocation`: add, list, remove - certificates and JWTs that others issued and that no longer count.

Our own users and tokens are not revoked here: `rivven user delete`, `rivven auth token revoke`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from rivven_cli.output import confirm, done, output_option, show_one, show_rows, yes_option
from rivven_cli.pairs import point_in_time
from rivven_cli.session import Session, pass_session


@click.group()
def revocation() -> None:
    """Revoke certificates and JWTs, list revocations, take them back."""


@revocation.command("add")
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="The certificate in this PEM file.",
)
@click.option("--fingerprint", metavar="HEX", help="The certificate with this SHA-256 fingerprint.")
@click.option("--serial", metavar="HEX", help="The certificate with this serial number.")
@click.option("--jti", metavar="ID", help="The JWT with this id.")
@click.option("--subject", metavar="NAME", help="JWTs of this subject; needs --issuer and --issued-before.")
@click.option("--issuer", metavar="NAME", help="The authority's name (RFC 2253), or the issuer of the JWT.")
@click.option("--issued-before", metavar="TIME", help="JWTs issued before this time.")
@click.option("--reason", default="", metavar="TEXT", help="For people and the log.")
@click.option("--forget-after", metavar="TIME", help="When it has ended by itself: a time, or 90d from now.")
@output_option
@pass_session
def add(
    session: Session,
    certificate: Path | None,
    fingerprint: str | None,
    serial: str | None,
    jti: str | None,
    subject: str | None,
    issuer: str | None,
    issued_before: str | None,
    reason: str,
    forget_after: str | None,
    output: str,
) -> None:
    """Revoke one credential; sessions that rest on it end within a second."""
    from rivven_client.admin import path

    named = {
        "certificate-fingerprint": fingerprint or (certificate and _fingerprint(certificate)),
        "certificate-serial": serial,
        "jwt-id": jti,
        "jwt-subject": subject,
    }
    given = [(kind, value) for kind, value in named.items() if value]
    if len(given) != 1 or (certificate and fingerprint):
        raise click.UsageError("Give one of --certificate, --fingerprint, --serial, --jti and --subject.")
    [(kind, value)] = given
    body: dict[str, Any] = {"kind": kind, "value": value, "issuer": issuer or "", "reason": reason}
    now_ms = time.time_ns() // 1_000_000
    if issued_before is not None:
        body["issued_before_ms"] = point_in_time(issued_before, now_ms)
    if forget_after is not None:
        moment = point_in_time(forget_after, 0)
        body["forget_after_ms"] = moment if moment > 0 else now_ms - moment  # 90d: from now on
    show_one(output, session.admin.post(path("revocations"), body))


@revocation.command("list")
@output_option
@pass_session
def list_(session: Session, output: str) -> None:
    """List what no longer counts."""
    from rivven_client.admin import path

    rows = list(session.admin.listing(path("revocations")))
    show_rows(output, rows, ("id", "kind", "value", "issuer", "reason"))


@revocation.command("remove")
@click.argument("id_", metavar="ID")
@yes_option
@output_option
@pass_session
def remove(session: Session, id_: str, yes: bool, output: str) -> None:
    """Take a revocation back: the credential counts again."""
    from rivven_client.admin import path

    confirm(f"Let the credential of revocation {id_} count again?", yes)
    session.admin.delete(path("revocations", id_))
    done(output, f"revocation {id_} removed", {"removed": id_})


def _fingerprint(file: Path) -> str:
    import hashlib

    from rivven_cli.pem import certificate_in

    return hashlib.sha256(certificate_in(file)).hexdigest()
