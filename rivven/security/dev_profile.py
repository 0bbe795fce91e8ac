"""The client files of the development profile: everything a Kafka client needs to connect, owner-only.

    <data_dir>/dev/client.properties        librdkafka's names (kcat -F, confluent-kafka, the rivven CLI)
    <data_dir>/dev/client-java.properties   the Java client's names (--command-config)
    <data_dir>/dev/admin.properties         where the Admin API is; the rivven CLI reads it beside the others

The first two hold the admin password: the server itself keeps only verifiers. They are written before the
password is shown, and rewritten only where the server's address has changed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from rivven.security.bootstrap import FirstAdmin
from rivven.security.private_files import read_private, write_private

DEV_DIRECTORY = "dev"
CLIENT_FILE = "client.properties"
JAVA_CLIENT_FILE = "client-java.properties"
ADMIN_FILE = "admin.properties"
"""A file of its own: librdkafka refuses a file with keys it does not know."""
MECHANISM = "SCRAM-SHA-256"
FOUND_BY_ITSELF = "data/dev/client.properties"
"""Where the command line looks, from the directory it is called in."""

_ADDRESS_KEY = "bootstrap.servers"


def write_client_files(directory: Path, admin: FirstAdmin, bootstrap_servers: str, ca_path: Path) -> None:
    """Write both files. `bootstrap_servers` is ``host:port``. Raises OSError, or ValueError for a path that
    cannot stand in such a file."""
    authority = str(ca_path.resolve())
    if not authority.isprintable():
        raise ValueError(f"the path {authority!r} cannot be written into a client file")
    common = [
        (_ADDRESS_KEY, bootstrap_servers),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", MECHANISM),
    ]
    plain = [
        *common,
        ("sasl.username", admin.name),
        ("sasl.password", admin.password),
        ("ssl.ca.location", authority),
    ]
    java = [
        *common,
        ("sasl.jaas.config", _jaas(admin)),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", authority),
    ]
    write_private(directory / CLIENT_FILE, _lines(plain).encode())
    write_private(directory / JAVA_CLIENT_FILE, _lines((k, _java_escaped(v)) for k, v in java).encode())


def write_admin_file(directory: Path, url: str) -> None:
    """Say where the Admin API of this start is; without one (an empty `url`) nothing is said. Raises OSError
    or PrivateFileError."""
    path = directory / ADMIN_FILE
    if url:
        write_private(path, _lines([("admin.url", url)]).encode())
    else:
        path.unlink(missing_ok=True)


def update_address(directory: Path, bootstrap_servers: str) -> None:
    """Put the address of this start into the files that exist; everything else in them stays.

    Raises OSError or PrivateFileError.
    """
    for name in (CLIENT_FILE, JAVA_CLIENT_FILE):
        content = read_private(directory / name)
        if content is None:
            continue
        lines = content.decode("utf-8", errors="surrogateescape").splitlines()
        updated = [
            f"{_ADDRESS_KEY}={bootstrap_servers}" if line.startswith(f"{_ADDRESS_KEY}=") else line
            for line in lines
        ]
        if updated != lines:
            text = "\n".join(updated) + "\n"
            write_private(directory / name, text.encode("utf-8", errors="surrogateescape"))


def first_start_lines(
    directory: Path, admin: FirstAdmin, bootstrap_servers: str, command: str = "rivven"
) -> list[str]:
    """What the first development start shows, once. `command` is how `rivven` is typed here."""
    client, java = _shown(directory / CLIENT_FILE), _shown(directory / JAVA_CLIENT_FILE)
    if client != FOUND_BY_ITSELF:
        command = f"{command} --command-config {client}"
    return [
        "First start: made a certificate authority, a server certificate and a user for development.",
        "",
        f"    address   {bootstrap_servers}   (SASL_SSL, {MECHANISM})",
        f"    user      {admin.name}",
        f"    password  {admin.password}   (shown once; clients find it in {client})",
        "",
        "Ready to paste into another terminal:",
        "",
        f"    {command} topic create hello",
        f"    {command} produce hello 'first message'",
        f"    {command} consume hello --from-beginning --exit-at-end",
        f"    kcat -F {client} -L",
        f"    kafka-topics.sh --bootstrap-server {bootstrap_servers} --command-config {java} --list",
    ]


def later_start_lines(directory: Path, bootstrap_servers: str) -> list[str]:
    """What every later start shows: where it is, and where its password can be found."""
    client = _shown(directory / CLIENT_FILE)
    return [f"Development server on {bootstrap_servers} (SASL_SSL, {MECHANISM}); its login is in {client}."]


def _lines(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{key}={value}\n" for key, value in pairs)


def _jaas(admin: FirstAdmin) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        f"username={quoted(admin.name)} password={quoted(admin.password)};"
    )


def _java_escaped(text: str) -> str:
    """A value of a Java properties file: backslashes doubled, everything beyond ASCII as ``\\uXXXX``."""
    units = text.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def _shown(path: Path) -> str:
    """A path as one would type it here: relative where it lies below the working directory."""
    try:
        path = path.resolve().relative_to(Path.cwd())
    except ValueError:
        pass
    return shlex.quote(str(path))
