"""How many connections a process may have beside its log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rivven.app.limiting import CONNECTIONS_MIN, OTHER_DESCRIPTORS, connections_max
from rivven.app.storage import open_files
from rivven.config.models import Config


def config(tmp_path: Path, **limits: int) -> Config:
    listener = {"name": "main", "bind": "127.0.0.1:0", "protocol": "sasl_plaintext"}
    return Config.model_validate({"data_dir": str(tmp_path), "listeners": [listener], "limits": limits})


@pytest.mark.parametrize("descriptors", [1024, 4096, 16_384])
def test_the_log_keeps_what_it_may_need(
    tmp_path: Path, descriptors: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "rivven.app"):
        possible = connections_max(config(tmp_path, max_connections=50_000), descriptors)
    assert possible + 3 * open_files(descriptors) + OTHER_DESCRIPTORS == descriptors
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{descriptors} open files leaves room for {possible}" in record.getMessage()


def test_a_default_is_cut_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rivven.app"):
        connections_max(config(tmp_path), 1024)
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_what_fits_is_what_was_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rivven.app"):
        assert connections_max(config(tmp_path, max_connections=500), 1024) == 500
        assert connections_max(config(tmp_path, max_connections=50_000), 0) == 50_000, "no limit to ask for"
    assert caplog.records == []


def test_a_few_clients_get_in_however_low_the_limit(tmp_path: Path) -> None:
    assert connections_max(config(tmp_path), 64) == CONNECTIONS_MIN
