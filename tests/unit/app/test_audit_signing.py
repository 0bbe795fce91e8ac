"""The audit signing key of a broker that does not encrypt: listed, rotated, and old public keys kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rivven.app.audit_signing import AuditSigning
from rivven.audit.signing import public_keys
from rivven.audit.verify import Verifier
from rivven.errors import StorageFailed
from rivven.log.files import OsFiles
from rivven.security.keys.secrets import AUDIT_SIGNING
from tests.unit.app.test_auditing import config, kept, made


async def test_every_key_that_signed_stays_listed_and_the_trail_intact(tmp_path: Path) -> None:
    trail, secrets = made(config(tmp_path)), kept(tmp_path)
    await trail.start()
    trail.ready({})
    await trail.sign(secrets)
    signing = AuditSigning(trail, secrets)
    [first] = await signing.public_keys()
    second, third = await asyncio.gather(signing.rotate(), signing.rotate())
    shown = await signing.public_keys()
    assert shown[0] == third and {one.key_id for one in shown[1:]} == {first.key_id, second.key_id}
    assert [one.current for one in shown] == [True, False, False]
    assert AuditSigning(made(config(tmp_path)), secrets)._public_keys() == shown, "a restart changes nothing"
    await trail.close()
    directory = tmp_path / "audit"
    assert (directory / "signing.key").stat().st_mode & 0o777 == 0o600
    every = (directory / "signing.pub").read_bytes()
    assert [pem.decode() for pem in public_keys(every)] == [first.pem, second.pem, third.pem]
    report = Verifier(OsFiles(), every).verify([str(directory / "audit.log")])
    assert report.intact and report.checkpoints >= 2, report.findings
    assert not Verifier(OsFiles(), first.pem.encode()).verify([str(directory / "audit.log")]).intact


async def test_the_first_key_is_made_once_however_many_ask(tmp_path: Path) -> None:
    signing = AuditSigning(made(config(tmp_path)), kept(tmp_path))
    found = await asyncio.gather(*(signing.public_keys() for _ in range(4)))
    assert len({one.key_id for [one] in found}) == 1


@pytest.mark.parametrize("content", [b"", b"no key"], ids=["empty", "text"])
async def test_a_key_that_cannot_be_read_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    secrets = kept(tmp_path)
    secrets.rotate(AUDIT_SIGNING, lambda: content)
    signing = AuditSigning(made(config(tmp_path)), secrets)
    async with asyncio.timeout(10):
        for call in (signing.public_keys, signing.rotate):
            with pytest.raises(StorageFailed, match="restore it from a backup"):
                await call()
    assert (tmp_path / "audit" / "signing.key").read_bytes() == content


async def test_a_disk_that_takes_no_new_key_leaves_the_old_one(tmp_path: Path) -> None:
    trail, secrets = made(config(tmp_path)), kept(tmp_path)
    signing = AuditSigning(trail, secrets)
    [before] = await signing.public_keys()
    (tmp_path / "audit" / "signing.pub").mkdir()
    with pytest.raises(StorageFailed, match="the audit key is not rotated"):
        await signing.rotate()
    assert (await signing.public_keys())[0] == before
