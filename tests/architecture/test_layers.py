"""The layers of docs/DESIGN.md, held by import-linter; the document and the contract say the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.architecture.source import ROOT, modules, modules_imported

# The command line starts a broker and reads its files offline; for everything else it is a Kafka client.
CLI_MAY_IMPORT = {
    "rivven_cli.audit": "reads audit logs offline",
    "rivven_cli.audit_follow": "reads audit logs while they grow",
    "rivven_cli.auth": "makes verifiers offline with the broker's own arithmetic",
    "rivven_cli.authz_try": "tries rules offline",
    "rivven_cli.config": "checks and shows configuration",
    "rivven_cli.keys": "makes the first keys and checks erasure certificates offline",
    "rivven_cli.log": "reads log files offline",
    "rivven_cli.policy": "checks policies offline",
    "rivven_cli.actions": "the words of permissions have one table",
    "rivven_cli.passwords": "generates and judges passwords by the broker's rule",
    "rivven_cli.server": "starts the broker",
    "rivven_cli.tls": "shows offline which principal a certificate names",
    "rivven_cli.tls_authority": "makes certificates offline",
    "rivven_cli.tls_files": "reads certificates offline",
}


def contracts() -> list[dict[str, object]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, object]] = project["tool"]["importlinter"]["contracts"]
    return found


def written(layers: list[str]) -> list[list[str]]:
    """Layers from the highest to the lowest, each a list of names that may not import each other, without
    those whose place is reserved for code that does not exist yet."""
    rows = [
        [name for name in re.findall(r"\w+", layer) if (ROOT / "rivven" / name).exists() or is_module(name)]
        for layer in layers
    ]
    return [row for row in rows if row]


def is_module(name: str) -> bool:
    return (ROOT / "rivven" / f"{name}.py").exists()


def test_imports_keep_the_contracts() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_document_draws_the_layers_that_are_checked() -> None:
    design = (ROOT / "docs" / "DESIGN.md").read_text(encoding="utf-8")
    drawn = re.search(r"^    __main__ >(?:.*\n)+?\n", design, re.MULTILINE)
    assert drawn is not None
    [layers] = [contract["layers"] for contract in contracts() if contract["type"] == "layers"]
    assert isinstance(layers, list)
    assert written(layers) == written(drawn.group(0).split(">"))
    assert len(written(layers)) >= 14


def test_the_command_line_is_a_client() -> None:
    for module in modules():
        if module.name.startswith("rivven_client"):
            assert not [
                name for name in modules_imported(module) if name.split(".")[0] in ("rivven", "rivven_cli")
            ]
        if module.name.startswith("rivven_cli") and module.name not in CLI_MAY_IMPORT:
            # `rivven` itself is its version, and the list of error codes is a vocabulary.
            broker = [name for name in modules_imported(module) if name.startswith("rivven.")]
            assert not broker, module.name


def test_the_document_names_every_folder() -> None:
    design = (ROOT / "docs" / "DESIGN.md").read_text(encoding="utf-8")
    folders = {path.name for path in (ROOT / "rivven").iterdir() if (path / "__init__.py").exists()}
    named = set(re.findall(r"^\| `(\w+)/` \|", design, re.MULTILINE))
    assert named >= folders - {"config", "telemetry"}
    assert named <= folders
