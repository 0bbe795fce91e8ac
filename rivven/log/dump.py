"""Offline dump of a segment (`rivven log dump`): headers, and records if asked for, up to what cannot be
read.

Reads only. Blocking and a Python loop: a tool, not for the broker's process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rivven.log.files import Files
from rivven.log.scanning import BatchDamaged, scan
from rivven.records.batch import BatchHeader, Record, crc_matches, read_records
from rivven.records.unreadable import RecordsUnreadable


@dataclass(frozen=True, slots=True)
class DumpedBatch:
    """One batch. `unreadable` says why its records could not be opened."""

    position: int
    header: BatchHeader
    crc_matches: bool
    records: tuple[Record, ...] = ()
    unreadable: str | None = None


def dump_segment(files: Files, path: str, *, records: bool = False) -> Iterator[DumpedBatch]:
    """The batches of one `.log` file in order, also those with a wrong CRC.

    Raises BatchDamaged (with the position) where no further batch can be found, and OSError.
    """
    file = files.open(path, "read")
    for position, header, batch in scan(file, 0, file.size(), check_crc=False):
        intact = crc_matches(batch, 0, header)
        if not records or not intact:
            yield DumpedBatch(position, header, intact)
            continue
        try:
            yield DumpedBatch(position, header, intact, tuple(read_records(batch, 0, header)))
        except RecordsUnreadable as error:
            yield DumpedBatch(position, header, intact, (), str(error))


__all__ = ["BatchDamaged", "DumpedBatch", "dump_segment"]
