"""`rivven keys`: init, list, rotate, rewrap, reencrypt, start-over, shred, and what certificates need.

`init` and `verify-certificate` work without a broker; the others ask the Admin API.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rivven_cli.config import load_config
from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.keys_follow import follow_reencryption
from rivven_cli.output import confirm, done, output_option, show_one, show_rows, yes_option
from rivven_cli.session import Session, pass_session

LONG_SECONDS = 130.0
"""For calls that use the provider once for every topic; the broker answers within 120 s."""

SIGNERS = ("audit", "erasure")
SECRETS = ("token-hash", "scram-decoy")

_KEK_COLUMNS = (
    "name",
    "key_id",
    "state",
    "current",
    "topics",
    "topic_keys",
    "segments",
    "bytes",
    "retirable",
)
_TOPIC_COLUMNS = (
    "topic",
    "encrypted",
    "topic_keys",
    "keks",
    "segments",
    "bytes",
    "plain_segments",
    "may_hold_plain",
    "plaintext_history",
    "newest_percent",
    "problem",
)

_topic = click.option("--topic", metavar="NAME", required=True, help="The topic.")
_signing = click.option(
    "--signing",
    type=click.Choice(SIGNERS),
    default="erasure",
    show_default=True,
    help="What the key signs: audit checkpoints or erasure certificates.",
)


@click.group()
def keys() -> None:
    """Keys of encrypted storage: make, list, rotate, rewrap, re-encrypt, shred."""


@keys.command("init")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    required=True,
    help="Configuration file with storage.encryption.",
)
@output_option
def init(config_path: Path, output: str) -> None:
    """Make the keys of a stopped broker: keyring, key store and the data directory's encryption.key.

    Nothing that exists is replaced: where there are keys already it refuses. A broker that starts with
    encryption on does the same by itself.
    """
    config = load_config(config_path, False)
    from rivven.app.failures import StartFailed
    from rivven.app.key_setup import make_keys

    try:
        made = make_keys(config)
    except StartFailed as failure:
        raise CommandFailed(failure.reason, failure.hint, failure.exit_code) from None
    show_one(output, made)
    click.echo(
        "Back up the key store and the keyring, apart from each other and from the data directory.", err=True
    )


@keys.command("list")
@click.option("--topics", is_flag=True, help="Topics and their keys instead.")
@output_option
@pass_session
def list_(session: Session, topics: bool, output: str) -> None:
    """List key-encryption keys with the topics, segments and bytes under each."""
    from rivven_client.admin import path

    if topics:
        rows = list(session.admin.listing(path("keys", "topics")))
        show_rows(output, rows, _TOPIC_COLUMNS)
        return
    found: dict[str, Any] = session.admin.get(path("keys"))
    if output != "table":
        show_one(output, found)
        return
    rows = [{**one, "name": one["name"] or "(default)"} for one in found["keys"]]
    show_rows(output, rows, _KEK_COLUMNS)
    click.echo()
    facts = {"provider": found["provider"], "on the newest": f"{found['newest_percent']:g} %"}
    if found["plain_segments"]:
        facts["in plain"] = f"{found['plain_segments']} segments, {found['plain_bytes']} bytes"
    if found["running"]:
        running = found["running"]
        facts["shredding"] = f"{running['topic']}, {running['step']}"
        if running["problem"]:
            facts["waiting for"] = running["problem"]
    show_one(output, facts)


@keys.command("rotate")
@click.option("--key", "name", default="", metavar="NAME", help="A key by its name; the configured one else.")
@click.option("--signing", type=click.Choice(SIGNERS), help="The signing key of audit log or certificates.")
@click.option("--secret", type=click.Choice(SECRETS), help="A secret of the broker, encrypted or not.")
@output_option
@pass_session
def rotate(session: Session, name: str, signing: str | None, secret: str | None, output: str) -> None:
    """Make a new key-encryption key, and say when it takes effect.

    With key_source file, --key with a new name makes a key for topics to name in encryption.key.
    """
    from rivven_client.admin import path

    if sum(map(bool, (name, signing, secret))) > 1:
        raise click.UsageError("--key, --signing and --secret exclude each other.")
    if secret is not None:
        made = session.admin.post(path("keys", "secrets", secret, "rotate"))
        message = f"{secret}: a new key is in effect"
        if made["key_id"]:
            message += f", {made['key_id']}; {made['kept']} older ones are kept for tokens made before"
        done(output, message, made)
        return
    if signing is not None:
        made = session.admin.post(path("keys", "signing", signing, "rotate"))
        message = f"{signing}: signed with key {made['key_id']} from now on; old public keys are kept"
        done(output, message, made)
        return
    made = session.patient_admin(LONG_SECONDS).post(path("keys", "rotate"), {"key": name})
    was = f"was {made['previous_key_id']}" if made["previous_key_id"] else "the first of its name"
    message = f"new key {made['key_id']} ({was}). {made['effect']}"
    if made["older_topic_keys"]:
        message += f"\n{made['older_topic_keys']} topic keys wait for `rivven keys rewrap`."
    done(output, message, made)


@keys.command("rewrap")
@output_option
@pass_session
def rewrap(session: Session, output: str) -> None:
    """Wrap every topic key under the newest key-encryption key; no data is rewritten."""
    from rivven_client.admin import path

    made = session.patient_admin(LONG_SECONDS).post(path("keys", "rewrap"))
    message = f"{made['rewrapped']} keys rewrapped, {made['unchanged']} were up to date"
    if made["retirable"]:
        message += f"\nnot needed here any more: {', '.join(made['retirable'])}\n{made['warning']}"
    done(output, message, made)


@keys.command("reencrypt")
@_topic
@click.option("--follow", is_flag=True, help="Show the progress until it is finished.")
@output_option
@pass_session
def reencrypt(session: Session, topic: str, follow: bool, output: str) -> int:
    """Rewrite a topic under a new topic key, in the background; also what was stored in plain.

    It goes on after a restart of the broker. `--follow` on a topic that is being re-encrypted starts nothing
    anew.
    """
    from rivven_client.admin import path

    started = session.admin.post(path("keys", "reencrypt"), {"topic": topic})
    if follow:
        return follow_reencryption(session, topic, output)
    if started["finished"]:
        done(output, f"{topic}: everything is under the newest topic key", started)
    else:
        done(output, f"{topic}: {started['left_bytes']} bytes to rewrite, in the background", started)
    return Exit.OK


@keys.command("start-over")
@_topic
@yes_option
@output_option
@pass_session
def start_over(session: Session, topic: str, yes: bool, output: str) -> None:
    """Give a topic whose keys are lost new ones, so that it can be written again.

    Without its keys a topic takes and gives nothing: they may be in another copy of the key store. This gives
    up what was sealed under them.
    """
    from rivven_client.admin import path

    confirm(f"Give up the records of {topic} whose keys are lost?", yes)
    made = session.patient_admin(LONG_SECONDS).post(path("keys", "start-over"), {"topic": topic})
    done(output, f"{topic}: written under key {made['topic_key']}. {made['effect']}", made)


@keys.command("shred")
@_topic
@click.option(
    "--accept-plaintext-history",
    "accept",
    is_flag=True,
    help="Although some of it was stored unencrypted, where this does not reach.",
)
@click.option(
    "--certificate",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where the certificate is written; erasure-TOPIC.json by default.",
)
@yes_option
@output_option
@pass_session
def shred(session: Session, topic: str, accept: bool, file: Path | None, yes: bool, output: str) -> None:
    """Delete a topic and destroy its keys, so that no copy of the data directory can be read again.

    Everything else is wrapped under a fresh key-encryption key, and the older ones are destroyed at the
    provider: backups of the key store from before are of no use afterwards.
    """
    from rivven_client.admin import path

    target = file or Path(f"erasure-{topic}.json")
    if target.exists():
        raise CommandFailed(f"{target} exists already", "name another file with --certificate", Exit.EXISTS)
    confirm(
        f"Shred {topic}? Nobody can bring it back, and older copies of the key store become useless.", yes
    )
    body = {"topic": topic, "accept_plaintext_history": accept}
    certificate = session.patient_admin(LONG_SECONDS).post(path("keys", "shred"), body)
    _write(target, certificate)
    state = certificate["state"]
    until = f" until {certificate['pending_until']}" if certificate["pending_until"] else ""
    facts = {"topic": topic, "state": state, "pending_until": certificate["pending_until"]}
    facts |= {"certificate_id": certificate["certificate_id"], "certificate": str(target)}
    done(output, f"{topic} is shredded: {state}{until}; the certificate is {target}", facts)


@keys.command("certificates")
@output_option
@pass_session
def certificates(session: Session, output: str) -> None:
    """List the erasure certificates the broker keeps.

    A pending one is completed by another, once the provider confirms that the last key is destroyed.
    """
    from rivven_client.admin import path

    rows = list(session.patient_admin(LONG_SECONDS).listing(path("keys", "certificates")))
    show_rows(output, rows, ("id", "topic", "state", "finished_at", "completes", "problem"))


@keys.command("certificate")
@click.argument("id_", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@output_option
@pass_session
def certificate(session: Session, id_: str, file: Path, output: str) -> None:
    """Write an erasure certificate to FILE."""
    from rivven_client.admin import path

    if file.exists():
        raise CommandFailed(f"{file} exists already", "name another file", Exit.EXISTS)
    _write(file, session.admin.get(path("keys", "certificates", id_)))
    done(output, f"certificate {id_} written to {file}", {"id": id_, "certificate": str(file)})


@keys.command("verify-certificate")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    required=True,
    help="The public key (PEM) of `rivven keys export-public-key`.",
)
@output_option
def verify_certificate(file: Path, public_key: Path, output: str) -> None:
    """Check an erasure certificate, without a broker. Ends with code 16 when it proves nothing."""
    from rivven.security.keys.erasure_certificate import CERTIFICATE_BYTES_MAX, CertificateRefused, verify

    try:
        with file.open("rb") as opened:
            content = opened.read(CERTIFICATE_BYTES_MAX + 1)
        verified = verify(content, public_key.read_bytes())
    except CertificateRefused as error:
        raise CommandFailed(f"{file}: {error}", "do not rely on it", Exit.REFUSED) from None
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}", "", Exit.NOT_FOUND) from None
    fields = verified.fields
    if output != "table":
        show_one(output, {"valid": True, "signed_by": verified.key_id, **fields})
        return
    chosen = ("state", "pending_until", "requested_by", "requested_at", "finished_at", "cluster_id")
    facts: dict[str, Any] = {"valid": True, "signed by": verified.key_id}
    facts |= {"topic": fields["topic"]["name"], "topic id": fields["topic"]["topic_id"]}
    if "completes" in fields:
        facts |= {"completes": fields["completes"], "completed at": fields["completed_at"]}
    facts |= {name.replace("_", " "): fields[name] for name in chosen}
    facts["segments"] = sum(one["segment_count"] for one in fields["partitions"])
    facts["bytes"] = sum(one["stored_bytes"] for one in fields["partitions"])
    facts["keys destroyed"] = [
        one["key_id"] if one["destroyed"] else f"{one['key_id']} (from {one['destroyed_from']})"
        for one in fields["key_encryption_keys"]
    ]
    show_one(output, facts)
    for number, limit in enumerate(fields["does_not_cover"]):
        click.echo(f"{'does not cover:' if not number else '':<16}{limit}")


@keys.command("export-public-key")
@_signing
@click.option("--key-id", metavar="ID", help="An older key; the present one else.")
@output_option
@pass_session
def export_public_key(session: Session, signing: str, key_id: str | None, output: str) -> None:
    """Print the public key that checks erasure certificates or audit checkpoints (PEM)."""
    from rivven_client.admin import path

    found = session.admin.get(path("keys", "signing", signing))["items"]
    chosen = [one for one in found if (one["key_id"] == key_id if key_id else one["current"])]
    if not chosen:
        known = ", ".join(one["key_id"] for one in found)
        raise CommandFailed(f"no such key; there are: {known}", "", Exit.NOT_FOUND)
    if output == "table":
        click.echo(chosen[0]["pem"], nl=False)
    else:
        show_one(output, chosen[0])


def _write(file: Path, content: dict[str, Any]) -> None:
    import json

    try:
        with file.open("x", encoding="ascii") as opened:
            json.dump(content, opened, indent=2, sort_keys=True)
            opened.write("\n")
    except OSError as error:
        raise CommandFailed(
            f"{file}: {error.strerror}", "the broker keeps the certificate: rivven keys certificates"
        ) from None
