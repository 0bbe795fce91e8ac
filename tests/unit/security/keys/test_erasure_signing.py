"""Keys that sign erasure certificates: one at a time, and old certificates stay verifiable."""

from __future__ import annotations

import os
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


def test_the_private_half_is_only_where_secrets_are(tmp_path: Path) -> None:
    made = signing(tmp_path).public_keys()
    seed = (tmp_path / "erasure-signing.key").read_bytes()
    assert len(seed) == 32
    assert (tmp_path / "erasure-signing.key").stat().st_mode & 0o777 == 0o600
    for public in (tmp_path / "public").iterdir():
        assert seed not in public.read_bytes()
    assert seed.hex() not in repr(made)
