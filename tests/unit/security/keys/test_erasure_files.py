"""What operations on keys keep in the key store, and what is not taken for it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from rivven.security.keys import erasure_files
from rivven.security.keys.erasure import FormerlyPlain, Step
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.key_file import KeyFileRefused, PrivateFiles
from rivven.security.keys.key_store import open_key_store
from tests.unit.security.keys.erasure_samples import an_erasure

ID = "0a" * 16


@pytest.fixture
def kept(tmp_path: Path) -> ErasureFiles:
    files = PrivateFiles()
    path = str(tmp_path / "keys")
    return ErasureFiles(files, open_key_store(files, path, "cluster-1", may_create=True))


def test_the_running_erasure(kept: ErasureFiles) -> None:
    assert kept.load_erasure() is None
    for step in Step:
        kept.save_erasure(an_erasure().at(step))
        assert kept.load_erasure() == an_erasure().at(step)
    kept.clear_erasure()
    assert kept.load_erasure() is None


def test_certificates(kept: ErasureFiles, tmp_path: Path) -> None:
    assert kept.certificates() == []
    content = b'{"topic":{"name":"orders"},"state":"complete","finished_at":"2026-01-01T00:00:00.000Z"}'
    kept.write_certificate(ID, content)
    (tmp_path / "keys" / "certificates" / "note.json").write_text("{}")
    (tmp_path / "keys" / "certificates" / "note.json").chmod(0o600)
    kept.write_certificate("0b" * 16, b"[" * 100_000)
    [entry] = kept.certificates()
    assert (entry.id, entry.topic, entry.state) == (ID, "orders", "complete")
    assert kept.read_certificate(ID) == content


def test_a_pending_certificate_waits_until_another_names_it(kept: ErasureFiles) -> None:
    fields: dict[str, Any] = {
        "certificate_id": ID,
        "topic": {"name": "orders"},
        "state": "pending",
        "pending_until": "2026-01-08T00:00:00.000Z",
        "finished_at": "2026-01-01T00:00:00.000Z",
        "key_encryption_keys": [{"key_id": "k1", "destroyed": False}],
    }
    kept.write_certificate(ID, json.dumps(fields).encode())
    kept.write_certificate("0b" * 16, json.dumps(fields | {"key_encryption_keys": [{}]}).encode())
    kept.write_certificate("0d" * 16, json.dumps(fields).encode())  # a copy would be completed for ever
    assert kept.pending_certificates() == {ID: fields}
    more = {"state": "complete", "completes": ID, "completed_at": "2026-01-09T00:00:00.000Z"}
    kept.write_certificate("0c" * 16, json.dumps(fields | more).encode())
    assert kept.pending_certificates() == {}
    first, _, second, _ = kept.certificates()
    assert (first.state, first.completed_by) == ("pending", second.id)
    assert (second.state, second.completes, second.finished_at) == ("complete", ID, more["completed_at"])


@pytest.mark.parametrize("name", ["", "../state", "0b" * 16, "0A" * 16, "x/../" + ID])
def test_other_names_are_no_certificates(kept: ErasureFiles, name: str) -> None:
    kept.write_certificate(ID, b"{}")
    assert kept.read_certificate(name) is None


def test_keks_are_remembered_until_they_are_destroyed(
    kept: ErasureFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept.keks() == {}
    kept.remember_keks({"k1": ""})
    assert kept.remember_keks({"k2": "", "p1": "payments"}) == {"k1": "", "k2": "", "p1": "payments"}
    kept.forget_keks({"k1", "other"})
    assert kept.keks() == {"k2": "", "p1": "payments"}
    monkeypatch.setattr(erasure_files, "KEKS_MAX", 2)
    assert kept.remember_keks({"k3": ""}) == {"p1": "payments", "k3": ""}


def test_a_damaged_list_is_refused_by_name(kept: ErasureFiles, tmp_path: Path) -> None:
    kept.remember_keks({"k1": ""})
    path = tmp_path / "keys" / "keks"
    for content in (b"", b"{}", path.read_bytes()[:-1], path.read_bytes()[:-1] + b"x"):
        path.write_bytes(content)
        with pytest.raises(KeyFileRefused, match="keks"):
            kept.keks()


def test_keks_remembered_at_the_same_time_are_all_kept(kept: ErasureFiles) -> None:
    """Lists and rotations remember on threads of their own."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: kept.remember_keks({f"k{number}": ""}), range(64)))
        list(threads.map(lambda number: kept.forget_keks({f"k{number}"}), range(0, 64, 2)))
    assert set(kept.keks()) == {f"k{number}" for number in range(1, 64, 2)}


def test_segments_in_plain_are_remembered_once_and_counted_beyond_the_bound(
    kept: ErasureFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(erasure_files, "FORMERLY_PLAIN_MAX", 3)
    topic, other = UUID(int=1), UUID(int=2)
    segments = [FormerlyPlain(base, base + 10, 100, 7) for base in range(0, 40, 10)]
    assert kept.plain_segments(topic) == {}
    kept.remember_plain(topic, {0: segments[:2], 1: []})
    kept.remember_plain(topic, {0: [replace(one, seen_ms=8) for one in segments[:2]]})
    assert kept.plain_segments(topic) == {0: (tuple(segments[:2]), 0)}
    kept.remember_plain(topic, {0: segments[2:], 1: segments[:1]})
    assert kept.plain_segments(topic) == {0: (tuple(segments[:3]), 1), 1: ((), 1)}
    kept.remember_plain(other, {0: segments[:1]})
    kept.forget_plain({other})
    assert kept.plain_segments(topic) == {} and len(kept.plain_segments(other)) == 1
    (tmp_path / "keys" / "plain" / str(other)).write_bytes(b"")
    with pytest.raises(KeyFileRefused, match=str(other)):
        kept.plain_segments(other)
