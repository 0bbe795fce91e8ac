"""Documents point at what is there, and everything there is to read can be found from the README."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

CODE_REFERENCE = re.compile(
    r"`((?:rivven|rivven_cli|rivven_client|tests|tools|benches|config|docs)/[\w./-]+)`"
)


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_points_at_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{target} does not exist"
    for name in set(CODE_REFERENCE.findall(text)):
        assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), f"{name} does not exist"
    anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in headings(text)}
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in anchors, f"#{anchor} is no heading of this page"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_reads_as_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# "), "a title first"
    assert len(re.findall(r"^# ", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)) == 1
    assert not re.search(r"\b(TODO|FIXME|TBD|coming soon|lorem)\b", text, re.IGNORECASE)


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def test_readme_leads_to_every_page() -> None:
    seen, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        if page.is_dir():
            waiting.extend(page.glob("*.md"))
            continue
        links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        waiting.extend(page.parent / link for link in links if link.endswith((".md", "/")))
    missing = [page.name for page in pages() if page.resolve() not in seen]
    assert not missing


def test_decisions_are_numbered_once_and_fit_a_page() -> None:
    files = sorted((ROOT / "docs/adr").glob("*.md"))
    numbers = [path.name[:4] for path in files]
    assert len(files) >= 5
    assert len(set(numbers)) == len(numbers) and all(number.isdecimal() for number in numbers)
    for path in files:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 120, path.name


def test_contributing_lists_the_make_targets() -> None:
    printed = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    ).stdout
    targets = {line.split()[0] for line in printed.splitlines()} - {"help", "run", "clean"}
    named = set(re.findall(r"^\| `make (\w+)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert named == targets


def test_changelog_begins_with_what_is_not_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert headings(text)[:2] == ["Changelog", "Unreleased"]
    assert re.search(r"^- .+", text, re.MULTILINE)


NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_promise_of_the_security_page_names_tests_that_exist() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = page.partition("\n## How each promise is tested\n")[2].partition("\n## ")[0].splitlines()
    promises = [row.strip("| ").split(" | ") for row in rows if row.startswith("| ")][1:]
    assert len(promises) > 20
    for promise, tests in promises:
        named = NAMED_TEST.findall(tests)
        assert named and len(named) == tests.count("`") // 2, promise
        for path, name in named:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^\s*(?:async )?def {name}\(", source, re.MULTILINE), f"{path}::{name}"
