"""Segments that an earlier commit wrote in format 1, with known keys: every later version opens them.

`open_by_the_page` knows what docs/formats.md says and nothing of the code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from crc32c import crc32c
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from rivven.config.topic_settings import TopicConfig
from rivven.log.files import Buffer
from rivven.log.sealing import (
    DataKey,
    KeyUnavailable,
    Sealer,
    SegmentHeader,
    frame_intact,
    open_frame,
    parse_frame,
    parse_segment_header,
)
from rivven.records.batch import crc_matches, parse_header
from rivven.testing.files import CrashFiles
from tests.unit.log.harness import ROOT, broker

VECTORS = sorted(Path(__file__).parent.glob("segment-1-*.json"))


def vector(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(path.read_text())
    return fields


def open_by_the_page(segment: bytes, topic_key: bytes) -> list[bytes]:
    """The batches of a sealed segment, with struct, a CRC-32C and two ciphers."""
    magic, version, algorithm, zero, length = struct.unpack_from(">4sBBHI", segment)
    assert (magic, version, zero, length) == (b"RVNS", 1, 0, 128)
    assert struct.unpack_from(">I", segment, 124)[0] == crc32c(segment[:124])
    topic_id, partition, incarnation = struct.unpack_from(">16sI16s", segment, 12)
    binding = struct.pack(">B16sI16s", version, topic_id, partition, incarnation)
    wrapped = segment[64:124]
    data_key = AESGCM(topic_key).decrypt(wrapped[:12], wrapped[12:], binding)
    cipher = {1: AESGCM, 2: ChaCha20Poly1305}[algorithm](data_key)
    batches = []
    position = 128
    while position < len(segment):
        frame_magic, frame_version, _, _, size, crc = struct.unpack_from(">4sBBHII", segment, position)
        frame = segment[position : position + size]
        assert (frame_magic, frame_version, len(frame)) == (b"RVNF", 1, size)
        assert crc == crc32c(frame[:12] + frame[16:])
        clear = frame[16:77]
        associated = binding + struct.pack(">Q", position) + clear
        plain = cipher.decrypt(frame[77:89], frame[89:], associated)
        batches.append(clear[:17] + plain[:4] + clear[21:] + plain[4:])
        position += size
    return batches


class VectorKeys:
    """Implements `SegmentKeys` with the one topic key of a vector."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._id = bytes.fromhex(fields["topic_key_id"])
        self._key = bytes.fromhex(fields["topic_key"])

    async def prepare(self, topics: Mapping[UUID, str | None]) -> None:
        """The key is there."""

    def create(self, topic_id: UUID, partition: int) -> tuple[SegmentHeader, Sealer]:
        raise KeyUnavailable("this key seals nothing new")

    def sealer(self, header: SegmentHeader) -> Sealer:
        assert header.topic_key_id == self._id
        wrapped: Buffer = header.wrapped_key
        key = DataKey(self._key, 1).open(wrapped[:12], wrapped[12:], header.binding)
        return DataKey(key, header.algorithm)

    def only_sealed(self, topic_id: UUID) -> bool:
        return False

    def may_begin_plain(self, topic_id: UUID) -> bool:
        return True

    def newest(self, topic_id: UUID) -> bytes | None:
        return self._id


def test_there_is_one_for_each_algorithm() -> None:
    assert [vector(path)["algorithm"] for path in VECTORS] == ["aes-256-gcm", "chacha20-poly1305"]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_page_alone_opens_it(path: Path) -> None:
    fields = vector(path)
    found = open_by_the_page(bytes.fromhex(fields["segment"]), bytes.fromhex(fields["topic_key"]))
    assert [batch.hex() for batch in found] == fields["batches"]
    for batch in found:
        assert crc_matches(batch, 0, parse_header(batch))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_format_opens_it(path: Path) -> None:
    fields = vector(path)
    segment = memoryview(bytes.fromhex(fields["segment"]))
    header = parse_segment_header(segment)
    assert header is not None
    assert (str(header.topic_id), header.partition) == (fields["topic_id"], fields["partition"])
    assert header.encode() == segment[:128]
    sealer = DataKey(bytes.fromhex(fields["data_key"]), header.algorithm)
    position, found = 128, []
    while position < len(segment):
        size = parse_frame(segment, position)[1]
        frame = segment[position : position + size]
        assert frame_intact(frame)
        found.append(b"".join(open_frame(sealer, header, position, frame)).hex())
        position += size
    assert found == fields["batches"]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_broker_recovers_and_serves_it(path: Path) -> None:
    fields = vector(path)
    topic_id, partition = UUID(fields["topic_id"]), fields["partition"]
    files = CrashFiles()
    for directory in (ROOT, f"{ROOT}/partitions", f"{ROOT}/partitions/{topic_id}-{partition}"):
        files.make_directory(directory)
    name = f"{ROOT}/partitions/{topic_id}-{partition}/{fields['base_offset']:020d}.log"
    files.put(name, bytes.fromhex(fields["segment"]))
    with broker(files, config=TopicConfig(encryption_enabled=True), keys=VectorKeys(fields)) as b:
        log = b.open(partition, topic_id)
        assert (log.log_start_offset, log.log_end_offset) == (0, 4)
        assert [batch.hex() for batch in b.read_all(log)] == fields["batches"]
        producer = log.usable().producers.get(7)
        assert producer is not None and producer.batches[-1].last_sequence == 6
        found = b.run(log.offset_for_timestamp(1_700_000_000_001, 4))
        assert found is not None and found[:2] == (2, 1_700_000_000_001)
