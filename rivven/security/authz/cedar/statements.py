"""Cuts the text of a policy file into its statements and knows the line of each.

Pure. Cedar ends every policy with a semicolon, which stands nowhere else but in strings and comments, and a
comment with a line feed or a carriage return. It must not understand a policy: Cedar's own parser does.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Blanks and comments; a string with its escapes; the end of a statement; anything else, as much as is plain.
_TOKEN = re.compile(
    r'(?P<gap>\s+|//[^\r\n]*)|(?P<string>"(?:[^"\\]|\\.)*"?)|(?P<end>;)|(?P<rest>[^\s";/]+|/)', re.DOTALL
)

_LINE_END = re.compile(r"\r\n|\r|\n")


class Statement(NamedTuple):
    """One policy as written, and the line (from 1) it begins on."""

    text: str
    line: int


def split_statements(text: str) -> list[Statement]:
    """The statements of a file in order; what follows the last semicolon is one too, for the parser to
    refuse.
    """
    found: list[Statement] = []
    start: int | None = None
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "gap":
            continue
        if start is None:
            start = token.start()
        if kind == "end":
            found.append(_statement(text, start, token.end()))
            start = None
    if start is not None:
        found.append(_statement(text, start, len(text)))
    return found


def _statement(text: str, start: int, end: int) -> Statement:
    return Statement(text[start:end], len(_LINE_END.findall(text, 0, start)) + 1)
