"""What docs/encryption.md says about KMS and Vault: policies that are enough and no more, settings that load.

The commands and policies for Vault are typed into every OpenBao server of tests/interop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rivven.config.models import Config
from rivven.config.storage import KmsConfig
from rivven.security.keys.kms import KmsProvider
from tests.conformance.key_providers import CONTEXT, PLAIN
from tests.dev.runbook import blocks
from tests.shipped.kms import REGION, ScriptedKms, environment

PAGE = Path(__file__).parents[2] / "docs" / "encryption.md"
KMS, VAULT = "KEKs in AWS KMS", "KEKs in Vault and OpenBao"


def actions(policy: str) -> set[str]:
    """The KMS operations a policy allows."""
    found: set[str] = set()
    for statement in json.loads(policy)["Statement"]:
        named = statement["Action"]
        found |= {named} if isinstance(named, str) else set(named)
    return {action.removeprefix("kms:") for action in found}


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedKms]:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    with ScriptedKms() as server:
        yield server


def test_the_kms_policies_are_what_is_used(kms: ScriptedKms) -> None:
    broker, operator = (actions(text) for _, text in blocks(PAGE, KMS) if text.startswith("{"))
    section = {"key_id": kms.ALIAS, "region": REGION, "endpoint_url": kms.url}
    provider = KmsProvider(KmsConfig.model_validate(section))
    first = provider.current_id("")
    assert provider.unwrap(provider.wrap("", PLAIN, CONTEXT), CONTEXT) == PLAIN
    provider.describe("")
    assert {kms.operation(request) for request in kms.requests} == broker
    provider.rotate("")
    provider.destroy(first)
    assert {kms.operation(request) for request in kms.requests} == broker | operator
    provider.close()


@pytest.mark.parametrize("heading", [KMS, VAULT])
def test_the_settings_load(heading: str, tmp_path: Path) -> None:
    [settings] = [text for _, text in blocks(PAGE, heading) if text.startswith("storage:")]
    listener = {"name": "a", "bind": "127.0.0.1:0", "protocol": "plaintext"}
    document = yaml.safe_load(settings) | {"data_dir": str(tmp_path / "data"), "listeners": [listener]}
    config = Config.model_validate(document | {"insecure": True})
    assert config.storage.problem(config.data_dir) is None
    encryption = config.storage.encryption
    assert encryption.enabled and encryption.key_source in ("kms", "vault")


def test_the_vault_commands_are_those_the_interop_servers_are_made_with() -> None:
    kinds = [text.split()[0] for _, text in blocks(PAGE, VAULT)]
    assert kinds == ["bao", "path", "path", "storage:"]
