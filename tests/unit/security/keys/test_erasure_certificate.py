"""Erasure certificates: what they say, who can check them, and that no changed one passes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rivven.security.keys.erasure import Erasure
from rivven.security.keys.erasure_certificate import (
    CertificateRefused,
    canonical,
    certificate_of,
    key_id_of,
    verify,
)
from tests.unit.security.keys.erasure_samples import an_erasure

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
KEY_ID = key_id_of(KEY.public_key().public_bytes_raw())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def finished(erasure: Erasure) -> Erasure:
    for kek in erasure.old_keks:
        erasure = erasure.with_destroyed(kek.key_id, kek.until_ms)
    return replace(erasure, finished_ms=1_700_000_100_000)


def a_certificate(erasure: Erasure | None = None) -> bytes:
    return certificate_of(finished(erasure or an_erasure()), KEY_ID, KEY.sign)


def test_a_certificate_says_what_was_erased() -> None:
    fields = verify(a_certificate(), PUBLIC).fields
    assert fields["topic"] == {"name": "orders", "topic_id": "00000000-0000-0000-0000-000000000007"}
    assert (fields["state"], fields["pending_until"]) == ("complete", None)
    assert fields["requested_by"] == "user:alice"
    assert fields["finished_at"] == "2023-11-14T22:15:00.000Z"
    assert fields["topic_keys"] == ["aa", "bb"]
    assert [one["key_id"] for one in fields["key_encryption_keys"]] == ["k1", "k2"]
    assert fields["partitions"][0]["segments"][1] == {
        "base_offset": 10,
        "end_offset": 12,
        "stored_bytes": 90,
        "topic_key_id": "bb",
    }
    assert fields["segments_listed"] is True
    told = " ".join(fields["does_not_cover"])
    for limit in ("key store", "consumers", "swap", "other topics"):
        assert limit in told
    assert "unencrypted" not in told


def test_plaintext_history_is_named_first() -> None:
    fields = verify(a_certificate(an_erasure(plaintext=True)), PUBLIC).fields
    assert fields["plaintext_history"] is True
    assert "unencrypted" in fields["does_not_cover"][0]


def test_it_is_pending_until_the_provider_has_destroyed_the_last_key() -> None:
    erasure = finished(an_erasure("k1", "k2")).with_destroyed("k2", 1_700_604_900_000)
    fields = verify(certificate_of(erasure, KEY_ID, KEY.sign), PUBLIC).fields
    assert (fields["state"], fields["pending_until"]) == ("pending", "2023-11-21T22:15:00.000Z")
    assert [one["destroyed"] for one in fields["key_encryption_keys"]] == [True, False]


def test_the_page_of_formats_names_every_field() -> None:
    page = (Path(__file__).parents[4] / "docs" / "formats.md").read_text()
    section = page.partition("## Erasure certificates")[2].partition("\n## ")[0]
    fields = json.loads(a_certificate())
    names = {str(name) for path in changes(fields) for name in path if not isinstance(name, int)}
    assert names <= set(re.findall(r'"([a-z_]+)":', section))
    assert "jq -acSj 'del(.signature)'" in section


def test_the_same_erasure_gives_the_same_bytes() -> None:
    assert a_certificate() == a_certificate()


def changes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [one for name in value for one in changes(value[name], (*path, name))]
    if isinstance(value, list):
        return [one for number in range(len(value)) for one in changes(value[number], (*path, number))]
    return [path]


def test_every_changed_value_is_found() -> None:
    fields = json.loads(a_certificate())
    paths = changes(fields)
    assert len(paths) > 40
    for path in paths:
        changed = json.loads(json.dumps(fields))
        place = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = "other" if not isinstance(place[path[-1]], bool) else not place[path[-1]]
        if path == ("signature", "key_id"):
            continue  # only a hint which public key to fetch
        with pytest.raises(CertificateRefused):
            verify(json.dumps(changed).encode(), PUBLIC)


def test_removed_and_added_fields_are_found() -> None:
    fields = json.loads(a_certificate())
    for name in fields:
        with pytest.raises(CertificateRefused):
            verify(json.dumps({key: fields[key] for key in fields if key != name}).encode(), PUBLIC)
    with pytest.raises(CertificateRefused, match="was changed"):
        verify(json.dumps({**fields, "note": "complete, really"}).encode(), PUBLIC)


def test_a_name_given_twice_is_refused() -> None:
    content = a_certificate().replace(b'"state":', b'"state": "complete", "state":')
    with pytest.raises(CertificateRefused, match="twice"):
        verify(content, PUBLIC)


def test_another_key_is_named() -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(CertificateRefused, match=f"signed with key {KEY_ID}"):
        verify(a_certificate(), pem)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"[]", b"null", b"{}", b'{"format":"other"}', b"\xff\xfe"]
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(CertificateRefused):
        verify(content, PUBLIC)


def test_other_public_keys_are_refused() -> None:
    pem = generate_private_key(SECP256R1()).public_key()
    for wrong in (b"", b"key", pem.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        with pytest.raises(CertificateRefused, match="public key"):
            verify(a_certificate(), wrong)


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("openssl")), reason="needs jq and openssl")
def test_anybody_can_check_one_with_jq_and_openssl(tmp_path: Path) -> None:
    erasure = replace(an_erasure(), topic="bestellungen-ü\u2028")
    (tmp_path / "certificate.json").write_bytes(a_certificate(erasure))
    (tmp_path / "public.pem").write_bytes(PUBLIC)
    signed = subprocess.run(
        ["jq", "-acSj", "del(.signature)", "certificate.json"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    fields = json.loads(a_certificate(erasure))
    signature = fields.pop("signature")
    assert signed == canonical(fields)
    (tmp_path / "signed").write_bytes(signed)
    (tmp_path / "signature").write_bytes(b64decode(signature["value"]))
    command = "openssl pkeyutl -verify -rawin -pubin -inkey public.pem -in signed -sigfile signature"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
