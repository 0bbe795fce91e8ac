"""Tokens for the tests of the metadata: fixed owners, times and secrets."""

from __future__ import annotations

from typing import Any

from rivven.metadata.token_records import TokenSecret
from rivven.metadata.tokens import IssueToken
from rivven.types import Principal

NOW = 1_700_000_000_000
DAY = 86_400_000
ALICE, BOB = Principal("User", "alice"), Principal("User", "bob")


def secret(number: int) -> TokenSecret:
    """A stored secret that is told from others by its number."""
    return TokenSecret(bytes([number]) * 32, "k", ())


def issue(token_id: str, *, number: int = 1, **changes: Any) -> IssueToken:
    """A token of Alice for a day, renewable for a week."""
    values: dict[str, Any] = {
        "owner": ALICE,
        "creator": ALICE,
        "secret": secret(number),
        "lifetime_ms": 7 * DAY,
        "validity_ms": DAY,
    }
    return IssueToken(token_id, **(values | changes))
