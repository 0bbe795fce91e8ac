"""The file of issuers: as strict as the configuration file, and as precise about what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.config.issuers_file import read_issuers
from rivven.config.load import ConfigError

GOOD = "issuers:\n  - issuer: https://a.example\n    audiences: [rivven]\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "issuers.yaml"
    path.write_text(text)
    return path


def test_issuers_are_read(tmp_path: Path) -> None:
    [one] = read_issuers(written(tmp_path, GOOD))
    assert (one.issuer, one.audiences) == ("https://a.example", ["rivven"])


@pytest.mark.parametrize("text", ["", "# nothing\n", "issuers: []\n", "issuers:\n  # - issuer: x\n"])
def test_a_file_may_hold_none(tmp_path: Path, text: str) -> None:
    assert read_issuers(written(tmp_path, text)) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- issuer: https://a.example\n", "must hold a mapping"),
        ("issuers: 7\n", "issuers: "),
        ("issuers: [{issuer: https://a.example}]\n", "issuers[0].audiences: is required"),
        (GOOD + "    audience: x\n", "issuers[0].audience: unknown key; known here: issuer, "),
        (GOOD + "    clock_skew_secs: 999\n", "issuers[0].clock_skew_secs: "),
        (GOOD.replace("https", "gopher"), "issuers[0].issuer: must be a URL"),
        (GOOD + "    issuer: https://b.example\n", "is given twice"),
        ("issuers: [", "line "),
    ],
)
def test_a_refusal_names_file_key_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_issuers(written(tmp_path, text))
    assert "issuers.yaml: " in str(caught.value)
    assert reason in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_issuers(tmp_path / "none.yaml")
