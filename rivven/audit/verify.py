"""Checks files of audit lines offline: every hash, every number, every signature, and what must follow what.

Driver over the file seam; reads files line by line and never holds one. Editing, deleting and moving lines
breaks the chain here. Cutting the end off and writing a whole new chain do not: those are found by comparing
with a head that was kept elsewhere, or by the signatures as long as the key is safe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from rivven.audit.chain import GENESIS, Head, line_hash, split_signature
from rivven.audit.events import LINE_BYTES_MAX
from rivven.audit.file_sink import DIGITS, RETENTION
from rivven.audit.signing import public_keys
from rivven.audit.tail import Numbered, numbered, read_first
from rivven.audit.trail import CHECKPOINT_LINES, PERIOD_SECONDS
from rivven.log.files import File, Files

READ_BYTES: Final = 1 << 20
LONGEST_LINE: Final = LINE_BYTES_MAX * 2
"""A line of ours with its signature is shorter; more without a newline is damage."""
FINDINGS_MAX: Final = 100
"""More would not tell more: one change in the middle is one finding, not one per later line."""

UNSIGNED_MAX: Final = 3 * CHECKPOINT_LINES
"""The trail signs every CHECKPOINT_LINES lines; one batch of a sink may come in between, and a crash."""
UNSIGNED_SECONDS_MAX: Final = 5 * PERIOD_SECONDS
"""The trail signs what a minute brought before it goes on, whatever the clock did in between."""
NOTHING_SIGNED: Final = (
    "no line is signed: the chain was written anew, or its first start crashed before it could sign"
)
"""A start signs at once, so a crash leaves such a chain in its first moments only, until the next start."""
_OF_THE_TRAIL: Final = b'"event_type":"audit"'
_LIFECYCLE: Final = b'"event_type":"lifecycle"'
"""A start: what came before may be as old as the crash before it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: file, number of the line in it (from 1), and what."""

    file: str
    line: int
    reason: str


@dataclass(slots=True)
class Report:
    """What was read. `head` is the last line's; no signature covers lines from `signed_below` on."""

    files: int = 0
    lines: int = 0
    first_sequence: int | None = None
    head: Head = field(default_factory=Head)
    checkpoints: int = 0
    signed_below: int = 0
    recovered: int = 0
    dropped_events: int = 0
    findings: list[Finding] = field(default_factory=list)
    hashes: dict[str, int] = field(default_factory=dict, repr=False)
    """Sequence numbers by hash, of the heads that were asked for."""

    @property
    def intact(self) -> bool:
        return not self.findings


