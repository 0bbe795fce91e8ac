"""Reads a directory of ``*.cedar`` files, or a schema.

A driver of files, synchronous; it runs on a thread when a broker serves. It must not keep anything: see
`store` for the last good policies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rivven.security.authz.cedar import binding
from rivven.security.authz.cedar.book import PoliciesRefused, PolicyBook, PolicyProblem, parse_book
from rivven.security.authz.cedar.vocabulary import schema_text

SUFFIX = ".cedar"

FILES_MAX = 1_000
"""Files of one directory; each may be looked at four times a second."""

FILE_BYTES_MAX = 1 << 20
"""One file; a policy takes about 200 bytes."""


def policy_files(directory: Path) -> list[Path]:
    """The files of a policy directory in order of name. Raises PoliciesRefused when it cannot be listed."""
    try:
        found = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise PoliciesRefused([PolicyProblem(str(directory), 0, error.strerror or str(error))]) from None
    if len(found) > FILES_MAX:
        raise PoliciesRefused([PolicyProblem(str(directory), 0, f"more than {FILES_MAX} {SUFFIX} files")])
    return found


def load_schema(path: Path | None = None) -> Any:
    """A schema handle: the shipped one, or the file that stands in for it. Raises PoliciesRefused."""
    source = "the shipped schema" if path is None else str(path)
    try:
        return binding.parse_schema(schema_text() if path is None else _read(path))
    except binding.CedarRefused as error:
        raise PoliciesRefused([PolicyProblem(source, 0, str(error))]) from None


def load_policies(directory: Path, schema: Any) -> PolicyBook:
    """Read, parse and validate a directory.

    Raises PoliciesRefused with every problem. A directory without any file is refused: a mount that has gone
    must not look like a decision to drop all policies (an empty file is such a decision).
    """
    files = policy_files(directory)
    if not files:
        raise PoliciesRefused(
            [PolicyProblem(str(directory), 0, f"holds no {SUFFIX} file (one may be empty)")]
        )
    return parse_book({str(path): _read(path) for path in files}, str(directory), schema)


def _read(path: Path) -> str:
    if path.exists() and not path.is_file():  # reading a pipe could take forever
        raise PoliciesRefused([PolicyProblem(str(path), 0, "is not a file")])
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise PoliciesRefused([PolicyProblem(str(path), 0, error.strerror or str(error))]) from None
    if len(content) > FILE_BYTES_MAX:
        raise PoliciesRefused([PolicyProblem(str(path), 0, f"larger than {FILE_BYTES_MAX} bytes")])
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise PoliciesRefused([PolicyProblem(str(path), 0, "is not UTF-8 text")]) from None
