"""RIVVEN_* variables: they override the file, and one that names no key is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.config.load import ConfigError, load

FILE = """
listeners: [{name: main, bind: '127.0.0.1:9093', protocol: sasl_ssl}]
server: {tls: {cert_path: server.crt, key_path: server.key}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rivven.yaml"
    path.write_text(FILE)
    return path


def test_every_kind_of_key_can_be_set(file: Path) -> None:
    config = load(
        file,
        {
            "RIVVEN_LISTENERS__0__BIND": "127.0.0.1:1",
            "RIVVEN_LISTENERS__0__SASL": "scram-sha-512, scram-sha-256",
            "RIVVEN_LISTENERS__1__NAME": "second",
            "RIVVEN_LISTENERS__1__BIND": "127.0.0.1:2",
            "RIVVEN_LISTENERS__1__PROTOCOL": "sasl_plaintext",
            "RIVVEN_SERVER__TLS__MIN_VERSION": "1.3",
            "RIVVEN_BROKER__NUM_PARTITIONS": "7",
            "RIVVEN_BROKER__LOG_CLEANUP_POLICY": "compact,delete",
            "RIVVEN_METRICS__ENABLED": "FALSE",
            "RIVVEN_LIMITS__MAX_CONNECTIONS": "5",
            "RIVVEN_SHUTDOWN_TIMEOUT_SECS": "1.5",
            "RIVVEN_DATA_DIR": "/tmp/elsewhere",
            "RIVVEN_AUTHORIZATION__SUPER_USERS": "User:a,User:b",
            "RIVVEN_INSECURE": "true",
        },
    )
    assert [listener.bind for listener in config.listeners] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert config.listeners[0].sasl == ["SCRAM-SHA-512", "SCRAM-SHA-256"]
    assert config.server.tls is not None
    assert config.server.tls.min_version == "1.3"
    assert config.broker["num.partitions"] == 7
    assert config.topic_defaults["cleanup.policy"] == "compact,delete"
    assert not config.metrics.enabled
    assert config.limits.max_connections == 5
    assert config.shutdown_timeout_secs == 1.5
    assert config.data_dir == Path("/tmp/elsewhere")
    assert config.authorization.super_users == ["User:a", "User:b"]
    assert config.insecure


def test_without_a_file_the_environment_can_say_it_all() -> None:
    config = load(
        None,
        {
            "RIVVEN_LISTENERS__0__NAME": "a",
            "RIVVEN_LISTENERS__0__BIND": "127.0.0.1:0",
            "RIVVEN_LISTENERS__0__PROTOCOL": "sasl_plaintext",
        },
    )
    assert config.listeners[0].name == "a"


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("RIVVEN_LISTENER__0__BIND", "no such key: listener; did you mean LISTENERS"),
        ("RIVVEN_LISTENERS__0__BINDD", r"no such key: listeners\[0\]\.bindd; did you mean BIND"),
        ("RIVVEN_LISTENERS__9__BIND", "there is no entry 9; the next one is 1"),
        ("RIVVEN_LISTENERS__A__BIND", "'a' is not the number of an entry"),
        ("RIVVEN_LISTENERS__0", "names a whole entry"),
        ("RIVVEN_INSECURE__DEEPER", "'insecure' is no mapping|nothing below|no such key"),
        ("RIVVEN_DEV__ON", "no such key: dev"),
    ],
)
def test_a_variable_that_names_no_key_is_refused_by_its_name(file: Path, variable: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"environment variable {variable}: ({reason})"):
        load(file, {variable: "x"})


def test_a_bad_value_names_the_variable_and_the_key(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, {"RIVVEN_LIMITS__MAX_CONNECTIONS": "many", "RIVVEN_BROKER__NUM_PARTITIONS": "0"})
    message = str(caught.value)
    assert "environment variable RIVVEN_LIMITS__MAX_CONNECTIONS: limits.max_connections: " in message


def test_a_bad_kafka_setting_names_the_variable(file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"RIVVEN_BROKER__NUM_PARTITIONS: broker\.num\.partitions: 0 is less"
    ):
        load(file, {"RIVVEN_BROKER__NUM_PARTITIONS": "0"})


def test_variables_a_platform_sets_for_a_service_called_rivven_are_left_alone(file: Path) -> None:
    platform = {
        "RIVVEN_SERVICE_HOST": "10.0.0.1",
        "RIVVEN_PORT_9092_TCP": "tcp://10.0.0.1:9092",
        "RIVVEN_PORT": "x",
    }
    assert load(file, platform) == load(file, {})
