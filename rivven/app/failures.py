"""Why a broker could not start: one line, a hint, an exit code.

Everything start-up can refuse becomes a `StartFailed`; `serve` prints it and exits. Codes are documented in
docs/cli.md.
"""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `rivven server`."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    CONFIG = 3
    ADDRESS = 4
    DATA_DIRECTORY = 5
    NO_CREDENTIALS = 6
    STORAGE = 7
    KEYS = 8
    UNFINISHED = 9
    FORCED = 130


class StartFailed(Exception):
    """Start-up is refused. `reason` is one line, `hint` says what to do about it."""

    def __init__(self, reason: str, hint: str, exit_code: ExitCode) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.exit_code = exit_code


def address_failure(listener: str, bind: str, error: OSError) -> StartFailed:
    """A listening address that cannot be had."""
    hints = {
        errno.EADDRINUSE: "another process listens there; stop it, or take another port (--dev: --port N)",
        errno.EACCES: "ports below 1024 need privileges; choose a higher one",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }
    hint = hints.get(error.errno or 0, "check the listener's bind address")
    reason = f"cannot listen on {bind} (listener {listener}): {error.strerror or error}"
    return StartFailed(reason, hint, ExitCode.ADDRESS)
