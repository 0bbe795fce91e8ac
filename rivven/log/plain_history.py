"""The mark of a partition that never held a plain segment: an empty file, `never-plain`.

It is made with the directory of a partition whose topic is encrypted, durably before the partition is used,
and goes with the first plain segment, in the commit round that makes that segment's name durable; a recovery
that finds a plain segment takes it away as well. What is in doubt, as the tail that a power failure left
without its first page, counts as plain: erasure must not promise too much.
"""

from __future__ import annotations

from collections.abc import Iterable

from rivven.log.files import Files

MARK_NAME = "never-plain"


def make_mark(files: Files, directory: str) -> None:
    """For a directory with nothing in it. Raises OSError. Durable once the directory is synced."""
    files.open(f"{directory}/{MARK_NAME}", "create")


def take_away(files: Files, directory: str) -> None:
    """Raises OSError. Durable once the directory is synced."""
    if files.exists(f"{directory}/{MARK_NAME}"):
        files.remove(f"{directory}/{MARK_NAME}")


def had_plain(names: Iterable[str], log_end_offset: int) -> bool:
    """Whether something plain may ever have been written, from the names in a partition's directory."""
    names = set(names)
    return MARK_NAME not in names and (bool(names) or log_end_offset > 0)
