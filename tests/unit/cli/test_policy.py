"""`rivven policy check` and `schema`: what a broker would say, without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rivven.security.authz.cedar.vocabulary import schema_text
from rivven_cli.exits import Exit
from rivven_cli.main import run

TEMPLATES = Path(__file__).resolve().parents[3] / "config" / "policies"


def check(
    directory: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, list[dict[str, object]]]:
    code = run(["policy", "check", str(directory), "-o", "json", *options])
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return code, found


def test_the_shipped_policies_are_fine(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(TEMPLATES, capsys) == (Exit.OK, [])
    assert run(["policy", "check", str(TEMPLATES)]) == Exit.OK
    assert "policies:" in capsys.readouterr().out


def test_every_problem_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.cedar"
    path.write_text("permit(principal, action, resource);\npermit(\n")
    code, found = check(tmp_path, capsys)
    assert code == Exit.FAILED
    assert [(row["level"], row["file"], row["line"]) for row in found] == [
        ("error", str(path), n) for n in (1, 2)
    ]
    path.write_text('@id("x") forbid(principal, action, resource);')
    code, found = check(tmp_path, capsys)
    assert code == Exit.FAILED
    assert found[0]["id"] == "x"


def test_warnings_refuse_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.cedar").write_text(
        '@id("x") permit(principal in Role::"shipping", action, resource) when { context.client_id == "a" };'
    )
    roles = tmp_path / "rbac.yaml"
    roles.write_text(
        "roles:\n  other:\n    permissions:\n      - {resource: 'topic:a', actions: [produce]}\n"
    )
    code, found = check(tmp_path, capsys, "--rbac", str(roles))
    assert code == Exit.OK
    assert [row["level"] for row in found] == ["warning", "warning"]
    roles.write_text(roles.read_text().replace("other", "shipping"))
    assert len(check(tmp_path, capsys, "--rbac", str(roles))[1]) == 1
    roles.write_text("rolls: {}\n")
    assert run(["policy", "check", str(tmp_path), "--rbac", str(roles)]) == Exit.CONFIG
    assert "rolls" in capsys.readouterr().err


def test_a_schema_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.cedar").write_text('@id("x") permit(principal in Role::"a", action, resource);')
    schema = tmp_path / "own.cedarschema"
    schema.write_text(schema_text().replace("entity Role;", 'entity Role enum ["a", "b"];'))
    assert check(tmp_path, capsys, "--schema", str(schema)) == (Exit.OK, [])
    schema.write_text(schema_text().replace("entity Role;", 'entity Role enum ["b"];'))
    assert check(tmp_path, capsys, "--schema", str(schema))[0] == Exit.FAILED


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "schema"]) == Exit.OK
    assert capsys.readouterr().out == schema_text()
