"""How the command ends: exit codes and one-line errors with a hint."""

from __future__ import annotations

from enum import IntEnum

from rivven_client.failures import ClientFailed, FailureKind


class Exit(IntEnum):
    """Exit codes; 3 to 9 are also those of the server process (rivven.app.failures)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    ADDRESS = 4
    DATA_DIRECTORY = 5
    NO_CREDENTIALS = 6
    STORAGE = 7
    KEYS = 8
    UNFINISHED = 9
    UNREACHABLE = 10
    AUTHENTICATION = 11
    DENIED = 12
    NOT_FOUND = 13
    EXISTS = 14
    TIMEOUT = 15
    REFUSED = 16
    INTERRUPTED = 130


_BY_KIND = {
    FailureKind.UNREACHABLE: Exit.UNREACHABLE,
    FailureKind.AUTHENTICATION: Exit.AUTHENTICATION,
    FailureKind.TLS: Exit.AUTHENTICATION,
    FailureKind.DENIED: Exit.DENIED,
    FailureKind.NOT_FOUND: Exit.NOT_FOUND,
    FailureKind.EXISTS: Exit.EXISTS,
    FailureKind.BUSY: Exit.EXISTS,  # what it was before it had a hint of its own
    FailureKind.TIMEOUT: Exit.TIMEOUT,
    FailureKind.INVALID: Exit.REFUSED,
    FailureKind.OTHER: Exit.FAILED,
}


class CommandFailed(Exception):
    """A command that cannot go on: a one-line reason, a hint (may be empty) and the exit code."""

    def __init__(self, reason: str, hint: str = "", code: int = Exit.FAILED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.code = code


def from_client(failure: ClientFailed) -> CommandFailed:
    """The same failure with the exit code of its kind."""
    return CommandFailed(failure.reason, failure.kind.value, _BY_KIND[failure.kind])
