"""`rivven tls init-ca`, `issue` and `crl`: an authority of files, for who has none. Needs no server.

    pki/  ca.crt  ca.key  <name>.crt  <name>.key        keys mode 0600, certificates 0644

A key is written before its certificate, and each of them whole or not at all: whoever finds a new certificate
finds its key.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one
from rivven_cli.tls_files import days, stamp

if TYPE_CHECKING:
    from cryptography import x509

    from rivven.security.pki import Authority, PrivateKey

# The words of rivven.security.pki, which imports a crypto library that --help does not need.
KEY_KINDS = ("ecdsa-p256", "ecdsa-p384", "rsa-3072", "rsa-4096")
PROFILES = ("server", "client", "node")
REASONS = {
    "key-compromise": "key_compromise",
    "superseded": "superseded",
    "cessation-of-operation": "cessation_of_operation",
    "affiliation-changed": "affiliation_changed",
    "privilege-withdrawn": "privilege_withdrawn",
}
PASSPHRASE_BYTES_MAX = 8192  # far above the longest passphrase; a larger file is the wrong one

_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,100}", re.ASCII)
_dir = click.option(
    "--dir",
    "directory",
    default="pki",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the authority lies: ca.crt and ca.key.",
)
_ca = click.option(
    "--ca",
    "ca_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Another authority than DIR/ca.crt; its intermediates stand behind it.",
)
_ca_key = click.option(
    "--ca-key",
    "ca_key_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Its key, instead of DIR/ca.key.",
)
_passphrase = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The passphrase of the authority's key; asked for otherwise where there is one.",
)
_key_type = click.option(
    "--key-type", type=click.Choice(KEY_KINDS), default=KEY_KINDS[0], show_default=True, help="Kind of key."
)
_force = click.option("--force", is_flag=True, help="Replace files that are there.")


@click.command("init-ca")
@_dir
@click.option("--cn", "common_name", required=True, metavar="NAME", help="What the authority is called.")
@click.option("--valid-for", default="3650d", show_default=True, metavar="TIME", help="At most 7300d.")
@click.option(
    "--permit",
    "permits",
    multiple=True,
    metavar="NAME",
    help="Vouch for these names only: dns:example.com (and below), ip:10.0.0.0/8; repeatable.",
)
@_key_type
@click.option("--ask-passphrase", is_flag=True, help="Ask for a passphrase that protects the key.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Protect the key with the passphrase in FILE.",
)
@_force
@output_option
def init_ca(
    directory: Path,
    common_name: str,
    valid_for: str,
    permits: tuple[str, ...],
    key_type: str,
    ask_passphrase: bool,
    passphrase_file: Path | None,
    force: bool,
    output: str,
) -> None:
    """Make a certificate authority: its certificate for everybody, its key for nobody but you.

    Keep ca.key away from brokers: nothing but `rivven tls issue` and `crl` reads it.
    """
    from rivven.security import pki

    if ask_passphrase and passphrase_file is not None:
        raise click.UsageError("--ask-passphrase and --passphrase-file exclude each other.")
    ca_path, key_path = directory / "ca.crt", directory / "ca.key"
    _refuse_existing((ca_path, key_path), force)
    passphrase = None
    if passphrase_file is not None:
        passphrase = _passphrase_in(passphrase_file)
    elif ask_passphrase:
        passphrase = _asked("Passphrase of the new key", confirm=True)
    lifetime = timedelta(days=days(valid_for, "--valid-for"))
    try:
        permitted = [pki.permitted_name(text) for text in permits]
        key = pki.make_key(key_type)
        subject = pki.subject_name(common_name)
        certificate = pki.make_authority(subject, key, datetime.now(UTC), lifetime, permitted)
    except pki.PkiError as error:
        raise CommandFailed(str(error), "", Exit.USAGE) from None
    _write_pair(ca_path, (certificate,), key_path, key, passphrase)
    show_one(output, {"authority": str(ca_path), "key": str(key_path), **_facts(certificate)})


@click.command("issue")
@_dir
@_ca
@_ca_key
@click.option("--cn", "common_name", required=True, metavar="NAME", help="Whom the certificate names.")
@click.option(
    "--san",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name clients look for: dns:HOST, ip:ADDRESS or uri:URI; repeatable. A server without any gets "
    "its --cn.",
)
@click.option(
    "--profile", type=click.Choice(PROFILES), default="server", show_default=True, help="node is both."
)
@click.option(
    "--valid-for", default="90d", show_default=True, metavar="TIME", help="From 24h to 365d (397d at most)."
)
@_key_type
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Instead of DIR."
)
@click.option("--name", metavar="NAME", help="Names of the files, instead of the --cn.")
@_passphrase
@_force
@output_option
def issue(
    directory: Path,
    ca_path: Path | None,
    ca_key_path: Path | None,
    common_name: str,
    names: tuple[str, ...],
    profile: str,
    valid_for: str,
    key_type: str,
    out: Path | None,
    name: str | None,
    passphrase_file: Path | None,
    force: bool,
    output: str,
) -> None:
    """Make a key and its certificate, signed by the authority, for a broker or for a client.

    With --force it replaces a pair; a running broker takes the new one over without a restart.
    """
    from rivven.security import pki

    stem = name or common_name
    if not _STEM.fullmatch(stem):
        raise click.UsageError(f"{stem!r} is no good name for files: give --name.")
    place = out or directory
    cert_path, key_path = place / f"{stem}.crt", place / f"{stem}.key"
    _refuse_existing((cert_path, key_path), force)
    authority = _authority(directory, ca_path, ca_key_path, passphrase_file)
    if not names and profile != "client":
        names = (common_name,)
    lifetime = timedelta(days=days(valid_for, "--valid-for"))
    try:
        wanted = tuple(dict.fromkeys(pki.alternative_name(text) for text in names))
        request = pki.Request(pki.subject_name(common_name), wanted, profile, lifetime)
        key = pki.make_key(key_type)
        certificate = pki.issue(request, key, authority, datetime.now(UTC))
    except pki.PkiError as error:
        raise CommandFailed(str(error), "see `rivven tls issue --help`", Exit.USAGE) from None
    _write_pair(cert_path, (certificate, *authority.intermediates), key_path, key, None)
    show_one(output, {"certificate": str(cert_path), "key": str(key_path), **_facts(certificate)})


@click.command("crl")
@_dir
@_ca
@_ca_key
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The list, kept where it is there; DIR/ca.crl otherwise.",
)
@click.option(
    "--revoke",
    "certificates",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CERT",
    help="Add this certificate of the authority; repeatable.",
)
@click.option(
    "--reason", type=click.Choice(tuple(REASONS)), help="Why; told to everybody who reads the list."
)
@click.option("--valid-for", default="30d", show_default=True, metavar="TIME", help="Make a new one before.")
@_passphrase
@output_option
def crl(
    directory: Path,
    ca_path: Path | None,
    ca_key_path: Path | None,
    out: Path | None,
    certificates: tuple[Path, ...],
    reason: str | None,
    valid_for: str,
    passphrase_file: Path | None,
    output: str,
) -> None:
    """Make the authority's list of revoked certificates, or sign it anew with more of them.

    A list counts for --valid-for only: brokers refuse every certificate of an authority whose list is too
    old, unless they are told otherwise.
    """
    from rivven.security import pki
    from rivven.security.private_files import write_private

    if reason is not None and not certificates:
        raise click.UsageError("--reason goes with --revoke.")
    authority = _authority(directory, ca_path, ca_key_path, passphrase_file)
    path, now = out or directory / "ca.crl", datetime.now(UTC)
    others, number, entries = _kept(path, authority)
    known = {entry.serial_number for entry in entries}
    for certificate in (_to_revoke(file, authority) for file in certificates):
        if certificate.serial_number not in known:
            entries.append(pki.revoked_entry(certificate, _reason(reason), now))
            known.add(certificate.serial_number)
    lifetime = timedelta(days=days(valid_for, "--valid-for"))
    try:
        made = pki.revocation_list(authority, entries, number + 1, now, lifetime)
    except pki.PkiError as error:
        raise CommandFailed(str(error), "", Exit.USAGE) from None
    try:
        write_private(path, _list_pem(*others, made))
        path.chmod(0o644)
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}", "", Exit.FAILED) from None
    facts = {"number": number + 1, "revoked": len(entries), "next_update": stamp(now + lifetime)}
    show_one(output, {"list": str(path), **facts})


def _authority(
    directory: Path, ca_path: Path | None, ca_key_path: Path | None, passphrase_file: Path | None
) -> Authority:
    """Who signs. Raises CommandFailed."""
    from rivven.security import pki
    from rivven.security.private_files import PrivateFileError, read_bounded, read_private

    ca_path, ca_key_path = ca_path or directory / "ca.crt", ca_key_path or directory / "ca.key"
    try:
        certificates, key = read_bounded(ca_path), read_private(ca_key_path)
    except PrivateFileError as error:
        raise CommandFailed(str(error), "", Exit.CONFIG) from None
    for path, content in ((ca_path, certificates), (ca_key_path, key)):
        if content is None:
            raise CommandFailed(
                f"{path}: No such file", "make an authority with `rivven tls init-ca`", Exit.CONFIG
            )
    assert certificates is not None and key is not None
    passphrase = None
    if passphrase_file is not None:
        passphrase = _passphrase_in(passphrase_file)
    elif pki.is_encrypted(key):
        passphrase = _asked(f"Passphrase of {ca_key_path}", confirm=False)
    try:
        return pki.load_authority(certificates, key, passphrase)
    except pki.PkiError as error:
        raise CommandFailed(f"{ca_path} with {ca_key_path}: {error}", "", Exit.CONFIG) from None


def _kept(
    path: Path, authority: Authority
) -> tuple[list[x509.CertificateRevocationList], int, list[x509.RevokedCertificate]]:
    """(lists of other authorities, number and entries of ours) of a file that may not be there yet.

    A list in the authority's name with another signature is refused: going on would drop what it holds.
    """
    from cryptography import x509

    from rivven.security.tls_inspection import CertificateFileError, revocation_lists_in

    if not path.exists():
        return [], 0, []
    try:
        found = revocation_lists_in(path)
    except CertificateFileError as error:
        raise CommandFailed(str(error), "", Exit.CONFIG) from None
    others, number, entries = [], 0, []
    for one in found:
        if one.issuer != authority.certificate.subject:
            others.append(one)
        elif not one.is_signature_valid(authority.key.public_key()):
            name = authority.certificate.subject.rfc4514_string()
            raise CommandFailed(
                f"{path}: its list was signed with another key of {name}",
                "name another file with --out",
                Exit.CONFIG,
            )
        else:
            entries += list(one)
            try:
                number = one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            except x509.ExtensionNotFound:
                number = 0
    return others, number, entries


def _to_revoke(file: Path, authority: Authority) -> x509.Certificate:
    from cryptography import x509

    from rivven.security import pki
    from rivven_cli.pem import certificate_in

    try:
        certificate = x509.load_der_x509_certificate(certificate_in(file))
    except (ValueError, x509.InvalidVersion):
        raise CommandFailed(f"{file}: holds a damaged certificate", "", Exit.CONFIG) from None
    if not pki.issued_by(authority, certificate):
        raise CommandFailed(f"{file}: was not issued by this authority", "", Exit.REFUSED)
    return certificate


def _reason(word: str | None) -> x509.ReasonFlags | None:
    from cryptography import x509

    return None if word is None else x509.ReasonFlags[REASONS[word]]


def _list_pem(*lists: x509.CertificateRevocationList) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(one.public_bytes(Encoding.PEM) for one in lists)


def _refuse_existing(paths: tuple[Path, ...], force: bool) -> None:
    for path in paths:
        if path.exists() and not force:
            raise CommandFailed(f"{path} is there already", "--force replaces it", Exit.EXISTS)


def _write_pair(
    cert_path: Path,
    certificates: tuple[x509.Certificate, ...],
    key_path: Path,
    key: PrivateKey,
    passphrase: str | None,
) -> None:
    from rivven.security import pki
    from rivven.security.private_files import write_private

    try:
        cert_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(key_path, pki.key_pem(key, passphrase))
        write_private(cert_path, pki.certificate_pem(*certificates))
        cert_path.chmod(0o644)
    except OSError as error:
        raise CommandFailed(f"{cert_path.parent}: {error.strerror}", "", Exit.FAILED) from None


def _facts(certificate: x509.Certificate) -> dict[str, object]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "not_after": stamp(certificate.not_valid_after_utc),
    }


def _passphrase_in(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(PASSPHRASE_BYTES_MAX + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}", "", Exit.CONFIG) from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{file} is not UTF-8 text", "", Exit.CONFIG) from None
    if not text or len(content) > PASSPHRASE_BYTES_MAX:
        raise CommandFailed(f"{file} holds no passphrase", "", Exit.CONFIG)
    return text


def _asked(prompt: str, *, confirm: bool) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("No terminal to ask for the passphrase: use --passphrase-file.")
    answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer
