"""Pure modules stay pure: values in, values out, whatever they import on the way included."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from functools import cache

import pytest

from tests.architecture.source import by_name, modules, modules_imported

# Decisions and codecs. `!` takes a driver of the same package out again.
PURE = (
    "rivven.types",
    "rivven.errors",
    "rivven.protocol*",
    "rivven.records*",
    "rivven.machine.state_machine",
    "rivven.metadata*",
    "!rivven.metadata.service",  # drives the machine
    "rivven.coordinator*",
    "!rivven.coordinator.service",  # drives the machines
    "!rivven.coordinator.journal",  # reads and appends the partition
    "rivven.security.authn*",
    "!rivven.security.authn.jwks",  # waits for fetches and keeps keys fresh
    "!rivven.security.authn.oidc_fetch",  # fetches them
    "!rivven.security.authn.verification",  # derives keys on threads
    "rivven.security.authz*",
    "!rivven.security.authz.cedar.policies",  # reads files
    "!rivven.security.authz.cedar.store",  # follows them
    "!rivven.security.authz.shadow",  # compares in a task
    "rivven.security.admission",
    "rivven.security.certificate",
    "rivven.security.extensions",
    "rivven.log.compaction",
    "rivven.log.compaction_batch",
    "rivven.log.epochs",
    "rivven.log.index",
    "rivven.log.producers",
    "rivven.api.context",
    "rivven.api.memory",
    "rivven.api.rules",
    "rivven.api.session",
    "rivven.api.table",
    "rivven.audit.aggregation",
    "rivven.audit.chain",
    "rivven.audit.events",
    "rivven.config.broker_settings",
    "rivven.config.settings",
    "rivven.config.strict_yaml",
    "rivven.config.topic_settings",
    "rivven.telemetry.redaction",
)
EFFECTS = frozenset(
    {
        "asyncio",
        "concurrent",
        "fcntl",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
    }
)
IMPURE_CALLS = frozenset(
    {
        "open",
        "print",
        "input",
        "uuid.uuid1",
        "uuid.uuid4",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
        "datetime.date.today",
    }
)


def is_pure(name: str) -> bool:
    excluded = any(fnmatch(name, pattern[1:]) for pattern in PURE if pattern.startswith("!"))
    return not excluded and any(fnmatch(name, pattern) for pattern in PURE)


@cache
def effects_of(name: str) -> list[str]:
    """Everything in the file that is not a computation, readable."""
    module = by_name()[name]
    found = [f"imports {name}" for name in module.imports() if name.split(".")[0] in EFFECTS]
    found += [f"line {line} uses {name}" for line, name in module.uses() if name in IMPURE_CALLS]
    found += [
        f"line {node.lineno} awaits"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    return found


def test_every_pattern_still_names_something() -> None:
    for pattern in PURE:
        assert any(fnmatch(module.name, pattern.lstrip("!")) for module in modules()), pattern


@pytest.mark.parametrize("name", [module.name for module in modules() if is_pure(module.name)])
def test_pure_module_has_no_effects(name: str) -> None:
    waiting, seen = [name], set[str]()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        assert not effects_of(current), f"{name} reaches {current}, which is not pure"
        waiting.extend(modules_imported(by_name()[current]))


def test_the_check_sees_effects() -> None:
    """Against a check that always passes: modules known to have effects are recognised."""
    assert effects_of("rivven.clock")
    assert effects_of("rivven.log.files")
    assert any("awaits" in effect for effect in effects_of("rivven.metadata.service"))
