"""The searcher for leaked secrets finds them in their usual disguises, and nothing where nothing is."""

from __future__ import annotations

import base64

import pytest

from rivven.testing.canary import leaks

SECRET = "canary-Pa55word?>"


@pytest.mark.parametrize(
    "output",
    [
        f"password={SECRET}!",
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.encode(),
    ],
)
def test_found_in_disguise(output: str | bytes) -> None:
    found = leaks([SECRET], {"log": output})
    assert found
    assert all("secret 0 in log" in one and SECRET not in one for one in found)


def test_escaped_bytes_are_found_in_a_repr() -> None:
    secret = b"\x00\xffcanary\n"
    assert leaks([secret], {"repr": repr({"key": secret})}) == ["escaped of secret 0 in repr"]


def test_nothing_where_nothing_is() -> None:
    assert leaks([SECRET, b"\x01" * 32], {"log": "canary-Pa55wor", "other": b""}) == []


def test_short_secrets_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        leaks(["abc"], {})
