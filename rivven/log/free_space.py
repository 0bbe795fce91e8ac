"""Keeps clients from filling the disk: below log.dir.reserve.bytes their appends are refused until space
returns.

Group commits, metadata, deletion and retention go on in the reserve.
"""

from __future__ import annotations

import errno
import logging

from rivven.log.host import Host
from rivven.log.threads import Cancellable

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a write fails with when the disk is full: it is sound, and may have room again."""

CHECK_SECONDS = 1.0
"""Between looks at the free space: at 1 GB/s a reserve of 1 GiB lasts that long."""
RESUME_FACTOR = 1.1
"""Resume only 10 % above the reserve, so that accepting does not flicker."""

_log = logging.getLogger("rivven.log")


class FreeSpaceWatch:
    """Sets `Host.accepting`."""

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self._path = path
        self._timer: Cancellable | None = None

    def start(self) -> None:
        """Look now and from now on; nothing to do without a reserve."""
        if self._host.limits.reserve_bytes > 0:
            self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        host = self._host
        reserve = host.limits.reserve_bytes
        try:
            free = host.files.free_bytes(self._path)
        except OSError as error:
            host.complain(f"free space of {self._path} is unknown: {error}")
        else:
            if host.accepting and free < reserve:
                host.accepting = False
                _log.error("%d bytes free of a reserve of %d: produce is refused", free, reserve)
            elif not host.accepting and free >= reserve * RESUME_FACTOR:
                host.accepting = True
                _log.warning("%d bytes free: produce is accepted again", free)
        self._timer = host.threads.later(CHECK_SECONDS, self._look)
