"""The section `admin`: when there is an Admin API, under which names, with which certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.config.development import development_settings
from rivven.config.load import ConfigError, validate
from rivven.config.models import Config

LISTENER = {
    "name": "main",
    "bind": "127.0.0.1:9093",
    "protocol": "sasl_ssl",
    "advertised": "Broker.example:9093",
}
TLS = {"cert_path": "server.crt", "key_path": "server.key"}


def made(admin: object = None, **changes: object) -> Config:
    values: dict[str, object] = {"listeners": [LISTENER], "server": {"tls": TLS}}
    if admin is not None:
        values["admin"] = admin
    return validate(values | changes, "f")


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert made().admin is None
    assert not made().admin_asks_for_certificates
    asked = made({}).admin
    assert asked is not None
    assert (asked.enabled, asked.bind) == (True, "127.0.0.1:9094")


def test_development_has_one() -> None:
    usual = validate(development_settings(Path("data"), ipv6=False), "f", dev=True).admin
    other = validate(development_settings(Path("data"), port=9393, ipv6=False), "f", dev=True).admin
    assert usual is not None
    assert other is not None
    assert (usual.bind, other.bind) == ("127.0.0.1:9094", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("admin", "names"),
    [
        ({}, {"127.0.0.1", "localhost", "::1", "broker.example"}),
        ({"bind": "0.0.0.0:9094"}, {"broker.example"}),
        ({"bind": "10.0.0.7:9094"}, {"10.0.0.7", "broker.example"}),
        ({"bind": "[fe80::1]:9094", "names": ["Admin.Example", "[fd00::1]"]},
         {"fe80::1", "fd00::1", "admin.example", "broker.example"}),
    ],
)  # fmt: skip
def test_its_names(admin: dict[str, object], names: set[str]) -> None:
    assert made(admin).admin_names == names


def test_its_certificate_is_that_of_the_listeners_or_its_own() -> None:
    own = {"cert_path": "admin.crt", "key_path": "admin.key", "client_auth": "optional", "ca_path": "ca.crt"}
    assert made({}).admin_tls == made().server.tls
    config = made({"tls": own})
    assert config.admin_tls is not None
    assert config.admin_tls.cert_path == Path("admin.crt")
    assert config.admin_asks_for_certificates
    assert not made({"tls": own, "enabled": False}).admin_asks_for_certificates


def test_without_a_certificate_only_an_insecure_broker_has_one() -> None:
    listener = LISTENER | {"protocol": "sasl_plaintext"}
    bare = {"listeners": [listener], "server": {}}
    with pytest.raises(ConfigError, match=r"admin: needs server\.tls or admin\.tls"):
        made({}, **bare)
    assert made({"enabled": False}, **bare).admin_tls is None
    assert made({}, insecure=True, **bare).admin_tls is None


@pytest.mark.parametrize(
    ("admin", "key"),
    [
        ({"port": 1}, "admin.port"),
        ({"bind": "localhost"}, "admin.bind"),
        ({"names": ["a:9094"]}, "admin.names"),
        ({"names": ["a/b"]}, "admin.names"),
        ({"names": [""]}, "admin.names"),
        ({"names": ["x"] * 33}, "admin.names"),
        ({"enabled": 1}, "admin.enabled"),
    ],
)
def test_odd_values_are_refused(admin: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        made(admin)
