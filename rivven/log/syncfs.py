"""Linux' syncfs(2), which Python does not offer: one call syncs a whole file system.

Only handed out where it reports a failed write-back (Linux 5.8 and later); before, a lost page would pass for
durable.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Callable

_REPORTS_ERRORS_FROM = (5, 8)


def load_syncfs() -> Callable[[int], None] | None:
    """A function that syncs the file system of a descriptor and raises OSError, or None where it cannot be
    trusted."""
    if sys.platform != "linux":
        return None
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if version is None or (int(version[1]), int(version[2])) < _REPORTS_ERRORS_FROM:
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        return None

    def syncfs(fd: int) -> None:
        if function(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    return syncfs
