"""Having no descriptor left for a moment: nothing was lost and the disk is sound, so what needs one waits.

Driver, for threads only: it blocks. The event loop gives such a request up instead (`is_shortage`), and the
client tries again. It must not be used for what may not be done twice.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE})
"""What `open` fails with when the process, or the whole system, has none left."""

PAUSE_SECONDS = 0.1
"""Between two tries: descriptors come back when connections close."""

TRIES_MAX = 6000
"""Ten minutes: longer than any storm of connections, short enough that a leak ends with its reason."""

_log = logging.getLogger("rivven.log")


def is_shortage(error: BaseException | None) -> bool:
    """Whether something failed for want of a descriptor only."""
    return isinstance(error, OSError) and error.errno in SHORTAGE


def patiently(step: Callable[[], T], pause: Callable[[float], object] | None = None) -> T:
    """Do a step that needs a descriptor and changes nothing without one; wait until there is one.

    Raises what the step raises, a shortage only after TRIES_MAX.
    """
    wait = threading.Event().wait if pause is None else pause
    for tried in range(TRIES_MAX):
        try:
            return step()
        except OSError as error:
            if not is_shortage(error):
                raise
            if tried == 0:
                _log.warning("out of descriptors, what has to reach the disk waits: %s", error)
        wait(PAUSE_SECONDS)
    return step()
