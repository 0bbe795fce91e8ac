"""What docs/security.md tells operators to write and to type: the product takes it as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from rivven_cli.main import cli
from tests.shipped.broker import RIVVEN
from tests.shipped.pki import make_pki

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "security.md").read_text()
SECTIONS = {"listeners", "auth", "authorization", "audit", "limits", "security", "validation"}
"""Keys by which a block is known to be a part of the configuration file."""


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def indented(first: str) -> str:
    """The indented block whose first line is `first`, without its indentation."""
    found = re.search(rf"^    {first}\n(?:    .*\n|\n)+", PAGE, re.MULTILINE)
    assert found, first
    return re.sub(r"^    ", "", found[0], flags=re.MULTILINE)


CONFIGURATIONS = [text for text in fenced("yaml") if set(yaml.safe_load(text)) <= SECTIONS]


def rivven(*arguments: object, code: int = 0) -> str:
    command = [str(RIVVEN), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_every_block_of_yaml_is_used_here() -> None:
    others = [text for text in fenced("yaml") if text not in CONFIGURATIONS]
    assert [next(iter(yaml.safe_load(text))) for text in others] == ["users", "tests"]
    assert len(CONFIGURATIONS) >= 5


@pytest.mark.parametrize("text", CONFIGURATIONS, ids=lambda text: text.split(":")[0])
def test_configuration(text: str, tmp_path: Path) -> None:
    """Certificates and passwords lie where the block says, below a directory of the test's own."""
    pki = make_pki(tmp_path / "pki")
    for path in re.findall(r"/etc/rivven/[\w./-]+", text):
        place = tmp_path / path.removeprefix("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if "polic" in path or path.endswith("candidate"):
            place.mkdir(exist_ok=True)
        else:
            source = {".key": pki.key, ".crt": pki.certificate, ".pem": pki.ca}.get(place.suffix)
            place.write_bytes(source.read_bytes() if source else b"")
            place.chmod(0o600)
    written = yaml.safe_load(text.replace("/etc/rivven", f"{tmp_path}/etc/rivven"))
    base = {
        "data_dir": str(tmp_path / "data"),
        "listeners": [{"name": "main", "bind": "127.0.0.1:9092", "protocol": "sasl_ssl"}],
        "server": {"tls": {"cert_path": str(pki.certificate), "key_path": str(pki.key)}},
    }
    file = tmp_path / "rivven.yaml"
    file.write_text(yaml.safe_dump(base | written))
    rivven("config", "check", file)


def test_the_users_file(tmp_path: Path) -> None:
    """With real hashes in place of the shortened ones."""
    password = tmp_path / "password"
    password.write_text("Wonder-land 42!\n")
    typed = ["auth", "hash-password", "--password-file", password, "--iterations", "4096"]
    scram = rivven(*typed).strip()
    sha512 = rivven(*typed, "--mechanism", "scram-sha-512").strip()
    argon = rivven("auth", "hash-password", "--password-file", password, "--argon2id").strip()
    [text] = [text for text in fenced("yaml") if text not in CONFIGURATIONS and "users:" in text]
    for short, real in (
        ("$scram-sha-256$600000$...", scram),
        ("$scram-sha-512$600000$...", sha512),
        ("$argon2id$v=19$m=65536,t=3,p=1$...", argon),
    ):
        assert short in text
        text = text.replace(short, real)
    users = tmp_path / "users.yaml"
    users.write_text(text)
    users.chmod(0o600)

    from rivven.security.authn.user_files import parse_users

    assert {user.name for user in parse_users(text.encode(), str(users)).values()} == {"orders-app", "batch"}


def test_roles_policies_and_their_tests(tmp_path: Path) -> None:
    roles, policies = tmp_path / "roles.yaml", tmp_path / "policies"
    roles.write_text(indented("roles:"))
    policies.mkdir()
    [cedar] = fenced("cedar")
    (policies / "orders.cedar").write_text(cedar)
    rivven("policy", "check", policies, "--rbac", roles)
    tests = tmp_path / "tests.yaml"
    [text] = [text for text in fenced("yaml") if text.startswith("tests:")]
    tests.write_text(text)
    assert "shipping reads orders" in rivven("authz", "test", tests, "--policies", policies, "--rbac", roles)
    refused = rivven("authz", "test", tests, "--policies", policies, code=1)
    assert "shipping reads orders" in refused, "the control: it is the role that allows it"


def lines() -> list[tuple[str, str]]:
    """Every line that begins with `rivven` in a block or between backquotes, of the pages that show some."""
    found = []
    for name in ("security.md", "cli.md", "admin-api.md"):
        text = (DOCS / name).read_text()
        for line in re.findall(r"^(?:    )?(rivven [a-z].*)$", text, re.MULTILINE):
            found.append((name, line))
        for line in re.findall(r"`(rivven [a-z][^`|]*)`", text.replace("\n", " ")):
            found.append((name, line))
    return found


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command the words begin with, and the words after it."""
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            break
        command, words = found, words[1:]
    return command, words


def test_every_line_to_type_is_a_command_with_options_it_has() -> None:
    seen = lines()
    assert len(seen) > 60
    for page, line in seen:
        command, rest = command_of(shlex.split(line.replace("...", ""))[1:])
        is_group = isinstance(command, click.Group)
        assert not (is_group and rest and not rest[0].startswith("-")), f"{page}: {line}"
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {word.split("=")[0] for word in rest if word.startswith("--")}
        assert used <= known | {"--help"}, f"{page}: {line}"
