"""Keeping secrets out of log lines: the last gate, after the rule that nobody logs them.

Pure. Fields with telling names lose their value; texts lose what looks like a password assignment, a
private key, a stored verifier or a SCRAM proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

HIDDEN = "[hidden]"
TEXT_CHARACTERS_MAX = 8192  # of one message or field: a client must not be able to fill the log with one name

_SECRET_NAMES = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|private_?key|salted|stored_?key|server_?key|proof|authorization"
    r"|sasl_?data|auth_?bytes",
    re.IGNORECASE,
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        HIDDEN,
    ),
    (re.compile(r"\$scram-sha-(256|512)\$\S+", re.IGNORECASE), HIDDEN),
    (
        re.compile(
            r"(?i)((?:passw(?:or)?d|passphrase|secret|api[_-]?key)[\"']?\s{0,8}[=:]\s{0,8})"
            r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;)}\]]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(r"rvn_([a-z2-7]{16})[0-9A-Za-z]{1,64}"),
        rf"rvn_\1{HIDDEN}",
    ),  # API token; its id is no secret
    (re.compile(r"(?i)\b(bearer|basic)\s{1,8}[A-Za-z0-9+/=._~-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(r"(\bc=[A-Za-z0-9+/=]{1,64},r=[^,\s]{1,512},p=)[A-Za-z0-9+/=]+"),
        rf"\1{HIDDEN}",
    ),  # SCRAM proof
)
"""Every repetition before a match is bounded: a client-chosen text must not cost more than its length."""


def redact_text(text: str) -> str:
    """The text without what looks like a secret, at most TEXT_CHARACTERS_MAX long."""
    if len(text) > TEXT_CHARACTERS_MAX:
        text = text[:TEXT_CHARACTERS_MAX] + "..."
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields with the values of telling names hidden and other texts cleaned."""
    return {name: HIDDEN if _SECRET_NAMES.search(name) else _clean(value) for name, value in fields.items()}


def _clean(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return redact_fields({str(key): inner for key, inner in value.items()})
    return redact_text(str(value))
