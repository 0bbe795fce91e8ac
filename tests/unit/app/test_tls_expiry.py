"""Whoever can do something about an end hears of it in time, and once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rivven.app.tls_expiry import outgoing_authorities
from rivven.config.models import Config
from tests.shipped.authority import DAY_S, Authority, Issued
from tests.unit.app.test_tls_material import World


async def test_warnings_at_thirty_seven_and_one_day_and_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    world.write(Authority(seconds=99 * DAY_S).issue(seconds=40 * DAY_S))
    world.section("one")
    watch = world.tls.expiry
    told = []
    for day in range(43):
        world.clock.ahead_s = day * DAY_S
        caplog.clear()
        watch.look()
        watch.look()
        told += [(day, one.levelname, one.message.partition(": ")[2]) for one in caplog.records]
    assert told == [
        (10, "WARNING", "a certificate of the chain ends in 30.0 days"),
        (33, "WARNING", "a certificate of the chain ends in 7.0 days"),
        (39, "ERROR", "a certificate of the chain ends in 1.0 days"),
        (40, "ERROR", "a certificate of the chain has ended"),
    ]


async def test_a_new_certificate_that_ends_soon_is_warned_of_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    world.section("one")
    assert "ends in 5.0 days" in caplog.text
    caplog.clear()
    world.write(world.root.issue(seconds=3 * DAY_S))
    await world.tls.look_once()
    assert "server.tls.cert_path: a certificate of the chain ends in 3.0 days" in caplog.messages


async def test_a_start_with_what_clients_refuse_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    leaf = world.root.issue()
    world.write(Issued(leaf.certificate, leaf.key, (Authority("stranger").certificate,)))
    world.section("one")
    await world.tls.expiry.check_chains()
    path = tmp_path / "leaf.crt"
    assert f"server.tls.cert_path: {path}: certificate 2 issued none of the others" in caplog.messages


async def test_authorities_of_servers_we_connect_to_are_metrics_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    syslog, issuer = tmp_path / "syslog.crt", tmp_path / "issuer.crt"
    syslog.write_bytes(Authority(seconds=4 * DAY_S).pem)
    issuer.write_bytes(b"nonsense")
    settings = world.settings()
    settings["audit"] = {
        "output": [
            {"type": "file"},
            {"type": "syslog", "address": "127.0.0.1:6514", "transport": "tls", "ca_path": str(syslog)},
        ]
    }
    settings["auth"] = {
        "oidc": {
            "issuers": [
                {
                    "issuer": "https://id.example",
                    "audiences": ["x"],
                    "prefix": "id-",
                    "ca_path": str(issuer),
                }
            ]
        },
        "mtls_mapping": {"prefix": "x-"},
    }
    found = outgoing_authorities(Config.model_validate(settings))
    assert found == {"audit.output[1].ca_path": syslog, "auth.oidc.issuers[0].ca_path": issuer}
    world.tls.expiry._config = Config.model_validate(settings)
    await world.tls.expiry.look_around()
    assert world.metric("rivven_tls_expiry_days")[("audit.output[1].ca_path",)] == pytest.approx(4, abs=0.01)
    assert "auth.oidc.issuers[0].ca_path: " in caplog.text


async def test_issuers_of_a_file_come_and_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    authority, issuers = tmp_path / "issuer.crt", tmp_path / "issuers.yaml"
    authority.write_bytes(Authority(seconds=4 * DAY_S).pem)
    issuer = {"issuer": "https://id.example", "audiences": ["x"], "prefix": "id-", "ca_path": str(authority)}
    settings = world.settings() | {
        "auth": {"oidc": {"issuers_file": str(issuers)}, "mtls_mapping": {"prefix": "x-"}}
    }
    world.tls.expiry._config = Config.model_validate(settings)
    key = ("auth.oidc.issuers_file[0].ca_path",)
    await world.tls.expiry.look_around()
    assert key not in world.metric("rivven_tls_expiry_days"), "a file that is not there names nobody"
    for content, known in (({"issuers": [issuer]}, True), ({"issuers": []}, False)):
        issuers.write_text(json.dumps(content))
        await world.tls.expiry.look_around()
        days = world.metric("rivven_tls_expiry_days")
        assert (key in days) is known
        assert not known or days[key] == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("source", ["vault", "kms"])
def test_whom_key_services_are_verified_by_is_known(tmp_path: Path, source: str) -> None:
    settings = World(tmp_path).settings()
    own = {
        "vault": {"address": "https://vault.example:8200", "auth": {"token": "env:TOKEN"}},
        "kms": {"key_id": "alias/x"},
    }
    encryption = {"enabled": True, "key_source": source, source: own[source] | {"ca_path": "/ca.crt"}}
    settings["storage"] = {"encryption": encryption}
    found = outgoing_authorities(Config.model_validate(settings))
    assert found == {f"storage.encryption.{source}.ca_path": Path("/ca.crt")}
