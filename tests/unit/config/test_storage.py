"""The section `storage`: the Rivven document's example is taken, contradictions are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.config.load import ConfigError, parse_yaml, validate
from rivven.config.storage import EncryptionConfig

LISTENER = {"name": "main", "bind": "127.0.0.1:9092", "protocol": "sasl_plaintext"}

DOCUMENT = b"""
storage:
  encryption:
    enabled: true
    algorithm: aes-256-gcm
    key_rotation_days: 90
    key_source: kms
    kms:
      provider: aws
      key_id: alias/rivven-data-key
      region: us-east-1
"""


def encryption(section: object, data_dir: str = "data") -> EncryptionConfig:
    content = {"listeners": [LISTENER], "data_dir": data_dir, "storage": {"encryption": section}}
    return validate(content, "f").storage.encryption


def test_the_example_of_the_security_document() -> None:
    found = validate({"listeners": [LISTENER], **parse_yaml(DOCUMENT, "f")}, "f").storage.encryption
    assert found.enabled and found.key_rotation_days == 90
    assert (found.kms.key_id, found.kms.region) == ("alias/rivven-data-key", "us-east-1")


def test_nothing_said_is_off_with_keys_in_a_file() -> None:
    found = validate({"listeners": [LISTENER]}, "f").storage.encryption
    assert not found.enabled and found.key_source == "file"


@pytest.mark.parametrize(
    ("data_dir", "keys"),
    [("data", "data-keys"), ("/var/lib/rivven", "/var/lib/rivven-keys"), ("a/b/", "a/b-keys")],
)
def test_the_key_store_is_beside_the_data(data_dir: str, keys: str) -> None:
    assert encryption({}).key_directory_of(Path(data_dir)) == Path(keys)


def test_the_key_store_of_the_working_directory_is_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert encryption({"enabled": True}, ".").key_directory_of(Path(".")) == tmp_path / "here-keys"


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"key_directory": "data/keys"}, "key_directory: lies in data_dir"),
        ({"key_directory": "elsewhere/../data"}, "key_directory: lies in data_dir"),
        ({"file": {"path": "data/keyring"}}, "file.path: lies in data_dir"),
        ({"key_source": "kms"}, "needs kms.key_id"),
        ({"key_source": "vault"}, "needs vault.address"),
        ({"key_source": "vault", "vault": {"address": "https://v:8200"}}, "method token needs token"),
        ({"kms": {"key_id": "x"}}, "kms: means nothing for key_source file"),
        ({"key_source": "hsm", "file": {"path": "k"}}, "file: means nothing for key_source hsm"),
        ({"options": {"a": "b"}}, "options: means nothing for key_source file"),
        ({"key_source": "kms", "kms": {"key_id": "x", "access_key_id": "env:A"}}, "go together"),
        ({"key_source": "kms", "kms": {"key_id": "x", "external_id": "env:A"}}, "without role_arn"),
        ({"key_source": "kms", "kms": {"key_id": "x", "endpoint_url": "kms"}}, "must be a URL"),
        ({"key_source": "vault", "vault": {"address": "https://u:p@v"}}, "without user, password"),
        ({"key_source": "vault", "vault": {"auth": {"role": "r"}}}, "role: means nothing for method token"),
        ({"key_source": "vault", "vault": {"auth": {"method": "approle"}}}, "needs role_id and secret_id"),
        ({"key_source": "vault", "vault": {"auth": {"method": "kubernetes"}}}, "needs role"),
        ({"file": {"passphrase": "hunter2"}}, "must be a reference"),
        ({"algorithm": "des"}, "algorithm"),
    ],
)
def test_contradictions_are_refused_by_name(section: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        encryption(section)
    text = str(refused.value)
    assert "storage.encryption" in text and reason in text
    assert "hunter2" not in text and "u:p" not in text


def test_an_installed_provider_has_options() -> None:
    found = encryption({"key_source": "hsm", "options": {"slot": "1"}})
    assert found.options == {"slot": "1"}
