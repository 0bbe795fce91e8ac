"""Keys that sign erasure certificates: one at a time, and old certificates stay verifiable."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rivven.security.keys.erasure_certificate import CertificateRefused, verify
from rivven.security.keys.erasure_signing import ErasureSigning
from rivven.security.keys.key_file import PrivateFiles
from rivven.security.keys.secrets import Secrets
from tests.unit.security.keys.erasure_samples import an_erasure

FINISHED = replace(an_erasure(), finished_ms=1)


def signing(place: Path) -> ErasureSigning:
    return ErasureSigning(Secrets(PrivateFiles(), str(place), os.urandom), os.urandom)


def test_the_key_is_made_once(tmp_path: Path) -> None:
    certificate = signing(tmp_path).certificate(FINISHED)
    [public] = signing(tmp_path).public_keys()
    assert verify(certificate, public.pem.encode()).key_id == public.key_id
    assert signing(tmp_path).certificate(FINISHED) == certificate


def test_a_rotation_keeps_the_old_public_key(tmp_path: Path) -> None:
    before = signing(tmp_path).certificate(FINISHED)
    [old] = signing(tmp_path).public_keys()
    new = signing(tmp_path).rotate()
    assert [(one.key_id, one.current) for one in signing(tmp_path).public_keys()] == [
        (new.key_id, True),
        (old.key_id, False),
    ]
    verify(before, old.pem.encode())
    verify(signing(tmp_path).certificate(FINISHED), new.pem.encode())
    with pytest.raises(CertificateRefused, match="signed with key"):
        verify(before, new.pem.encode())


PENDING = FINISHED.with_destroyed("k1", None).with_destroyed("k2", 1_700_604_900_000)


def test_a_pending_certificate_is_completed_by_one_that_names_it(tmp_path: Path) -> None:
    first = signing(tmp_path).certificate(PENDING)
    old = verify(first, signing(tmp_path).public_keys()[0].pem.encode()).fields
    new = signing(tmp_path).rotate()  # the first one was signed with an older key
    content = signing(tmp_path).completion(first, "22" * 16, 1_700_700_000_000, ["k2"])
    fields = verify(content, new.pem.encode()).fields
    assert (fields["state"], fields["pending_until"]) == ("complete", None)
    assert (fields["certificate_id"], fields["completes"]) == ("22" * 16, old["certificate_id"])
    assert fields["completed_at"] == "2023-11-23T00:40:00.000Z"
    assert [(one["destroyed"], one["destroyed_from"]) for one in fields["key_encryption_keys"]] == [
        (True, None),
        (True, "2023-11-21T22:15:00.000Z"),
    ]
    changed = {"state", "pending_until", "certificate_id", "key_encryption_keys"}
    same = old.keys() - changed
    assert {name: fields[name] for name in same} == {name: old[name] for name in same}
    assert fields.keys() - old.keys() == {"completes", "completed_at"}


def test_only_what_was_signed_here_and_is_pending_is_completed(tmp_path: Path) -> None:
    ours = signing(tmp_path / "ours")
    first = ours.certificate(PENDING)
    forged = first.replace(b'"orders"', b'"others"')
    for content, reason in (
        (forged, "was changed"),
        (signing(tmp_path / "theirs").certificate(PENDING), "not kept here"),
        (ours.certificate(FINISHED), "not pending"),
        (ours.completion(first, "22" * 16, 1, ["k2"]), "not pending"),
        (b"", "not JSON"),
    ):
        with pytest.raises(CertificateRefused, match=reason):
            ours.completion(content, "33" * 16, 2, ["k2"])


def test_one_that_names_a_key_which_is_not_destroyed_is_not_completed(tmp_path: Path) -> None:
    ours = signing(tmp_path)
    first = ours.certificate(PENDING)
    with pytest.raises(CertificateRefused, match="other keys"):
        ours.completion(first, "22" * 16, 1, ["k1", "k3"])


def test_first_uses_at_once_make_one_key(tmp_path: Path) -> None:
    made = signing(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: made.public_keys(), range(8)))
    [kept] = signing(tmp_path).public_keys()
    assert [one for keys in found for one in keys] == [kept] * 8


def test_the_private_half_is_only_where_secrets_are(tmp_path: Path) -> None:
    made = signing(tmp_path).public_keys()
    seed = (tmp_path / "erasure-signing.key").read_bytes()
    assert len(seed) == 32
    assert (tmp_path / "erasure-signing.key").stat().st_mode & 0o777 == 0o600
    for public in (tmp_path / "public").iterdir():
        assert seed not in public.read_bytes()
    assert seed.hex() not in repr(made)
