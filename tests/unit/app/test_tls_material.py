"""What changes is put in force and told; what is broken is told once and changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from rivven.app import tls_material
from rivven.app.failures import ExitCode, StartFailed
from rivven.app.tls_material import TlsMaterial
from rivven.audit.events import AuditEvent
from rivven.config.models import Config
from rivven.security.tls_live import TlsSection
from rivven.tasks import Tasks
from rivven.telemetry import Metrics
from rivven.watched_files import INTERVAL_S
from tests.shipped.authority import DAY_S, Authority, Issued


class Clock:
    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_ms(self) -> int:
        return int((time.time() + self.ahead_s) * 1000)

    def monotonic(self) -> float:
        return time.monotonic()


class Trail:
    """The audit trail, as far as TLS tells it something."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def event(self, event: AuditEvent) -> None:
        self.events.append(event)


class World:
    def __init__(self, directory: Path, **admin: object) -> None:
        self.directory = directory
        self.root, self.clients = Authority(), Authority("clients")
        self.write(self.root.issue())
        (directory / "ca.crt").write_bytes(self.clients.pem)
        (directory / "crl.pem").write_bytes(self.clients.crl())
        self.clock, self.metrics, self.trail = Clock(), Metrics(), Trail()
        self.told: list[str] = []
        self.config = Config.model_validate(self.settings(**admin))
        self.tls = TlsMaterial(self.config, self.clock, self.metrics, self.trail)  # type: ignore[arg-type]
        self.tls.trust_changed.append(self.told.append)

    def settings(self, **admin: object) -> dict[str, Any]:
        pair = {"cert_path": str(self.directory / "leaf.crt"), "key_path": str(self.directory / "leaf.key")}
        client = {"ca_path": str(self.directory / "ca.crt"), "client_auth": "required"}
        return {
            "listeners": [
                {"name": "one", "bind": "127.0.0.1:1", "protocol": "sasl_ssl"},
                {"name": "two", "bind": "127.0.0.1:2", "protocol": "sasl_ssl"},
                {
                    "name": "mtls",
                    "bind": "127.0.0.1:3",
                    "protocol": "ssl",
                    "tls": {**pair, **client, "crl_path": str(self.directory / "crl.pem")},
                },
            ],
            "server": {"tls": pair},
            "admin": {"bind": "127.0.0.1:4", **admin},
        }

    def write(self, leaf: Issued) -> None:
        leaf.write(self.directory, "leaf")

    def section(self, name: str) -> TlsSection:
        section = self.tls.of_listener(next(one for one in self.config.listeners if one.name == name))
        assert section is not None
        return section

    def metric(self, name: str) -> dict[tuple[str, ...], float]:
        family = next(one for one in self.metrics.families() if one.name == name)
        return {labels: one.value for labels, one in family.children()}  # type: ignore[union-attr]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(tls_material, "PAUSE_S", 0.01)
    return World(tmp_path)


async def test_listeners_of_one_section_share_it_and_it_is_read_once(world: World) -> None:
    assert world.section("one") is world.section("two") is world.tls.of_admin()
    assert world.section("mtls") is not world.section("one")
    assert world.section("mtls").where == "listeners.mtls.tls"
    assert set(world.tls.server_chains()) == {"server.tls", "listeners.mtls.tls"}


async def test_the_admin_api_may_have_its_own(tmp_path: Path) -> None:
    pair = {"cert_path": str(tmp_path / "leaf.crt"), "key_path": str(tmp_path / "leaf.key")}
    world = World(tmp_path, tls=pair)
    section = world.tls.of_admin()
    assert section is not None
    assert section.where == "admin.tls"


async def test_a_broken_pair_refuses_the_start(world: World) -> None:
    (world.directory / "leaf.key").unlink()
    with pytest.raises(StartFailed, match=r"server\.tls\.key_path") as refused:
        world.section("one")
    assert refused.value.exit_code is ExitCode.CONFIG


async def test_a_change_counts_for_every_section_that_names_the_file(world: World) -> None:
    before = world.section("one").context(), world.section("mtls").context()
    leaf = world.root.issue()
    world.write(leaf)
    await world.tls.look_once()
    assert world.section("one").context() is not before[0]
    assert world.section("mtls").context() is not before[1]
    assert world.tls.server_chains() == {
        "server.tls": leaf.ders,
        "listeners.mtls.tls": leaf.ders,
    }
    assert world.metric("rivven_tls_reloads_total") == {
        ("server.tls", "success"): 1,
        ("server.tls", "failure"): 0,
        ("listeners.mtls.tls", "success"): 1,
        ("listeners.mtls.tls", "failure"): 0,
    }
    assert [(one.action, one.resource, one.result) for one in world.trail.events] == [
        ("reload", "tls:server.tls.cert_path", "success"),
        ("reload", "tls:listeners.mtls.tls.cert_path", "success"),
    ]
    assert not world.told, "nobody is trusted less"


