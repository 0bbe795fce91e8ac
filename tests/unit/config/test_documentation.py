"""What is written about the configuration is what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from rivven.config.admin import AdminConfig
from rivven.config.broker_settings import BROKER_SETTINGS
from rivven.config.development import development_settings
from rivven.config.documentation import configuration_page, default_file, default_values
from rivven.config.load import load
from rivven.config.models import Config
from rivven.config.topic_settings import TOPIC_SETTINGS

ROOT = Path(__file__).resolve().parents[3]


def generated_files() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "tools" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files: dict[str, str] = module.generated()
    return files


@pytest.mark.parametrize("name", ["config/rivven.yaml", "docs/configuration.md", "docs/metrics.md"])
def test_generated_files_are_up_to_date(name: str) -> None:
    wanted = generated_files()[name]
    assert (ROOT / name).read_text(encoding="utf-8") == wanted, "run `python tools/write_docs.py`"


def test_the_default_file_is_valid_and_says_what_is_default(tmp_path: Path) -> None:
    path = tmp_path / "rivven.yaml"
    path.write_text(default_file())
    config = load(path, {})
    plain = Config.model_validate(
        {"listeners": [{"name": "main", "bind": "127.0.0.1:9092", "protocol": "sasl_plaintext"}]}
    )
    for name in Config.model_fields:
        if name not in ("listeners", "server", "admin"):
            assert getattr(config, name) == getattr(plain, name), name
    assert config.admin == AdminConfig(), "a section that is there is an Admin API with the defaults"


def test_every_commented_key_of_the_default_file_is_accepted(tmp_path: Path) -> None:
    lines = default_file().splitlines()
    # A commented key is "# name: value"; a comment is a sentence.
    keys = [re.sub(r"^(\s*)# ([a-z_.]+: .+)$", r"\1\2", line) for line in lines]
    text = "\n".join(line for line in keys if "tls: {" not in line)
    path = tmp_path / "rivven.yaml"
    path.write_text(text)
    config = load(path, {})
    assert config.listeners[0].advertised == "broker.example.com:9092"
    assert str(config.server.tls.key_password) == "file:/etc/rivven/tls/key-password"  # type: ignore[union-attr]
    own = {
        name
        for name, setting in BROKER_SETTINGS.items()
        if not setting.file_key and setting.default is not None
    }
    assert own <= config.broker_explicit


def test_the_page_has_every_key_and_setting() -> None:
    page = configuration_page()
    for name in (*TOPIC_SETTINGS, *BROKER_SETTINGS):
        assert f"| `{name}` |" in page
    for key in (
        "listeners[].sasl",
        "server.tls.min_version",
        "limits.max_connections",
        "auth.scram.iterations",
    ):
        assert f"| `{key}` |" in page


def test_default_values_hold_the_three_tables() -> None:
    values = default_values()
    assert values["topic"]["retention.ms"] == "604800000"
    assert values["broker"]["num.partitions"] == "1"
    assert values["file"]["limits"]["max_connections"] == 10_000
    assert values["file"]["data_dir"] == "data"
    yaml.safe_dump(values)


def test_the_development_file_is_the_development_profile() -> None:
    path = ROOT / "config" / "development.yaml"
    config = load(path, {})
    profile = load(None, {}, dev=True)
    with_ipv6 = Config.model_validate({**development_settings(Path("data"), ipv6=True), "dev": True})
    assert config == with_ipv6.model_copy(update={"dev": False})
    assert profile.server == config.server


def test_the_production_file_is_valid_and_secure() -> None:
    config = load(ROOT / "config" / "production.yaml", {})
    assert not config.insecure
    assert all(listener.uses_sasl and listener.uses_tls for listener in config.listeners)
    assert config.broker["log.flush.interval.messages"] == 1
    assert config.broker["auto.create.topics.enable"] is False
