"""What the broker asks of its process: descriptors, garbage collection, time slices of threads."""

from __future__ import annotations

import ctypes
import gc
import sys

SWITCH_INTERVAL_S = 0.001
"""How long a Python thread may keep the interpreter while another waits. I/O threads hold it for
microseconds;
the default of 5 ms would show in the loop's latency whenever one of them does not."""


MAPPED_BLOCK_BYTES = 4 << 20
"""Blocks from this size on are mapped one by one. Batches of the usual 1 MiB stay in the heap, where they
cost no page faults."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns the limit in force (0 = unknown)."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        # macOS reports an unlimited hard limit but refuses it; its real ceiling is OPEN_MAX.
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(10_240, hard), hard))
        except (ValueError, OSError):
            return soft
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def descriptor_limit() -> int:
    """The soft limit of open files in force; 0 where there is none to ask."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def bound_allocator() -> None:
    """Keep what large frames and answers leave behind out of the heap (glibc only).

    By default glibc stops mapping large blocks one by one after the first is freed, up to 32 MiB; a burst of
    15 MiB frames then leaves holes that stay resident. Above the threshold a block goes back to the system.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc: its allocator has its own ways
        return
    mallopt(_M_MMAP_THRESHOLD, MAPPED_BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, 2 * MAPPED_BLOCK_BYTES)


def settle() -> None:
    """After start: what exists now stays, so the collector need not look at it again."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()
    gc.enable()


def settle_late_imports() -> None:
    """The same for what the HTTP listener imported once clients were served; collecting now would stall
    them."""
    gc.freeze()
