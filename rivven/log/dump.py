"""Offline dump of a segment (`rivven log dump`): headers, and records if asked for, up to what cannot be
read.

Reads only, without keys: of sealed batches it shows the headers. Blocking and a Python loop: a tool, not for
the broker's process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rivven.log.files import Files
from rivven.log.scanning import BatchDamaged, scan
from rivven.log.sealing import SEGMENT_HEADER_BYTES, frame_intact, parse_segment_header
from rivven.records.batch import BatchHeader, CorruptBatch, Record, crc_matches, read_records
from rivven.records.unreadable import RecordsUnreadable

SEALED = "they are sealed"


@dataclass(frozen=True, slots=True)
class DumpedBatch:
    """One batch. `unreadable` says why its records could not be opened. Of a sealed one the header's CRC is 0
    and `crc_matches` is about the frame."""

    position: int
    header: BatchHeader
    crc_matches: bool
    records: tuple[Record, ...] = ()
    unreadable: str | None = None
    sealed: bool = False


def dump_segment(files: Files, path: str, *, records: bool = False) -> Iterator[DumpedBatch]:
    """The batches of one `.log` file in order, also those with a wrong CRC.

    Raises BatchDamaged (with the position) where no further batch can be found, and OSError.
    """
    file = files.open(path, "read")
    try:
        sealed = parse_segment_header(file.read(SEGMENT_HEADER_BYTES, 0)) is not None
    except CorruptBatch as error:
        raise BatchDamaged(0, error.message) from None
    start = SEGMENT_HEADER_BYTES if sealed else 0
    for position, header, batch in scan(file, start, file.size(), sealed=sealed, check_crc=False):
        if sealed:
            yield DumpedBatch(position, header, frame_intact(batch), (), SEALED if records else None, True)
            continue
        intact = crc_matches(batch, 0, header)
        if not records or not intact:
            yield DumpedBatch(position, header, intact)
            continue
        try:
            yield DumpedBatch(position, header, intact, tuple(read_records(batch, 0, header)))
        except RecordsUnreadable as error:
            yield DumpedBatch(position, header, intact, (), str(error))


__all__ = ["BatchDamaged", "DumpedBatch", "dump_segment"]
