"""A directory is read whole or refused, and a missing one is no empty one."""

import os
from pathlib import Path

import pytest

from rivven.security.authz.cedar import policies
from rivven.security.authz.cedar.book import PoliciesRefused
from rivven.security.authz.cedar.policies import load_policies, load_schema
from tests.unit.security.authz.cedar.policy_world import book, write

FINE = '@id("fine") permit(principal, action == Action::"Read", resource is Topic);\n'


def refusal(directory: Path, text: str) -> str:
    with pytest.raises(PoliciesRefused) as caught:
        book(directory, text)
    return str(caught.value)


def test_an_empty_file_is_no_policies_but_no_file_is_a_problem(tmp_path: Path) -> None:
    assert book(tmp_path, "// none yet\n").policies == {}
    (tmp_path / "a.cedar").unlink()
    with pytest.raises(PoliciesRefused, match=r"holds no \.cedar file"):
        load_policies(tmp_path, load_schema())
    with pytest.raises(PoliciesRefused, match="No such file"):
        load_policies(tmp_path / "gone", load_schema())


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "permit(", "notes.txt")
    assert list(book(tmp_path, FINE).policies) == ["fine"]


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "FILE_BYTES_MAX", 200)
    assert "larger than 200 bytes" in refusal(tmp_path, " " * 201)
    write(tmp_path, FINE.replace("fine", "other"), "b.cedar")
    monkeypatch.setattr(policies, "FILES_MAX", 1)
    assert "more than 1 .cedar files" in refusal(tmp_path, FINE)


def test_text_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_bytes(b"\xff")
    with pytest.raises(PoliciesRefused, match="not UTF-8"):
        load_policies(tmp_path, load_schema())


def test_a_pipe_or_a_directory_is_no_file_of_policies(tmp_path: Path) -> None:
    for make in (os.mkfifo, os.mkdir):
        directory = tmp_path / make.__name__
        directory.mkdir()
        make(directory / "a.cedar")
        with pytest.raises(PoliciesRefused, match="is not a file"):
            load_policies(directory, load_schema())


def test_a_schema_of_ones_own(tmp_path: Path) -> None:
    schema = tmp_path / "own.cedarschema"
    schema.write_text(
        'entity User { name: String }; entity Topic { name: String }; action "Read" appliesTo '
        "{ principal: User, resource: Topic, context: { moon: Bool } };"
    )
    write(tmp_path, '@id("x") permit(principal, action, resource) when { context.moon };')
    with pytest.raises(PoliciesRefused, match=r"context.moon is known to the schema but not to the broker"):
        load_policies(tmp_path, load_schema(schema))
    schema.write_text("entity;")
    with pytest.raises(PoliciesRefused, match=r"own.cedarschema: "):
        load_schema(schema)
