"""The manual against the shipped command: flags exist, metrics are served, health is told."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import click
import pytest

from rivven_cli.main import cli
from tests.dev.stranger import Stranger

DOCS = Path(__file__).parents[2] / "docs"


def command_at(path: list[str]) -> click.Command:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"no command {' '.join(path)}"
        command = found
    return command


def documented_commands() -> list[tuple[str, list[str]]]:
    rows = re.findall(r"^\| `rivven ([a-z -]+)` \| (.+) \|$", (DOCS / "cli.md").read_text(), re.MULTILINE)
    return [(name, re.findall(r"--[a-z0-9-]+", text)) for name, text in rows]


@pytest.mark.parametrize(("name", "flags"), documented_commands(), ids=lambda value: str(value)[:30])
def test_documented_flags_exist(name: str, flags: list[str]) -> None:
    known = {option for parameter in command_at(name.split()).params for option in parameter.opts}
    known |= {option for parameter in command_at(name.split()).params for option in parameter.secondary_opts}
    assert set(flags) <= known


def test_every_option_of_the_server_is_documented() -> None:
    documented = dict(documented_commands())
    options = {option for parameter in command_at(["server"]).params for option in parameter.opts}
    assert options - {"--help"} == set(documented["server"])


def get(stranger: Stranger, path: str) -> str:
    address = stranger.broker.ready["metrics"]
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
        body: bytes = response.read()
        return body.decode()


# What one produce and one consume must move.
MOVED = (
    "rivven_connections_accepted_total",
    "rivven_received_bytes_total",
    "rivven_sent_bytes_total",
    "rivven_produced_records_total",
    "rivven_produced_bytes_total",
    "rivven_fetched_bytes_total",
    "rivven_authentications_total",
    "rivven_request_seconds_count",
)


def test_metrics_served_are_those_of_the_page_and_move(stranger: Stranger) -> None:
    stranger.types("rivven topic create counted; rivven produce counted one")
    stranger.types("rivven consume counted --from-beginning --count 1")
    text = get(stranger, "/metrics")
    served = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    page = set(re.findall(r"^\| `(\w+)`", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    assert len(page) > 15
    assert {name for name in served if not name.startswith("process_")} == page
    for name in MOVED:
        values = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        assert sum(map(float, values)) > 0, name


def test_health(stranger: Stranger) -> None:
    assert json.loads(get(stranger, "/healthz"))["healthy"] is True
    get(stranger, "/readyz")