class Verifier:
    """Checks one chain over several files, oldest first. `public_key` is PEM; None checks no signatures.

    It may be several keys, oldest first, of a chain whose key was rotated: a key counts only until the first
    signature of a later one.

    `heads` are hashes (hex) kept elsewhere: each must be the hash of one of the lines.
    """

    def __init__(self, files: Files, public_key: bytes | None = None, heads: Sequence[str] = ()) -> None:
        self._files = files
        self._keys = [] if public_key is None else [_load_key(pem) for pem in public_keys(public_key)]
        self._signer = 0
        """The key, of those given, that signed last."""
        self._heads = list(heads)
        self._report = Report()
        self._expected: Head | None = None
        self._removed: list[tuple[int, str]] = []
        self._unsigned_since: datetime | None = None
        self._first_previous = ""

    def verify(self, paths: Sequence[str]) -> Report:
        """Check the files in the order of their first lines; raises OSError."""
        report = self._report
        for path in self._ordered(paths):
            report.files += 1
            self._check_file(path)
        if report.first_sequence:
            self._check_beginning(report.first_sequence)
        elif self._keys and report.lines and not report.signed_below and not report.findings:
            self._find("", 0, NOTHING_SIGNED)
        for head in self._heads:
            if head not in report.hashes:
                self._find(
                    "", 0, f"no line has the hash {head}: the end was cut off, or the chain was rewritten"
                )
        return report

    def _ordered(self, paths: Sequence[str]) -> list[str]:
        """By the number of the first line, so that any order of arguments will do; files without one last."""
        keyed: list[tuple[int, int, str]] = []
        for place, path in enumerate(paths):
            first = read_first(self._files.open(path, "read"))
            keyed.append((first.sequence if first is not None else 1 << 62, place, path))
        return [path for _, _, path in sorted(keyed)]

    # -- one file --------------------------------------------------------------------------------------------

    def _check_file(self, path: str) -> None:
        number = 0
        for number, (data, whole) in enumerate(lines_of(self._files.open(path, "read")), 1):
            if not whole:
                self._find(path, number, "the line is not finished: a crash, or the end was cut off")
                return
            self._check_line(path, number, data)

    def _check_line(self, path: str, number: int, data: bytes) -> None:
        report = self._report
        line = numbered(data)
        if line is None:
            self._find(path, number, "this is not an audit line")
            self._expected = None
            return
        report.lines += 1
        if report.first_sequence is None:
            report.first_sequence = line.sequence
            if line.sequence == 0 and line.previous != GENESIS:
                self._find(path, number, "the first line names a line before it")
            self._expected = Head(line.sequence, line.previous)
            self._first_previous = line.previous
        expected = self._expected
        if expected is not None:
            if line.sequence != expected.next_sequence:
                self._find(path, number, _order_problem(line.sequence, expected.next_sequence))
            elif line.previous != expected.hash:
                self._find(path, number, "the line before it was changed: this line names another hash")
        digest = line_hash(data)
        self._expected = report.head = Head(line.sequence + 1, digest)
        if digest in self._heads:
            report.hashes[digest] = line.sequence
        self._check_own(path, number, line, data)

    def _check_own(self, path: str, number: int, line: Numbered, data: bytes) -> None:
        """What the trail says about itself: signatures, removals, gaps, recoveries."""
        sequence = line.sequence
        signed, signature = split_signature(data)
        if signature is not None:
            self._check_signature(path, number, sequence, signed, signature)
        elif self._keys:
            self._check_unsigned(path, number, line, data)
        if _OF_THE_TRAIL not in data:
            return
        fields = json.loads(data)
        details = fields.get("details")
        if not isinstance(details, dict):
            details = {}
        action = fields.get("action")
        if action == "checkpoint":
            self._report.checkpoints += 1
            if signature is None:
                self._find(path, number, "the checkpoint is not signed")
        elif action == RETENTION and self._keys and self._report.signed_below != sequence + 1:
            self._find(path, number, "the record of a removal is not signed")
        elif action == RETENTION:
            self._removed.append((_number(details, "removed_below"), str(details.get("last_hash", ""))))
        elif action == "recovered":
            self._report.recovered += 1
        elif action == "gap":
            self._report.dropped_events += _number(details, "count")

    def _check_unsigned(self, path: str, number: int, line: Numbered, data: bytes) -> None:
        """Lines wait for a signature for a minute and CHECKPOINT_LINES lines at most; a crash and the start
        after it may come in between."""
        if line.sequence - max(self._report.signed_below, self._report.first_sequence or 0) == UNSIGNED_MAX:
            self._find(path, number, f"{UNSIGNED_MAX} lines in a row without a signature")
        at = line.moment
        if at is None or _OF_THE_TRAIL in data:
            return
        if self._unsigned_since is None or _LIFECYCLE in data:
            self._unsigned_since = at
        elif (at - self._unsigned_since).total_seconds() > UNSIGNED_SECONDS_MAX:
            self._find(path, number, f"no signature for more than {UNSIGNED_SECONDS_MAX:g} s")
            self._unsigned_since = datetime.max.replace(tzinfo=UTC)  # said once

    def _check_signature(
        self, path: str, number: int, sequence: int, signed: bytes, signature: bytes
    ) -> None:
        if not self._keys:
            return
        fitting = (place for place, key in enumerate(self._keys) if _signed(key, signed, signature))
        signer = next(fitting, None)
        if signer is None:
            self._find(path, number, f"the signature is not of {self._key_text}")
            return
        if signer < self._signer:
            self._find(path, number, "the signature is of a key that had been replaced")
            return
        self._signer = signer
        self._report.signed_below = sequence + 1
        self._unsigned_since = None

    @property
    def _key_text(self) -> str:
        return "this key" if len(self._keys) == 1 else "any of these keys"

    def _check_beginning(self, first: int) -> None:
        """A chain that does not begin at 0 must say who removed its beginning."""
        known = [(below, digest) for below, digest in self._removed if below == first]
        if not known:
            if not any(below > first for below, _ in self._removed):  # recorded, not yet carried out
                self._find(
                    "", 0, f"the lines below {first} are missing, and no record says that they were removed"
                )
        elif known[0][1] != self._first_previous:
            self._find("", 0, f"the lines below {first} are not those that the record of their removal names")

    def _find(self, path: str, line: int, reason: str) -> None:
        if len(self._report.findings) < FINDINGS_MAX:
            self._report.findings.append(Finding(path, line, reason))


def _number(details: dict[str, Any], name: str) -> int:
    """A number of a line that anybody may have written; 0 when it is none."""
    found = details.get(name)
    return found if type(found) is int else 0


def _order_problem(found: int, expected: int) -> str:
    if found > expected:
        return f"{found - expected} lines before this one are missing ({expected} to {found - 1})"
    return f"this line has the number {found}, after {expected - 1}: it was moved, repeated or put in"


def _signed(key: Any, signed: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _load_key(pem: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 public key")
    return key


def lines_of(file: File) -> Iterator[tuple[bytes, bool]]:
    """(line without newline, whether it had one) for every line of a file; raises OSError."""
    position, rest = 0, b""
    while chunk := file.read(READ_BYTES, position):
        position += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line, True
        if len(rest) > LONGEST_LINE:
            yield rest[:LONGEST_LINE], False
            return
    if rest:
        yield rest, False


def chain_files(files: Files, path: str) -> list[str]:
    """The files of the chain whose current file is `path`, oldest first: rotated ones, then itself."""
    directory, _, name = path.rpartition("/")
    prefix = f"{name}."
    rotated = sorted(
        found
        for found in files.list(directory or ".")
        if found.startswith(prefix) and len(found) == len(prefix) + DIGITS and found[-DIGITS:].isdigit()
    )
    return [*(f"{directory or '.'}/{found}" for found in rotated), path]
