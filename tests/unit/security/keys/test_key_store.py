"""The key store: one cluster's, one process's, and never an empty one where there was another."""

from __future__ import annotations

import random
from uuid import UUID, uuid4

import pytest

from rivven.log.framed_file import encode
from rivven.security.keys.key_file import KeyFileRefused
from rivven.security.keys.key_store import (
    FORMER_NAMES_MAX,
    KEYS_MAX,
    STATE_MAGIC,
    TOPIC_MAGIC,
    KeyStore,
    StoredTopic,
    open_key_store,
)
from rivven.security.keys.provider import (
    BLOB_BYTES_MAX,
    KEY_ID_CHARACTERS_MAX,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)
from rivven.testing.files import CrashFiles, Fault, PowerCut

TOPIC = UUID("11111111-2222-4333-8444-555555555555")
STORED = StoredTopic(TOPIC, "payroll", (b"a" * 16, b"b" * 16), (1, 2), WrappedKey("file", "k1", b"x"), True)


def opened(files: CrashFiles, cluster: str = "c") -> KeyStore:
    return open_key_store(files, "/keys", cluster, may_create=True)


def test_topics_come_back_as_they_were_stored() -> None:
    files = CrashFiles()
    store, other = opened(files), uuid4()
    store.write_topic(STORED)
    plain = StoredTopic(other, "", (b"c" * 16,), (3,), WrappedKey("kms", "arn:aws:kms:x", bytes(range(256))))
    store.write_topic(plain)
    store.close()
    found, refused = opened(files).topics()
    assert found == {TOPIC: STORED, other: plain} and not refused


def test_the_largest_file_of_topic_keys_can_be_read_again() -> None:
    names = tuple(f"{number:02}".ljust(KEY_ID_CHARACTERS_MAX, "n") for number in range(FORMER_NAMES_MAX))
    wrapped = WrappedKey("kms", "k" * KEY_ID_CHARACTERS_MAX, bytes(BLOB_BYTES_MAX))
    ids = tuple(bytes([number]) * 16 for number in range(KEYS_MAX))
    largest = StoredTopic(TOPIC, names[0], ids, (2**62,) * KEYS_MAX, wrapped, True, names, True)
    store = opened(CrashFiles())
    store.write_topic(largest)
    assert store.read_topic(TOPIC) == largest


def test_a_removed_topic_is_gone_with_its_temporary_file() -> None:
    files = CrashFiles()
    store = opened(files)
    store.write_topic(STORED)
    files.put(f"/keys/topics/{TOPIC}.keys.tmp", b"half")
    store.remove_topic(TOPIC)
    store.remove_topic(TOPIC)
    assert files.list("/keys/topics") == []


def test_a_file_that_is_not_ours_is_left_alone() -> None:
    files = CrashFiles()
    store = opened(files)
    for name in ("README", "x.keys", f"{TOPIC}.keys~"):
        files.put(f"/keys/topics/{name}", b"mine")
    assert store.topics() == ({}, {})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RVKT",
        encode(b"RVKR", 1, b"{}"),
        encode(TOPIC_MAGIC, 0, b"{}"),
        encode(TOPIC_MAGIC, 2, b"{}"),
        encode(TOPIC_MAGIC, 1, b"{}"),
        encode(TOPIC_MAGIC, 1, b"[1]"),
        encode(TOPIC_MAGIC, 1, b"\xff"),
    ],
)
def test_a_damaged_topic_is_refused_by_name_beside_whole_ones(content: bytes) -> None:
    files = CrashFiles()
    store, other = opened(files), uuid4()
    store.write_topic(STORED)
    path = f"/keys/topics/{other}.keys"
    files.put(path, content)
    found, refused = store.topics()
    assert list(found) == [TOPIC] and list(refused) == [other]
    assert refused[other].startswith(path)


def test_a_topic_s_file_under_another_topic_s_name_is_refused() -> None:
    files = CrashFiles()
    store, other = opened(files), uuid4()
    store.write_topic(STORED)
    files.put(f"/keys/topics/{other}.keys", files.content(f"/keys/topics/{TOPIC}.keys"))
    assert f"holds the keys of {TOPIC}" in store.topics()[1][other]


def test_wrapped_keys_larger_than_any_provider_makes_are_refused() -> None:
    store = opened(CrashFiles())
    store.write_topic(
        StoredTopic(TOPIC, "", (bytes(16),), (1,), WrappedKey("file", "k", bytes(BLOB_BYTES_MAX + 1)))
    )
    assert list(store.topics()[1]) == [TOPIC]


def test_a_store_that_must_be_there_is_not_made() -> None:
    files = CrashFiles()
    with pytest.raises(KeyRefused, match=r"/keys: there is no key store; mount it"):
        open_key_store(files, "/keys", "c", may_create=False)
    assert not files.exists("/keys")
    opened(files).close()
    open_key_store(files, "/keys", "c", may_create=False).close()


def test_a_store_belongs_to_one_cluster_and_one_process() -> None:
    files = CrashFiles()
    store = opened(files)
    with pytest.raises(KeyRefused, match="in use by another process"):
        opened(files)
    store.close()
    with pytest.raises(KeyRefused, match="is the key store of cluster c, not of d"):
        opened(files, "d")
    opened(files)  # what was refused holds no lock


@pytest.mark.parametrize("content", [b"", b"x", encode(STATE_MAGIC, 1, b"{"), encode(STATE_MAGIC, 3, b"{}")])
def test_a_damaged_state_is_refused_by_name_and_never_replaced(content: bytes) -> None:
    files = CrashFiles()
    opened(files).close()
    files.put("/keys/state", content)
    with pytest.raises(KeyFileRefused, match=r"^/keys/state"):
        opened(files)
    assert files.content("/keys/state") == content


def test_an_operation_is_remembered_until_it_ends() -> None:
    files = CrashFiles()
    store = opened(files)
    assert store.operation() is None
    store.set_operation({"shred": "t", "step": 3})
    store.close()
    store = opened(files)
    assert store.operation() == {"shred": "t", "step": 3}
    store.set_operation(None)
    assert store.operation() is None
    files.remove("/keys/state")
    with pytest.raises(ProviderUnavailable, match="is gone"):
        store.operation()


def test_a_disk_that_fails_is_no_refusal() -> None:
    files = CrashFiles()
    store = opened(files)
    store.write_topic(STORED)
    files.faults.append(Fault("read", path="topics"))
    assert "error" in store.topics()[1][TOPIC].lower()
    for operation in ("write", "sync", "rename"):
        files.faults.append(Fault(operation))
        with pytest.raises(ProviderUnavailable):
            store.write_topic(STORED)


def test_a_power_cut_at_any_step_of_making_a_store_leaves_one_that_can_be_made() -> None:
    reached = 0
    for step in range(1, 20):
        files = CrashFiles()
        files.cut_power_at = step
        try:
            opened(files)
            continue
        except PowerCut:
            reached += 1
        files.crash(random.Random(step))
        store = opened(files)
        store.write_topic(STORED)
        assert store.topics()[0] == {TOPIC: STORED}
    assert reached >= 8, "the power was cut nowhere"
