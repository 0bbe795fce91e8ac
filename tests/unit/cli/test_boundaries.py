"""What the command and the client may import: the broker package only where the architecture says so."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# Offline tools and the server itself; passwords.py and actions.py take only rules and words.
MAY_IMPORT_THE_BROKER = {
    "actions.py",
    "audit.py",
    "audit_follow.py",
    "server.py",
    "config.py",
    "log.py",
    "authz_try.py",
    "policy.py",
    "auth.py",
    "passwords.py",
    "main.py",
    "tls.py",
    "tls_authority.py",
    "tls_files.py",
    "keys.py",
}

VOCABULARY = "rivven.actions"
"""Tables that import nothing but more tables: help texts are made of them."""


def imports(path: Path) -> list[tuple[str, bool]]:
    """Imported modules of a file, and whether the import stands at the top level and runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        top = node in tree.body
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, top))
    return found


def test_the_client_imports_nothing_of_the_broker_and_librdkafka_late() -> None:
    for path in (ROOT / "rivven_client").glob("*.py"):
        for module, top in imports(path):
            assert module.split(".")[0] not in ("rivven", "rivven_cli"), f"{path.name}: {module}"
            assert not (top and module.startswith("confluent_kafka")), f"{path.name}: {module}"


def test_the_command_imports_the_broker_late_and_only_where_it_may() -> None:
    seen = set()
    for path in (ROOT / "rivven_cli").glob("*.py"):
        for module, top in imports(path):
            if module.split(".")[0] == "rivven":
                seen.add(path.name)
                assert path.name in MAY_IMPORT_THE_BROKER, f"{path.name}: {module}"
                assert not top or module == VOCABULARY, (
                    f"{path.name}: {module} is imported before it is needed"
                )
            assert not (top and module.split(".")[0] in ("confluent_kafka", "rich", "yaml")), (
                f"{path.name}: {module}"
            )
    assert seen == MAY_IMPORT_THE_BROKER
