"""The command as a whole: help, errors in one line with a hint, exit codes, and what it imports."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rivven.app.failures import ExitCode
from rivven_cli.exits import CommandFailed, Exit, from_client
from rivven_cli.main import COMMANDS, cli, run
from rivven_client.failures import ClientFailed, FailureKind


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No profile of the machine the tests run on is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def every_command() -> Iterator[tuple[list[str], click.Command]]:
    def walk(path: list[str], command: click.Command) -> Iterator[tuple[list[str], click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk([*path, name], inner)

    yield from walk([], cli)


@pytest.mark.parametrize("path", [path for path, _ in every_command()], ids=" ".join)
def test_every_command_has_help_that_says_what_it_does(
    path: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: rivven")
    assert len(text.split("\n\n")[1].strip()) > 10


def test_the_list_of_commands_says_what_each_command_says_itself() -> None:
    for name, place in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name
        assert (command.help or "").split(".")[0]
        assert place.summary.endswith(".")


@pytest.mark.parametrize(
    "path", [path for path, command in every_command() if not isinstance(command, click.Group)], ids=" ".join
)
def test_every_command_that_shows_something_takes_an_output_format(path: list[str]) -> None:
    command = {tuple(p): c for p, c in every_command()}[tuple(path)]
    names = {option for parameter in command.params for option in parameter.opts}
    # A script for a shell, and files in the format that --format names.
    assert "-o" in names or path in (["completion"], ["audit", "export"])


def test_help_imports_neither_librdkafka_nor_the_broker_nor_rich() -> None:
    script = (
        "import sys; from rivven_cli.main import run; run(['--help']);"
        "heavy = {'confluent_kafka', 'rivven', 'rich', 'pydantic', 'yaml', 'asyncio', "
        "'cryptography'} & set(sys.modules);"
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = run(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert 1 <= len(lines) <= 2
    assert lines[0].startswith("rivven: ")
    return code, lines


@pytest.mark.parametrize(
    ("arguments", "reason", "hint"),
    [
        (["topc"], "No such command 'topc'. Did you mean topic?", "rivven --help"),
        (["topic", "creat"], "No such command 'creat'", "rivven topic --help"),
        (["topic", "create"], "Missing argument 'NAME'", "rivven topic create --help"),
        (["topic", "create", "t", "--partitions", "0"], "--partitions", "topic create"),
        (["topic", "create", "t", "--config", "x"], "wants NAME=VALUE", ""),
        (["topic", "create", "t", "--config", "x=1", "--config", "x=2"], "given twice", ""),
        (["topic", "alter", "t"], "Nothing to change", ""),
        (["topic", "delete", "t"], "Add --yes", ""),
        (["topic", "list", "-o", "xml"], "'xml' is not one of", ""),
        (["produce", "t", "v", "--key", "k", "--key-separator", ":"], "exclude each other", ""),
        (["produce", "t", "v", "--key-separator", ""], "must not be empty", ""),
        (["produce", "t", "v", "--header", "x"], "NAME=VALUE", ""),
        (["produce", "t", "--tombstone"], "--tombstone needs --key", ""),
        (["consume", "t", "--offset", "1", "--from-beginning"], "exclude each other", ""),
        (["consume", "t", "--follow", "--exit-at-end"], "exclude each other", ""),
        (["consume", "t", "--group", "g", "--offset", "1"], "committed offsets", ""),
        (["consume", "t", "--since", "yesterday"], "is no time", ""),
        (["group", "reset-offsets", "g"], "exactly one of", ""),
        (["group", "reset-offsets", "g", "--to-latest", "--shift-by", "3"], "exactly one of", ""),
        (["acl", "add"], "are needed", ""),
        (
            ["acl", "add", "--principal", "user:a", "--resource", "topic:t", "--action", "produce"],
            "--allow or --deny",
            "",
        ),
        (["acl", "remove"], "not every rule", ""),
        (["acl", "list", "--all-matching"], "needs --resource", ""),
        (["user", "create", "u", "--generate", "--password-file", "x"], "exclude each other", ""),
        (["user", "create", "u"], "No terminal", ""),
        (["user", "create", "u", "--password-file", "missing"], "No such file", ""),
        (["server"], "Give --config FILE, or --dev", "rivven server --help"),
        (["server", "--dev", "init", "--admin", "a"], "behind the subcommand", ""),
        (["server", "--config", "x", "--port", "1"], "--port goes with --dev", ""),
        (["completion", "tcsh"], "not one of", ""),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], reason: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = failure(arguments, capsys)
    assert code == Exit.USAGE
    assert reason in lines[0]
    assert lines[1].startswith("  hint: ")
    assert hint in lines[1]


def test_without_any_profile_it_says_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = failure(["topic", "list"], capsys)
    assert code == Exit.CONFIG
    assert "no server to connect to" in lines[0]
    assert "rivven server --dev" in lines[1]


def test_a_server_that_is_not_there_is_told_within_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    code, lines = failure(["--bootstrap-server", "127.0.0.1:1", "--timeout", "3", "topic", "list"], capsys)
    assert code == Exit.UNREACHABLE
    assert "cannot connect to 127.0.0.1:1" in lines[0]
    assert "is the server running" in lines[1]
    assert time.monotonic() - started < 10


def test_bad_client_settings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "client.properties"
    path.write_text("bootstrap.servers=127.0.0.1:1\nno.such.setting=1\n")
    code, lines = failure(["--command-config", str(path), "topic", "list"], capsys)
    assert code == Exit.REFUSED
    assert "no.such.setting" in lines[0]


def test_version_and_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rivven 0.")
    assert run([]) == Exit.USAGE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_RIVVEN_COMPLETE" in capsys.readouterr().out


def test_completion_completes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from rivven_cli.main import run; import sys; sys.exit(run())"],
        env={"_RIVVEN_COMPLETE": "bash_complete", "COMP_WORDS": "rivven topic cr", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.split() == ["plain,create"]


def test_every_kind_of_failure_has_its_exit_code() -> None:
    codes = {kind: from_client(ClientFailed("x", kind)).code for kind in FailureKind}
    assert codes[FailureKind.DENIED] == 12
    assert all(code != 0 for code in codes.values())
    shared = {FailureKind.BUSY: FailureKind.EXISTS, FailureKind.TLS: FailureKind.AUTHENTICATION}
    assert all(codes[one] == codes[other] for one, other in shared.items())
    assert len(set(codes.values())) == len(codes) - len(shared)


def test_the_server_codes_are_those_of_the_server() -> None:
    for code in ExitCode:
        assert code.value in (1, 130) or Exit(code.value).name == code.name


def test_a_reason_is_always_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CommandFailed("first\nsecond", "", 9)

    monkeypatch.setattr(cli, "main", fail)
    assert run(["x"]) == 9
    assert capsys.readouterr().err == "rivven: first second\n"


DOCS = Path(__file__).resolve().parents[3] / "docs" / "cli.md"


def test_the_manual_names_every_command_and_every_exit_code() -> None:
    page = DOCS.read_text(encoding="utf-8")
    leaves = [path for path, command in every_command() if not isinstance(command, click.Group)]
    for path in [*leaves, ["server"]]:
        assert f"| `rivven {' '.join(path)}` |" in page
    for code in Exit:
        assert f"| {code.value} | {code.name} |" in page


def test_the_manual_names_only_options_that_exist() -> None:
    commands = {" ".join(path): command for path, command in every_command()}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `rivven "):
            continue
        name = line.split("`")[1].removeprefix("rivven ")
        known = {
            option
            for parameter in commands[name].params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for word in line.split("`")[3::2]:
            option = word.split()[0]
            if option.startswith("--"):
                assert option in known, f"{name} {option}"
