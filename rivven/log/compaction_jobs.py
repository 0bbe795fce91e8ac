"""The compaction pass as jobs of a worker process: begin, clean group after group, end.

The key map stays in the process between the jobs of a pass, so a pass belongs to the one process that
began it: after the loss of that process its next job fails and the pass is given up. Values are plain
(see `worker_jobs`).
"""

from __future__ import annotations

from rivven.log.compaction_pass import CompactionPass, PassSettings
from rivven.log.files import OsFiles
from rivven.log.rewriting import Source, Target
from rivven.log.worker_jobs import WorkerFailed

_Source = tuple[int, int, str, int, bytes | None]
_Target = tuple[str, bytes | None, bytes | None]

_passes: dict[str, CompactionPass] = {}
"""The pass under way by its tag; at most one, since key maps are what the configured memory is for."""


def compaction_begin(
    tag: str,
    sources: tuple[_Source, ...],
    first_dirty_offset: int,
    end_offset: int,
    settings: tuple[int, int, int, dict[int, int], bytes],
) -> tuple[int, int, int]:
    """Map the dirty keys; returns the fields of `Mapped`. Gives up whatever pass was under way."""
    for abandoned in list(_passes):
        compaction_end(abandoned)
    compaction = CompactionPass(OsFiles(), PassSettings(*settings))
    _passes[tag] = compaction
    parts = [Source(*fields) for fields in sources]
    return (*compaction.map_keys(parts, first_dirty_offset, end_offset),)


def compaction_clean(
    tag: str, group: tuple[_Source, ...], target: _Target
) -> tuple[bool, int, int, int, int]:
    """Rewrite one group into `target`; returns the fields of `Rewritten`."""
    compaction = _passes.get(tag)
    if compaction is None:
        raise WorkerFailed("the worker that began this compaction is gone")
    return (*compaction.rewrite([Source(*fields) for fields in group], Target(*target)),)


def compaction_end(tag: str) -> None:
    """Forget a pass and give its memory back; unknown passes are fine."""
    compaction = _passes.pop(tag, None)
    if compaction is not None:
        compaction.close()
