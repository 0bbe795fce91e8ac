"""`rivven log`: verify, dump - the files of a stopped broker."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rivven_cli.exits import CommandFailed, Exit
from rivven_cli.output import output_option, show_one, show_rows

if TYPE_CHECKING:
    from rivven.log.dump import DumpedBatch
    from rivven.records.batch import Record


@click.group()
def log() -> None:
    """Verify and dump log files of a stopped broker."""


@log.command("verify")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@output_option
def verify(path: Path, output: str) -> int:
    """Check a data directory, a partition's directory or one .log file: every checksum, offset and index
    entry.

    Ends with code 7 when records are damaged; what a broker rebuilds by itself is only reported.
    """
    from rivven.log.files import OsFiles
    from rivven.log.identity import DirectoryLocked
    from rivven.log.verify import verify as verify_log

    try:
        report = verify_log(OsFiles(), str(path))
    except DirectoryLocked as error:
        raise CommandFailed(str(error), "stop the broker first", Exit.DATA_DIRECTORY) from None
    except (OSError, ValueError) as error:
        raise CommandFailed(_reason(error, path), "", Exit.STORAGE) from None
    facts = {
        "damaged": report.damaged,
        "partitions": report.partitions,
        "segments": report.segments,
        "sealed": report.sealed_segments,
        "batches": report.batches,
        "records": report.records,
        "bytes": report.size_bytes,
    }
    findings = [asdict(finding) for finding in report.findings]
    if output == "table":
        show_one(output, facts)
        if findings:
            click.echo()
            show_rows(output, findings, ("path", "position", "reason", "damage"))
    else:
        show_one(output, {**facts, "findings": findings})
    return Exit.STORAGE if report.damaged else Exit.OK


@log.command("dump")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--records", is_flag=True, help="Also the records of every batch.")
@output_option
def dump(paths: tuple[Path, ...], records: bool, output: str) -> int:
    """Print the batches of segment files (.log) in order, up to what cannot be read."""
    from rivven.log.dump import BatchDamaged, dump_segment
    from rivven.log.files import OsFiles

    damaged = False
    for path in paths:
        try:
            for batch in dump_segment(OsFiles(), str(path), records=records):
                damaged = damaged or not batch.crc_matches
                _print(output, {"file": str(path), **_batch(batch, records)})
        except BatchDamaged as error:
            damaged = True
            click.echo(f"rivven: {path}: position {error.position}: {error.reason}", err=True)
        except OSError as error:
            raise CommandFailed(_reason(error, path), "", Exit.STORAGE) from None
    return Exit.STORAGE if damaged else Exit.OK


def _print(output: str, facts: dict[str, Any]) -> None:
    """One batch at a time: a segment holds millions, and is never held in memory."""
    if output == "json":
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    if output == "yaml":
        import yaml

        click.echo("---\n" + yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), nl=False)
        return
    shown = {
        name: value for name, value in facts.items() if name not in ("file", "record_list", "unreadable")
    }
    click.echo("  ".join(f"{name}={value}" for name, value in shown.items()))
    if facts.get("unreadable"):
        click.echo(f"    the records cannot be shown: {facts['unreadable']}")
    for record in facts.get("record_list", ()):
        click.echo("    " + "  ".join(f"{name}={value!r}" for name, value in record.items()))


def _batch(batch: DumpedBatch, records: bool) -> dict[str, Any]:
    header = batch.header
    facts: dict[str, Any] = {
        "position": batch.position,
        "base_offset": header.base_offset,
        "last_offset": header.last_offset,
        "epoch": header.leader_epoch,
        "records": header.record_count,
        "size": header.size_bytes,
        "codec": _codec(header.codec),
        "max_timestamp_ms": header.max_timestamp,
        "log_append_time": header.log_append_time,
        "producer": header.producer_id,
        "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence,
        "transactional": header.is_transactional,
        "control": header.is_control,
        "crc": "ok" if batch.crc_matches else "wrong",
        "sealed": batch.sealed,
    }
    if records:
        facts["record_list"] = [_record(record) for record in batch.records]
        facts["unreadable"] = batch.unreadable
    return facts


def _record(record: Record) -> dict[str, Any]:
    return {
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        **_bytes("key", record.key),
        **_bytes("value", record.value),
        "headers": [{"name": str(name), **_bytes("value", value)} for name, value in record.headers],
    }


def _bytes(name: str, value: bytes | memoryview | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    try:
        return {name: bytes(value).decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def _codec(codec: int) -> str:
    names = ("none", "gzip", "snappy", "lz4", "zstd")
    return names[codec] if codec < len(names) else f"unknown ({codec})"


def _reason(error: OSError | ValueError, path: Path) -> str:
    return (
        f"{error.filename or path}: {error.strerror}"
        if isinstance(error, OSError) and error.strerror
        else str(error)
    )
