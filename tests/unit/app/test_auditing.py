"""The composition of the audit trail: installed outputs, unknown ones, and logins as they are recorded."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rivven.app import auditing
from rivven.app.auditing import Auditing
from rivven.app.failures import StartFailed
from rivven.audit.chain import Line
from rivven.audit.events import AuditEvent
from rivven.audit.signing import public_keys
from rivven.audit.sinks import Opened
from rivven.audit.verify import Verifier
from rivven.clock import SystemClock
from rivven.config.load import validate
from rivven.config.models import Config
from rivven.log.files import OsFiles
from rivven.security.extensions import Extensions
from rivven.security.keys.key_file import KeyFileRefused, PrivateFiles
from rivven.security.keys.secrets import AUDIT_SIGNING, Secrets
from rivven.security.sessions import Refusal, Sessions
from rivven.telemetry import Metrics

LISTENER = {"name": "main", "bind": "127.0.0.1:9092", "protocol": "sasl_plaintext"}


class Remembering:
    """An audit sink as a package would install it: made from its options."""

    def __init__(self, options: dict[str, str]) -> None:
        self.path = Path(options["where"])

    def open(self) -> Opened:
        return Opened()

    def write(self, lines: Sequence[Line], durable: bool) -> Sequence[AuditEvent]:
        with self.path.open("ab") as file:
            file.writelines(line.data + b"\n" for line in lines)
        return ()

    def close(self) -> None:
        self.path.with_suffix(".closed").touch()


def config(data: Path, *outputs: dict[str, Any]) -> Config:
    section = {"output": [{"type": "file"}, *outputs]}
    return validate({"listeners": [LISTENER], "data_dir": str(data), "audit": section}, "test")


def made(settings: Config) -> Auditing:
    return Auditing(settings, OsFiles(), SystemClock(), Metrics())


def kept(data: Path) -> Secrets:
    return Secrets(PrivateFiles(), str(data), os.urandom)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Extensions("rivven.audit_sinks", {"remember": f"{__name__}:Remembering"})
    monkeypatch.setattr(auditing, "_SINKS", known)


@pytest.mark.usefixtures("installed")
async def test_an_installed_output_gets_the_bytes_of_the_file(tmp_path: Path) -> None:
    where = tmp_path / "remembered"
    trail = made(config(tmp_path, {"type": "remember", "options": {"where": str(where)}}))
    await trail.start()
    trail.ready({"main": "127.0.0.1:9092"})
    await trail.sign(kept(tmp_path))
    await trail.close()
    log = tmp_path / "audit" / "audit.log"
    assert where.read_bytes() == log.read_bytes()
    actions = [json.loads(line)["action"] for line in log.read_bytes().splitlines()]
    assert actions == ["start", "checkpoint", "stop", "checkpoint"]
    assert where.with_suffix(".closed").exists()


async def test_a_log_signed_before_and_after_a_rotation_is_verified_with_the_keys_beside_it(
    tmp_path: Path,
) -> None:
    settings, secrets = config(tmp_path), kept(tmp_path)
    trail = made(settings)
    await trail.start()
    trail.ready({})
    await trail.sign(secrets)
    first = secrets.load(AUDIT_SIGNING)
    signer = await trail.rotate_key(secrets)
    await trail.close()
    again = made(settings)
    await again.start()
    await again.sign(secrets)
    await again.close()
    directory = tmp_path / "audit"
    public = (directory / "signing.pub").read_bytes()
    assert secrets.load(AUDIT_SIGNING) != first
    assert public_keys(public)[-1] == signer.public_pem and len(public_keys(public)) == 2
    assert set(secrets.public.all(AUDIT_SIGNING).values()) == set(public_keys(public))
    report = Verifier(OsFiles(), public).verify([str(directory / "audit.log")])
    assert report.intact and report.checkpoints >= 3, report.findings
    alone = Verifier(OsFiles(), signer.public_pem).verify([str(directory / "audit.log")])
    assert not alone.intact


async def test_a_signing_key_that_cannot_be_read_does_not_keep_the_broker_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trail, secrets = made(config(tmp_path)), kept(tmp_path)
    await trail.start()
    (tmp_path / "audit" / "signing.key").touch(0o600)
    async with asyncio.timeout(10):
        await trail.sign(secrets)
        with pytest.raises(KeyFileRefused, match="restore it"):
            await trail.rotate_key(secrets)
    assert "audit checkpoints are not signed" in caplog.text
    assert (tmp_path / "audit" / "signing.key").read_bytes() == b"", "never replaced"
    await trail.close()


async def test_an_output_nobody_knows_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="not known"):
        made(config(tmp_path, {"type": "carrier-pigeon"}))


async def test_a_password_that_cannot_be_read_refuses_the_start(tmp_path: Path) -> None:
    stream = {
        "type": "stream",
        "bootstrap_servers": "h:1",
        "topic": "t",
        "username": "u",
        "password": f"file:{tmp_path}/none",
    }
    with pytest.raises(StartFailed, match="none: No such file"):
        made(config(tmp_path, stream))


async def test_a_failed_login_is_recorded_with_its_reason(tmp_path: Path) -> None:
    trail, sessions = made(config(tmp_path)), Sessions()
    await trail.start()
    trail.follow(sessions)
    sessions.refused(Refusal("7", "10.0.0.9", "main", "PLAIN", "the user 'x' is disabled"))
    await trail.close()
    event = json.loads((tmp_path / "audit" / "audit.log").read_bytes().splitlines()[0])
    assert (event["event_type"], event["result"], event["reason"]) == (
        "authentication",
        "failure",
        "the user 'x' is disabled",
    )
    assert (event["client_ip"], event["resource"], event["principal"]) == ("10.0.0.9", "session:7", None)


async def test_the_newest_events_can_be_searched(tmp_path: Path) -> None:
    from rivven.audit.reading import Wanted

    trail = made(config(tmp_path))
    assert trail.search is None, "not before the start"
    await trail.start()
    for number in range(5):
        trail.trail.event(AuditEvent("authentication", "login", principal=f"user:u{number}"))
    await trail.trail.settled()
    search = trail.search
    assert search is not None
    found = await search(Wanted(principal="user:u[1-3]"), 2)
    assert [event["principal"] for event in found] == ["user:u2", "user:u3"]
    await trail.close()
    await asyncio.sleep(0)
