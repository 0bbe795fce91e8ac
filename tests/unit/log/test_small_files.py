"""Framed files and the checkpoint."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from rivven.log.checkpoint import CheckpointEntry, CheckpointTable, load_table
from rivven.log.framed_file import FormatTooNew, FramedFileDamaged, decode, encode, read, replace
from rivven.testing.files import CrashFiles

ENTRY = CheckpointEntry(1, 2, 3, 4, 5, -1)
KEY = (UUID(int=258), 7)


def test_a_framed_file_is_read_back_with_its_flags() -> None:
    assert decode("f", encode(b"ABCD", 2, b"payload", flags=1), b"ABCD", 2) == (1, b"payload")


def test_every_flipped_bit_is_noticed() -> None:
    content = encode(b"ABCD", 1, b"payload")
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            with pytest.raises(FramedFileDamaged, match="f: "):
                decode("f", bytes(damaged), b"ABCD", 1)


def test_every_cut_is_noticed() -> None:
    content = encode(b"ABCD", 1, b"payload")
    for length in range(len(content)):
        with pytest.raises(FramedFileDamaged):
            decode("f", content[:length], b"ABCD", 1)
    with pytest.raises(FramedFileDamaged):
        decode("f", content + b"x", b"ABCD", 1)


def test_a_newer_version_is_refused_as_such_and_an_older_one_is_read() -> None:
    with pytest.raises(FormatTooNew, match="newer"):
        decode("f", encode(b"ABCD", 3, b""), b"ABCD", 2)
    assert decode("f", encode(b"ABCD", 1, b"old"), b"ABCD", 2) == (0, b"old")


def test_replacing_is_durable() -> None:
    files = CrashFiles()
    files.make_directory("/d")
    files.sync_directory("/")
    for content in (b"one", b"two"):
        replace(files, "/d/f", encode(b"ABCD", 1, content))
    for seed in range(20):
        files.crash(random.Random(seed))
        assert read(files, "/d/f", b"ABCD", 1) == (0, b"two")


def test_a_missing_file_is_none() -> None:
    assert read(CrashFiles(), "/none", b"ABCD", 1) is None


def test_the_checkpoint_format_is_stable() -> None:
    table = CheckpointTable()
    table.put(KEY, ENTRY)
    image = table.image(clean=True)
    assert image[:-4].hex() == (
        "52564350" "0001" "0001" "00000040"
        "00000000000000000000000000000102" "00000007"
        "00000001" "0000000000000002" "0000000000000003" "0000000000000004" "0000000000000005"
        "ffffffffffffffff"
    )  # fmt: skip
    flags, payload = decode("f", image, b"RVCP", 1)
    assert flags == 1
    assert load_table("f", payload).get(KEY) == ENTRY


def test_slots_are_reused_and_free_ones_not_read() -> None:
    table = CheckpointTable()
    keys = [(UUID(int=number), 0) for number in range(1, 4)]
    for key in keys:
        table.put(key, ENTRY)
    size = len(table.image(clean=False))
    table.remove(keys[1])
    assert len(load_table("f", decode("f", table.image(clean=False), b"RVCP", 1)[1])) == 2
    table.put(KEY, ENTRY)
    table.put(KEY, ENTRY._replace(recovery_point=9))
    assert len(table.image(clean=False)) == size
    entry = table.get(KEY)
    assert entry is not None and entry.recovery_point == 9
    assert table.get(keys[1]) is None


def test_contradicting_entries_are_refused() -> None:
    table = CheckpointTable()
    table.put(KEY, ENTRY)
    payload = decode("f", table.image(clean=False), b"RVCP", 1)[1]
    with pytest.raises(FramedFileDamaged, match="two entries"):
        load_table("f", payload * 2)
    with pytest.raises(FramedFileDamaged, match="cut"):
        load_table("f", payload[:-1])
