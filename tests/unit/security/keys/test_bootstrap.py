"""The bootstrap file: made once, opened by its cluster's provider alone, never replaced by a guess."""

from __future__ import annotations

import json
import os
import random

import pytest

from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.key_file import KeyFileRefused
from rivven.security.keys.provider import KeyGone, KeyMismatch, KeyProviderError, KeyRefused
from rivven.testing.canary import leaks
from rivven.testing.files import CrashFiles, Fault, PowerCut
from tests.unit.security.keys.scripted_provider import ScriptedProvider

PATH = "/encryption.key"


def loaded(files: CrashFiles, provider: ScriptedProvider, cluster: str = "c") -> MetadataKey:
    return MetadataKey.load_or_create(files, PATH, provider, cluster, os.urandom)


def test_the_same_keys_come_back_and_each_purpose_has_its_own() -> None:
    files, provider = CrashFiles(), ScriptedProvider()
    assert MetadataKey.load(files, PATH, provider, "c") is None
    first = loaded(files, provider)
    second = loaded(files, provider)
    assert first.journal_key() == second.journal_key() != first.secrets_key() == second.secrets_key()
    assert len(first.journal_key()) == len(first.secrets_key()) == 32


def test_derived_keys_are_those_of_earlier_versions() -> None:
    key = MetadataKey(CrashFiles(), PATH, "c", None, bytearray(range(32)))  # type: ignore[arg-type]
    assert key.journal_key().hex() == JOURNAL
    assert key.secrets_key().hex() == SECRETS


JOURNAL = "092534623598e3cbdf1a315d658092e173cd27b060a5c0d219e46bab78973526"
SECRETS = "fe035710abf202a1791e2bb5e733bb8741a4a0f9719f23f1321654dd14d2a2bf"


def test_the_file_is_clear_but_tells_no_key() -> None:
    files, provider, drawn = CrashFiles(), ScriptedProvider(), [b"m" * 31 + b"k"]
    key = MetadataKey.load_or_create(files, PATH, provider, "c", lambda _size: drawn[0])
    content = json.loads(files.content(PATH))
    assert (content["version"], content["provider"], content["cluster"]) == (1, "file", "c")
    assert content["kek"] == key.kek_id == provider.keyring.current_id("")
    secrets = [*drawn, key.journal_key(), key.secrets_key()]
    assert not leaks(secrets, {"file": files.content(PATH), "repr": repr(key)})


def test_a_rewrapped_key_is_the_same_key_under_another_kek() -> None:
    files, provider = CrashFiles(), ScriptedProvider()
    key = loaded(files, provider)
    old = key.kek_id
    assert not key.rewrap(provider)
    made = provider.keyring.rotate("")
    assert key.rewrap(provider) and key.kek_id == made
    provider.keyring.destroy(old)
    assert loaded(files, provider).journal_key() == key.journal_key()


def test_a_provider_that_does_not_have_the_kek_opens_nothing_and_changes_nothing() -> None:
    files = CrashFiles()
    loaded(files, ScriptedProvider())
    before = files.content(PATH)
    with pytest.raises(KeyGone, match="/keyring: has no key k1-"):
        loaded(files, ScriptedProvider())
    assert files.content(PATH) == before


def test_another_cluster_or_another_kind_of_provider_is_refused() -> None:
    files, provider = CrashFiles(), ScriptedProvider()
    loaded(files, provider)
    with pytest.raises(KeyFileRefused, match=r"^/encryption.key: belongs to cluster c, not to d"):
        loaded(files, provider, "d")
    provider.name = "kms"
    with pytest.raises(KeyRefused, match=r"wrapped by the provider file, .*key_source is kms"):
        loaded(files, provider)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"x", "is damaged"),
        (b"[]", "is damaged"),
        (b"{}", "is damaged"),
        (b'{"version": 2}', "format 2, this version reads 1"),
        (b'{"version": 1, "cluster": 3, "provider": "file", "kek": "k", "wrapped": ""}', "is damaged"),
        (b'{"version": 1, "cluster": "c", "provider": "file", "kek": "k", "wrapped": "?"}', "is damaged"),
    ],
)
def test_a_file_that_is_not_as_written_is_refused_by_name_and_left_alone(content: bytes, reason: str) -> None:
    files, provider = CrashFiles(), ScriptedProvider()
    files.put(PATH, content)
    with pytest.raises(KeyFileRefused, match=f"^{PATH}: {reason}"):
        loaded(files, provider)
    assert files.content(PATH) == content


def test_every_flipped_bit_is_noticed() -> None:
    files, provider = CrashFiles(), ScriptedProvider()
    key = loaded(files, provider)
    whole = files.content(PATH)
    noticed = 0
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << (at % 8)
        files.put(PATH, bytes(changed))
        try:
            assert loaded(files, provider).journal_key() == key.journal_key(), (
                "white space, or a letter's case"
            )
        except KeyProviderError:
            noticed += 1
    assert noticed > 0.9 * len(whole)


def test_what_was_unwrapped_must_be_a_metadata_key() -> None:
    files, provider = CrashFiles(), ScriptedProvider()
    MetadataKey.load_or_create(files, PATH, provider, "c", lambda size: bytes(size - 1))
    with pytest.raises(KeyMismatch, match="is no metadata key"):
        loaded(files, provider)


@pytest.mark.parametrize("change", ["create", "rewrap"])
def test_a_power_cut_at_any_step_leaves_a_file_that_opens(change: str) -> None:
    reached = 0
    for step in range(1, 8):
        files, provider = CrashFiles(), ScriptedProvider()
        key = loaded(files, provider) if change == "rewrap" else None
        if key is not None:
            provider.keyring.rotate("")
        files.cut_power_at = files.operations + step
        try:
            key.rewrap(provider) if key is not None else loaded(files, provider)
            continue
        except PowerCut:
            reached += 1
        files.crash(random.Random(step))
        again = loaded(files, provider)
        assert key is None or again.journal_key() == key.journal_key()
    assert reached >= 4, "the power was cut nowhere"


def test_a_rewrap_that_fails_leaves_the_key_as_it_was() -> None:
    files, provider = CrashFiles(), ScriptedProvider()
    key = loaded(files, provider)
    old = key.kek_id
    provider.keyring.rotate("")
    files.faults.append(Fault("write"))
    with pytest.raises(KeyProviderError):
        key.rewrap(provider)
    assert key.kek_id == old
    assert loaded(files, provider).kek_id == old


def test_a_wiped_key_is_zeros() -> None:
    key = loaded(CrashFiles(), ScriptedProvider())
    key.wipe()
    assert key._secret == bytes(32)
