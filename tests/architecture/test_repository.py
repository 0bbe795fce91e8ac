"""What is committed: no machine's paths, no registry's address, no secret, nothing generated."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

# Written so that this file does not find itself.
MACHINE_PATHS = re.compile(r"(?<![\w./-])/(?:work|root|home/\w+|Users/\w+)/(?!\.\.\.)\w")
REGISTRY_HOSTS = re.compile(
    r"(pypi\.(?:org)|files\.python"
    + r"hosted\.org|registry\.(?:npmjs|yarnpkg)\.|repo\d?\.maven\.(?:org|apache)|"
    r"proxy\.golang\.org|(?:index|extra-index)-url\s*[= ]\s*http)"
)
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE" + r" KEY-----\s+[A-Za-z0-9+/]{16}")
SECRET_FILES = re.compile(r"(\.(key|pem|p12|jks|crt)|client(-java)?\.properties|\.env)$")
GENERATED = re.compile(
    r"(^|/)(__pycache__|node_modules|\.venv|dist|build|target|data|data-keys)/|\.pyc$|\.log$"
)
FILE_BYTES_MAX = 1 << 20  # a source repository; measured data and jars belong elsewhere


def tracked() -> list[str]:
    """Paths git knows, without those deleted in the working tree."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout: nothing to compare with")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(name: str) -> str:
    return (ROOT / name).read_bytes().decode("utf-8", errors="replace")


def test_no_machine_paths_hosts_or_keys() -> None:
    found = []
    for name in tracked():
        text = text_of(name)
        for expression in (MACHINE_PATHS, REGISTRY_HOSTS, PRIVATE_KEY):
            match = expression.search(text)
            if match:
                found.append(f"{name}: {match.group(0)}")
    assert not found, "\n".join(found)


def test_the_expressions_find_what_they_look_for() -> None:
    assert MACHINE_PATHS.search("see /ro" + "ot/x") and MACHINE_PATHS.search('"/wo' + 'rk/main"')
    assert not MACHINE_PATHS.search("https://example.com/work/x") and not MACHINE_PATHS.search(
        "the root/work of it"
    )
    assert REGISTRY_HOSTS.search("--index" + "-url https://x") and REGISTRY_HOSTS.search("py" + "pi.org")
    assert PRIVATE_KEY.search("-----BEGIN EC PRIVATE" + " KEY-----\nMHcCAQEEIAABBBCCCDDD")


def test_nothing_secret_or_generated_is_tracked() -> None:
    names = tracked()
    assert "pyproject.toml" in names
    assert not [name for name in names if SECRET_FILES.search(name) or GENERATED.search(name)]
    assert not [name for name in names if (ROOT / name).stat().st_size > FILE_BYTES_MAX]


def test_nothing_that_tests_read_is_ignored() -> None:
    """A vector named like a secret would be here and in no clone."""
    tracked()  # skips where there is no checkout
    done = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "tests", "config", "docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not [name for name in done.stdout.split("\0") if name and not GENERATED.search(name)]


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_python_lock_has_hashes_and_no_address(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)==", text, re.MULTILINE)
    assert pinned
    blocks = re.split(r"^(?=[A-Za-z0-9_.-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "tests/interop/clients").rglob("package-lock.json"))[:1],
    ids=lambda path: path.parent.name,
)
def test_node_lock_has_integrity_and_no_address(path: Path) -> None:
    lock = json.loads(path.read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all("integrity" in entry and "resolved" not in entry for entry in packages.values())


def test_python_lock_covers_what_the_project_asks_for() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block is not None
    wanted = {name.lower().replace("_", "-") for name in re.findall(r'"([A-Za-z0-9_.-]+)', block.group(1))}
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    reasons = (ROOT / "docs/adr/0001-dependencies.md").read_text(encoding="utf-8").lower().replace("_", "-")
    assert wanted <= locked
    assert not [name for name in wanted if name not in reasons]
