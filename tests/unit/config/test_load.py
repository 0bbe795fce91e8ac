"""The configuration file: what is accepted, and that every refusal names file, key and reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.config.load import ConfigError, load, parse_yaml, validate
from rivven.config.models import Config
from rivven.config.values import parse_address

LISTENER = "listeners: [{name: main, bind: '127.0.0.1:9093', protocol: sasl_ssl}]\n"
TLS = "server: {tls: {cert_path: server.crt, key_path: server.key}}\n"
GOOD = LISTENER + TLS
CLIENTS = LISTENER + TLS.replace("server.key", "server.key, ca_path: ca.crt, client_auth: required")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rivven.yaml"
    path.write_text(text)
    return path


def loaded(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Config:
    return load(written(tmp_path, text), env or {})


def refusal(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, env)
    return str(caught.value)


def test_a_small_file_gets_defaults(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD)
    assert not config.insecure
    assert config.listeners[0].sasl == ["SCRAM-SHA-256", "SCRAM-SHA-512"]
    assert config.tls_of(config.listeners[0]) == config.server.tls
    assert config.broker["num.partitions"] == 1
    assert config.broker_explicit == frozenset()
    assert config.authorization.authorizers == ["acl", "rbac"]
    assert not config.dev


def test_required_certificates_are_authentication(tmp_path: Path) -> None:
    config = loaded(tmp_path, CLIENTS.replace("sasl_ssl", "ssl"))
    [listener] = config.listeners
    assert config.authenticates(listener)
    assert config.names_by_certificate(listener)
    [listener] = (config := loaded(tmp_path, CLIENTS)).listeners
    assert not config.names_by_certificate(listener), "with SASL on top SASL says who it is"


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("", "listeners", "is required"),
        ("listeners: []\n", "listeners", "at least 1 item"),
        ("listenrs: 3\n" + GOOD, "listenrs", "did you mean listeners?"),
        (GOOD + "limits: {max_conections: 3}\n", "limits.max_conections", "did you mean max_connections?"),
        (GOOD + "num.partitions: 3\n", "num.partitions", "stand under broker:"),
        (GOOD + "broker: {num.partition: 3}\n", "broker.num.partition", "did you mean num.partitions?"),
        (GOOD + "broker: {num.partitions: 0}\n", "broker.num.partitions", "0 is less than 1"),
        (GOOD + "broker: {max.connections: 3}\n", "broker.max.connections", "limits.max_connections"),
        (GOOD + "broker: {num.partitions: [1]}\n", "broker", "text, number, boolean"),
        (GOOD + "broker: 3\n", "broker", "must be a mapping"),
        (GOOD + "limits: {max_connections: '5'}\n", "limits.max_connections", "valid integer"),
        (GOOD + "limits: 5\n", "limits", "must be a mapping"),
        (GOOD + "data_dir: 3\n", "data_dir", "path"),
        (GOOD + "dev: true\n", "dev", "rivven server --dev"),
        (GOOD + "metrics: {bind: '0.0.0.0:9644'}\n", "metrics.bind", "loopback"),
        (GOOD + "metrics: {bind: localhost}\n", "metrics.bind", "host:port"),
        (GOOD + "authorization: {super_users: [admin]}\n", "authorization.super_users", "User:name"),
        (GOOD + "auth: {scram: {iterations: 100}}\n", "auth.scram.iterations", "4096"),
        (GOOD + "auth: {mechanism: []}\n", "auth.mechanism", "at least 1"),
        (
            GOOD.replace("sasl_ssl", "sasl_plaintext").replace("9093", "9092") + "auth: {mechanism: plain}\n",
            "listeners[0].sasl",
            "PLAIN sends the password itself",
        ),
        (GOOD + "auth: {scram: {min_iterations: 100}}\n", "auth.scram.min_iterations", "4096"),
        (GOOD + "auth: {scram: {decoy_shapes: []}}\n", "auth.scram.decoy_shapes", "at least 1"),
        (
            GOOD + "auth: {scram: {decoy_shapes: [{iterations: 4096, salt_bytes: 4}]}}\n",
            "auth.scram.decoy_shapes[0].salt_bytes",
            "8",
        ),
        (GOOD + "auth: {user_file: x}\n", "auth.user_file", "users_file"),
        (LISTENER, "listeners[0].protocol", "needs server.tls"),
        (CLIENTS.replace(", ca_path: ca.crt", ""), "server.tls", "go together"),
        (CLIENTS.replace(", client_auth: required", ""), "server.tls", "go together"),
        (
            CLIENTS.replace("required", "optional").replace("sasl_ssl", "ssl"),
            "listeners[0].protocol",
            "required",
        ),
        (GOOD + "auth: {mtls_mapping: {type: rules}}\n", "auth.mtls_mapping", "needs them"),
        (GOOD + "auth: {mtls_mapping: {rules: [DEFAULT]}}\n", "auth.mtls_mapping", "type: rules"),
        (GOOD + "auth: {mtls_mapping: {type: email}}\n", "auth.mtls_mapping.type", "'common_name'"),
        (GOOD + "auth: {mtls: {denied: ['']}}\n", "auth.mtls.denied[0]", "at least 1"),
        (GOOD.replace("sasl_ssl", "tls"), "listeners[0].protocol", "'sasl_ssl'"),
        (GOOD.replace("sasl_ssl", "plaintext"), "listeners[0].protocol", "without a password"),
        (GOOD.replace("sasl_ssl", "ssl"), "listeners[0].protocol", "without a password"),
        (
            GOOD.replace("sasl_ssl", "sasl_plaintext").replace("127.0.0.1", "10.0.0.1"),
            "listeners[0].protocol",
            "in the clear",
        ),
        (GOOD.replace("127.0.0.1", "0.0.0.0"), "listeners[0]", "advertised must name"),
        (GOOD.replace("main", "9 lives"), "listeners[0].name", "start with a letter"),
        (GOOD.replace(":9093", ":99999"), "listeners[0].bind", "not a port"),
        (GOOD.replace("127.0.0.1", "::1"), "listeners[0].bind", "needs brackets"),
        (GOOD.replace("name: main", "name: main, advertised: '[::]:1'"), "listeners[0]", "no client can"),
        (GOOD.replace("sasl_ssl", "ssl, sasl: [scram-sha-256]"), "listeners[0]", "no meaning"),
        (
            GOOD.replace("sasl_ssl}", "sasl_plaintext, tls: {cert_path: a, key_path: b}}"),
            "listeners[0]",
            "no meaning",
        ),
        (
            GOOD.replace("}]", "}, {name: MAIN, bind: 'localhost:1', protocol: sasl_ssl}]"),
            "listeners[1].name",
            "used twice",
        ),
        (
            GOOD.replace("key_path: server.key", "key_path: k, min_version: '1.1'"),
            "server.tls.min_version",
            "'1.2'",
        ),
        (GOOD.replace("cert_path", "enabled: true, cert_path"), "server.tls.enabled", "chosen per listener"),
        (
            GOOD + "broker: {group.min.session.timeout.ms: 9, group.max.session.timeout.ms: 8}\n",
            "broker",
            "is more than group.max.session.timeout.ms",
        ),
        (GOOD + "limits: {request_memory_bytes: 2000000}\n", "broker", "more than queued.max.request.bytes"),
        (
            GOOD + "broker: {log.cleaner.min.compaction.lag.ms: 9, log.cleaner.max.compaction.lag.ms: 8}\n",
            "broker.max.compaction.lag.ms",
            "less than",
        ),
    ],
)
def test_a_refusal_names_file_key_and_reason(tmp_path: Path, text: str, key: str, reason: str) -> None:
    message = refusal(tmp_path, text)
    first = next(line for line in message.splitlines() if f"rivven.yaml: {key}" in line)
    assert reason in first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", "line 2 column 1: did not find"),
        ("a: 2001-99-99\n", "is not a YAML text"),
        ("a: 1\na: 2\n", "line 2 column 1: the key 'a' is given twice"),
        ("- 1\n", "must hold a mapping"),
        ("1: 2\n", "must hold a mapping"),
        ("? [a]\n: 1\n", "a key must be a plain text"),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("\x00", "is not a YAML text"),
        ("[" * 100_000, "nested deeper than 20"),
        ("a: &x [1]\nb: *x\n", "aliases are not accepted"),
    ],
)
def test_text_that_is_not_plain_yaml_is_refused_with_its_place(
    tmp_path: Path, text: str, reason: str
) -> None:
    assert reason in refusal(tmp_path, text)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_mapping_or_a_config_error(text: bytes) -> None:
    try:
        assert isinstance(parse_yaml(text, "x"), dict)
    except ConfigError as error:
        assert error.problems


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(Config.model_fields)), inner)
        ),
        max_leaves=10,
    )
)
def test_random_values_are_accepted_or_refused_with_a_key(value: object) -> None:
    with pytest.raises(ConfigError):
        validate({"listeners": value, "limits": value, "broker": value}, "x")


def test_a_missing_or_huge_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: No such file or directory"):
        load(tmp_path / "missing.yaml", {})
    assert "larger than" in refusal(tmp_path, "#" * 1_100_000)


def test_several_problems_are_told_at_once(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, GOOD + "a: 1\nb: 2\n").splitlines()) == 2


def test_kafka_names_reach_broker_values_and_topic_defaults(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        GOOD + "broker: {log.retention.hours: 2, log.cleanup.policy: [compact, delete], "
        "auto.create.topics.enable: false}\n"
        "limits: {max_connections: 7, idle_timeout_secs: 1.5, max_message_size: 2000}\n",
    )
    assert config.topic_defaults["retention.ms"] == "7200000"
    assert config.topic_defaults["cleanup.policy"] == "compact,delete"
    assert config.topic_defaults["max.message.bytes"] == "2000"
    assert config.broker["auto.create.topics.enable"] is False
    assert config.broker["max.connections"] == 7
    assert config.broker["connections.max.idle.ms"] == 1500
    assert config.broker_explicit == {
        "log.retention.hours",
        "log.cleanup.policy",
        "auto.create.topics.enable",
        "max.connections",
        "connections.max.idle.ms",
        "message.max.bytes",
    }


def test_insecure_allows_what_is_refused_otherwise(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "insecure: true\nlisteners: [{name: open, bind: '10.0.0.1:9092', protocol: plaintext}]\n"
        "metrics: {bind: '10.0.0.1:9644'}\n",
    )
    assert config.insecure
    assert config.tls_of(config.listeners[0]) is None


def test_a_password_in_the_clear_is_accepted_on_loopback_only(tmp_path: Path) -> None:
    config = loaded(tmp_path, "listeners: [{name: a, bind: '[::1]:9092', protocol: sasl_plaintext}]\n")
    assert config.listeners[0].address.loopback


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("h:0", "h", 0), ("[::1]:65535", "::1", 65535), ("10.0.0.1:9092", "10.0.0.1", 9092)],
)
def test_addresses_parse_and_print(text: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert address == (host, port)
    assert str(address) == text


@pytest.mark.parametrize("text", ["", ":1", "h", "h:", "h:x", "h:٣", "[h]:1", "::1:9092", "h:65536", "h:-1"])
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_address(text)


def test_the_development_profile_needs_no_file(tmp_path: Path) -> None:
    config = load(None, {}, {"data_dir": str(tmp_path)}, dev=True)
    assert config.dev
    assert config.data_dir == tmp_path
    assert config.listeners[0].bind == "127.0.0.1:9092"
    assert config.tls_of(config.listeners[0]).cert_path == tmp_path / "dev" / "server.crt"  # type: ignore[union-attr]
    assert config.broker["group.initial.rebalance.delay.ms"] == 0
    assert config.broker["offsets.topic.num.partitions"] == 1


def test_a_file_replaces_parts_of_the_development_profile(tmp_path: Path) -> None:
    path = written(tmp_path, "logging: {format: json}\ndata_dir: elsewhere\n")
    config = load(path, {}, dev=True)
    assert config.logging.format == "json"
    assert str(config.tls_of(config.listeners[0]).key_path) == "elsewhere/dev/server.key"  # type: ignore[union-attr]


def test_another_data_directory_moves_the_files_of_the_development_profile() -> None:
    config = load(None, {"RIVVEN_DATA_DIR": "elsewhere"}, dev=True)
    assert str(config.data_dir) == "elsewhere"
    assert str(config.tls_of(config.listeners[0]).cert_path) == "elsewhere/dev/server.crt"  # type: ignore[union-attr]


def test_another_development_port_is_that_of_every_listener() -> None:
    config = load(None, {}, dev=True, dev_port=9192)
    assert {listener.bind.rpartition(":")[2] for listener in config.listeners} == {"9192"}
    assert config.metrics.bind == "127.0.0.1:0", "the usual one is taken when two servers run"
    assert load(None, {}, dev=True).metrics.bind == "127.0.0.1:9644"


def test_listeners_without_mechanisms_take_those_of_the_section_auth(tmp_path: Path) -> None:
    assert loaded(tmp_path, GOOD).listeners[0].sasl == ["SCRAM-SHA-256", "SCRAM-SHA-512"]
    documented = GOOD + "auth: {mechanism: scram-sha-256}\n"
    assert loaded(tmp_path, documented).listeners[0].sasl == ["SCRAM-SHA-256"]
    several = GOOD.replace("}]", "}, {name: own, bind: 'localhost:1', protocol: sasl_ssl, sasl: [plain]}]")
    config = loaded(tmp_path, several + "auth: {mechanism: [SCRAM-SHA-512, plain]}\n")
    assert [one.sasl for one in config.listeners] == [["SCRAM-SHA-512", "PLAIN"], ["PLAIN"]]