async def test_a_broken_pair_is_told_once_and_until_it_is_mended(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    section = world.section("one")
    before = section.context()
    (world.directory / "leaf.crt").write_bytes(b"half")
    for _ in range(3):
        await world.tls.look_once()
        (world.directory / "leaf.crt").touch()
    assert section.context() is before
    lines = [one.message for one in caplog.records if one.levelno == logging.ERROR]
    path = world.directory / "leaf.crt"
    assert lines == [
        f"server.tls.cert_path: {path}: holds no PEM certificate; what was in force before stays"
    ]
    assert world.metric("rivven_tls_refused") == {("server.tls",): 1}
    assert world.metric("rivven_tls_reloads_total")[("server.tls", "failure")] == 1
    (event,) = world.trail.events
    assert (event.action, event.result) == ("reload", "failure")
    assert "holds no PEM certificate" in event.reason
    caplog.set_level(logging.INFO)
    world.write(world.root.issue())
    await world.tls.look_once()
    assert world.metric("rivven_tls_refused") == {("server.tls",): 0}
    assert "the files of server.tls are sound again" in caplog.messages
    assert section.context() is not before


async def test_a_pair_that_is_half_there_for_a_moment_is_no_alarm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    section, leaf = world.section("one"), world.root.issue()
    before = section.context()
    (world.directory / "leaf.crt").write_bytes(leaf.pem)
    looks = []
    whole = section.read_again

    def read_again(now_ms: int) -> object:
        looks.append(whole(now_ms))
        (world.directory / "leaf.key").write_bytes(leaf.key_pem)
        return looks[-1]

    monkeypatch.setattr(section, "read_again", read_again)
    await world.tls.look_once()
    assert "is not the key of the certificate" in looks[0].problems[0]
    assert section.context() is not before
    assert world.metric("rivven_tls_reloads_total")[("server.tls", "failure")] == 0


async def test_who_is_trusted_is_asked_again_after_authorities_or_lists_have_changed(world: World) -> None:
    world.section("mtls")
    alice = world.clients.issue("alice")
    (world.directory / "crl.pem").write_bytes(world.clients.crl(alice))
    await world.tls.look_once()
    assert world.told == ["listeners.mtls.tls.crl_path changed"]
    (world.directory / "ca.crt").write_bytes(world.clients.pem + Authority("more").pem)
    await world.tls.look_once()
    assert world.told[1:] == ["listeners.mtls.tls.ca_path changed"]


async def test_ends_are_metrics_and_follow_what_is_in_force(world: World) -> None:
    world.section("mtls")
    days = world.metric("rivven_tls_expiry_days")
    assert days[("listeners.mtls.tls.cert_path",)] == pytest.approx(5, abs=0.01)
    assert days[("listeners.mtls.tls.ca_path",)] == pytest.approx(10, abs=0.01)
    assert world.metric("rivven_tls_crl_days")[("listeners.mtls.tls.crl_path",)] == pytest.approx(1, abs=0.01)
    world.write(world.root.issue(seconds=2 * DAY_S))
    (world.directory / "crl.pem").write_bytes(world.clients.crl(seconds=3 * DAY_S))
    await world.tls.look_once()
    days = world.metric("rivven_tls_expiry_days")
    assert days[("listeners.mtls.tls.cert_path",)] == pytest.approx(2, abs=0.01)
    assert world.metric("rivven_tls_crl_days")[("listeners.mtls.tls.crl_path",)] == pytest.approx(3, abs=0.01)


async def test_a_list_that_runs_out_is_met_at_its_moment(world: World) -> None:
    (world.directory / "crl.pem").write_bytes(world.clients.crl(seconds=1.5))
    world.section("mtls")
    tasks, told = Tasks(), asyncio.Event()
    world.tls.trust_changed.append(lambda _why: told.set())
    world.tls.follow(tasks)
    try:
        await asyncio.wait_for(told.wait(), 10)
    finally:
        await tasks.cancel_all()
    (why,) = world.told
    assert why == (
        "listeners.mtls.tls.crl_path: the list of CN=clients has expired: its certificates are refused"
    )
    assert world.trail.events[0].reason == why
    assert world.metric("rivven_tls_crl_days")[("listeners.mtls.tls.crl_path",)] < 0


async def test_following_sees_content_through_kubernetes_links(world: World, tmp_path: Path) -> None:
    """`leaf.crt` -> `..data/leaf.crt`, `..data` -> a directory by its time."""
    mount = tmp_path / "mount"
    for number in (1, 2):
        world.root.issue().write(mount / f"..{number}", "leaf")
    os.symlink("..1", mount / "..data")
    for name in ("leaf.crt", "leaf.key"):
        (world.directory / name).unlink()
        os.symlink(mount / "..data" / name, world.directory / name)
    section = world.section("one")
    before = section.context()
    os.symlink("..2", mount / "..new")
    os.replace(mount / "..new", mount / "..data")
    await world.tls.look_once()
    assert section.context() is not before
    assert not world.metric("rivven_tls_reloads_total")[("server.tls", "failure")]


async def test_a_certificate_that_begins_later_is_taken_when_it_does(world: World) -> None:
    """As from an authority whose clock is ahead of ours; nobody touches the files again."""
    section = world.section("one")
    world.section("mtls")
    before = section.context()
    leaf = world.root.issue(begin=120.0)
    world.write(leaf)
    world_crl = world.clients.crl(begin=600.0)
    (world.directory / "crl.pem").write_bytes(world_crl)
    await world.tls.look_once()
    assert section.context() is before
    assert world.metric("rivven_tls_refused") == {("server.tls",): 1, ("listeners.mtls.tls",): 1}

    async def minute() -> None:
        world.tls.judge_refused_again()
        for _ in range(round(tls_material.REREAD_S / INTERVAL_S)):
            await world.tls.look_once()

    await minute()
    assert section.context() is before
    world.clock.ahead_s = 601.0
    await minute()
    assert world.tls.server_chains() == {"server.tls": leaf.ders, "listeners.mtls.tls": leaf.ders}
    assert world.metric("rivven_tls_refused") == {("server.tls",): 0, ("listeners.mtls.tls",): 0}
    assert world.metric("rivven_tls_reloads_total")[("server.tls", "failure")] == 1, "told once"
    assert world.told == ["listeners.mtls.tls.crl_path changed"]
