"""The file that keeps a partition's leader epochs, `leader-epochs`; a lost one is rebuilt from the batches.
Blocking.

A partition whose epoch never rose has no such file: everything in it carries epoch 0.
"""

from __future__ import annotations

import logging

from rivven.errors import StorageFailed
from rivven.log import framed_file
from rivven.log.epochs import EPOCHS_MAGIC, EPOCHS_VERSION, LeaderEpochs, decode_epochs
from rivven.log.file_cache import FileCache
from rivven.log.files import Files
from rivven.log.framed_file import FramedFileDamaged
from rivven.log.scanning import BatchDamaged
from rivven.log.segment import Segment
from rivven.log.segment_kind import headers_from

EPOCHS_NAME = "leader-epochs"

_log = logging.getLogger("rivven.log")


def load_epochs(
    files: Files, cache: FileCache, directory: str, segments: list[Segment], at_least: int
) -> LeaderEpochs:
    """The epochs of a partition. `at_least` is the checkpoint's word for the current one. Raises OSError, and
    StorageFailed when they have to be found in a segment that is damaged."""
    path = f"{directory}/{EPOCHS_NAME}"
    try:
        found = framed_file.read(files, path, EPOCHS_MAGIC, EPOCHS_VERSION)
        if found is not None:
            return decode_epochs(found[1])
        if at_least <= 0:
            return LeaderEpochs()
        _log.error("%s is missing: rebuilding it from the batches", path)
    except (FramedFileDamaged, ValueError) as error:
        _log.error("leader epochs are rebuilt from the batches: %s", error)
    epochs = _from_batches(cache, segments)
    if epochs.current < at_least:
        epochs.assign(at_least, _end_of(cache, segments))
    save_epochs(files, directory, epochs)
    return epochs


def save_epochs(files: Files, directory: str, epochs: LeaderEpochs) -> None:
    """Replace the file durably. Raises OSError."""
    content = framed_file.encode(EPOCHS_MAGIC, EPOCHS_VERSION, epochs.encode())
    framed_file.replace(files, f"{directory}/{EPOCHS_NAME}", content)


def _from_batches(cache: FileCache, segments: list[Segment]) -> LeaderEpochs:
    entries: list[tuple[int, int]] = []
    for segment in segments:
        try:
            for _, header in headers_from(cache, segment):
                if header.leader_epoch >= 0 and (not entries or header.leader_epoch > entries[-1][0]):
                    entries.append((header.leader_epoch, header.base_offset))
        except BatchDamaged as damage:
            _log.error("%s: cannot read epochs after %s", segment.data.path, damage)
    return LeaderEpochs(entries)


def _end_of(cache: FileCache, segments: list[Segment]) -> int:
    end = segments[-1].base_offset if segments else 0
    if segments:
        try:
            for _, header in headers_from(cache, segments[-1]):
                end = header.last_offset + 1
        except BatchDamaged as damage:
            raise StorageFailed(f"{segments[-1].data.path}: {damage}") from None
    return end
