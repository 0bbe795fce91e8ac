"""`rivven produce`: records from arguments or from the lines of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO

import click

from rivven_cli.output import done, output_option
from rivven_cli.session import Session, pass_session

LINE_BYTES_MAX = 64 * 1024 * 1024  # far above any max.message.bytes; bounds what one endless line can take


@click.command()
@click.argument("topic")
@click.argument("values", nargs=-1)
@click.option("--key", help="The key of every record.")
@click.option(
    "--key-separator", metavar="TEXT", help="Split each record into key and value at its first TEXT."
)
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header; repeatable.")
@click.option("--partition", type=click.IntRange(0), help="Write to this partition.")
@click.option(
    "--compression",
    type=click.Choice(["none", "gzip", "snappy", "lz4", "zstd"]),
    default="none",
    show_default=True,
)
@click.option("--tombstone", is_flag=True, help="Write one record with --key and no value.")
@output_option
@pass_session
def produce(
    session: Session,
    topic: str,
    values: tuple[str, ...],
    key: str | None,
    key_separator: str | None,
    headers: tuple[str, ...],
    partition: int | None,
    compression: str,
    tombstone: bool,
    output: str,
) -> None:
    """Write VALUES, or the lines of standard input, to TOPIC and wait until they are acknowledged."""
    if key is not None and key_separator is not None:
        raise click.UsageError("--key and --key-separator exclude each other.")
    if key_separator == "":
        raise click.UsageError("--key-separator must not be empty.")
    if tombstone and (key is None or values):
        raise click.UsageError("--tombstone needs --key and takes no value.")
    pairs = _headers(headers)
    from rivven_client.producing import RecordWriter

    writer = RecordWriter(session.connection, topic, compression=compression)
    if tombstone:
        writer.write(None, _encoded(key), pairs, partition)
    else:
        separator = _encoded(key_separator)
        records = (value.encode() for value in values) if values else _lines(sys.stdin.buffer)
        for record in records:
            record_key, value = (
                _split(record, separator) if separator is not None else (_encoded(key), record)
            )
            writer.write(value, record_key, pairs, partition)
    writer.close()
    facts = {"topic": topic, "records": writer.acknowledged}
    if writer.last is not None:
        facts |= {"partition": writer.last[0], "offset": writer.last[1]}
    done(output, _sentence(topic, writer.acknowledged, writer.last), facts)


def _sentence(topic: str, count: int, last: tuple[int, int] | None) -> str:
    if last is None:
        return "nothing to write"
    if count == 1:
        return f"written to {topic}-{last[0]} at offset {last[1]}"
    return f"{count} records written to {topic}"


def _headers(texts: tuple[str, ...]) -> list[tuple[str, bytes]]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--header wants NAME=VALUE, not {text!r}.")
        pairs.append((name, value.encode()))  # a name may repeat, as in Kafka
    return pairs


def _split(record: bytes, separator: bytes) -> tuple[bytes, bytes]:
    key, found, value = record.partition(separator)
    if not found:
        raise click.UsageError(f"no key separator {separator.decode()!r} in the record {record[:40]!r}.")
    return key, value


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise click.UsageError(f"a line is longer than {LINE_BYTES_MAX} bytes.")
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
