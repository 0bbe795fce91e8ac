"""Secret references: the configuration never holds, shows or repeats a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.config.load import ConfigError, load
from rivven.config.secrets import SecretReference

CANARY = "canary-6f1b-never-shown"


def config_text(reference: str) -> str:
    return (
        "listeners: [{name: main, bind: '127.0.0.1:9093', protocol: sasl_ssl}]\n"
        f"server: {{tls: {{cert_path: c, key_path: k, key_password: {reference}}}}}\n"
    )


def test_a_file_reference_is_read_when_asked(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(CANARY + "\n")
    path = tmp_path / "rivven.yaml"
    path.write_text(config_text(f"'file:{tmp_path}/password'"))
    config = load(path, {})
    assert config.server.tls is not None
    reference = config.server.tls.key_password
    assert reference is not None
    assert reference.reveal() == CANARY
    for shown in (
        repr(config),
        str(config),
        str(config.model_dump()),
        config.model_dump_json(),
        repr(reference),
    ):
        assert CANARY not in shown


def test_an_environment_reference_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_PASSWORD", CANARY)
    assert SecretReference("env:CANARY_PASSWORD").reveal() == CANARY


@pytest.mark.parametrize("literal", [f"'{CANARY}'", f"{{a: {CANARY}}}", f"[{CANARY}]", f"'plain:{CANARY}'"])
def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path, literal: str) -> None:
    path = tmp_path / "rivven.yaml"
    path.write_text(config_text(literal))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert "server.tls.key_password" in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"\n", "empty"), (b"x" * 70_000, "larger than")],
)
def test_an_unreadable_secret_names_the_reference(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    reference = SecretReference(f"file:{tmp_path}/secret")
    with pytest.raises(ValueError, match=reason) as caught:
        reference.reveal()
    assert str(reference) in str(caught.value)


def test_a_missing_variable_names_the_reference() -> None:
    with pytest.raises(ValueError, match="env:RIVVEN_NO_SUCH_VARIABLE"):
        SecretReference("env:RIVVEN_NO_SUCH_VARIABLE").reveal()


def test_equal_references_are_equal() -> None:
    assert SecretReference("env:A") == SecretReference("env:A")
    assert len({SecretReference("env:A"), SecretReference("env:A"), SecretReference("env:B")}) == 2
