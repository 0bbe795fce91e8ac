"""Sealed segments: their header, their frames, and the seam to the keys. Pure but for random nonces.

A sealed segment is a header and one frame for each batch. What recovery, indexes and retention need stays
readable without a key; the records and the batch's CRC do not. A frame is written once and never patched.

    segment header, 128 bytes, big endian
      0 "RVNS" | 4 format version u8 | 5 algorithm u8 | 6 zero u16 | 8 header length u32 | 12 topic id 16 |
      28 partition u32 | 32 incarnation 16 | 48 topic key id 16 | 64 wrapped data key 60 | 124 CRC-32C u32

    frame, 48 bytes longer than its batch
      0 "RVNF" | 4 format version u8 | 5 zero u8 | 6 zero u16 | 8 frame length u32 | 12 CRC-32C u32 |
      16 batch header 61, CRC field zero | 77 nonce 12 | 89 sealed: batch CRC u32, records | tag 16

The CRC-32C of a frame covers all of it but the CRC itself, as it is stored. Associated data of a frame:
format version u8, topic id, partition u32, incarnation, position u64, clear batch header. The wrapped data
key is nonce 12, sealed key 32, tag 16 under the topic key; its associated data is the first four of those.
Nonces are 96 random bits: they never depend on an offset, which a truncated log uses again (SP 800-38D 8.3).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple, Protocol
from uuid import UUID

from crc32c import crc32c

from rivven.errors import StorageFailed
from rivven.log.files import Buffer
from rivven.records.batch import HEADER_BYTES, BatchHeader, CorruptBatch, parse_header

FORMAT_VERSION = 1
SEGMENT_MAGIC = b"RVNS"
FRAME_MAGIC = b"RVNF"
SEGMENT_HEADER_BYTES = 128
FRAME_OVERHEAD_BYTES = 48
"""What sealing adds to a batch: positions of the following frames are known before anything is sealed."""
NONCE_BYTES = 12
TAG_BYTES = 16
DATA_KEY_BYTES = 32
WRAPPED_KEY_BYTES = NONCE_BYTES + DATA_KEY_BYTES + TAG_BYTES
INCARNATION_BYTES = 16
KEY_ID_BYTES = 16
SEALS_MAX = 2**32
"""Random nonces one key may be used with (NIST SP 800-38D 8.3)."""

ALGORITHMS = {"aes-256-gcm": 1, "chacha20-poly1305": 2}
"""Name in the configuration to number in the segment header."""

_segment = Struct(">4sBBHI16sI16s16s60s")
_frame = Struct(">4sBBHII")
_crc = Struct(">I")
_binding = Struct(">B16sI16s")
_position = Struct(">Q")
_FRAME_HEADER_BYTES = _frame.size
_CRC_AT, _RECORDS_AT = 17, HEADER_BYTES
"""In a batch: its CRC, its records. The four bytes in front of the records are the record count."""
_FRAME_CRC_AT = 12
_NONCE_AT = _FRAME_HEADER_BYTES + HEADER_BYTES
_SEALED_AT = _NONCE_AT + NONCE_BYTES
FRAME_CLEAR_BYTES = _NONCE_AT
"""What of a frame can be parsed without its records: frame header and batch header."""


class KeyUnavailable(StorageFailed):
    """The key of sealed bytes cannot be had now: provider out of reach, refusal, unknown key."""


class FrameRefused(StorageFailed):
    """A frame is whole but does not open: another key, another place, or changed on purpose."""


class Sealer(Protocol):
    """One key in memory (AEAD). Safe to use from several threads."""

    def seal(self, nonce: bytes, plain: Buffer, associated: bytes, into: memoryview) -> None:
        """Write ciphertext and tag into `into`, which is TAG_BYTES longer than `plain`."""
        ...

    def open(self, nonce: Buffer, sealed: Buffer, associated: bytes) -> bytes:
        """The plain bytes. Raises FrameRefused when the tag does not fit."""
        ...


class SegmentHeader(NamedTuple):
    """What the first bytes of a sealed segment say."""

    algorithm: int
    topic_id: UUID
    partition: int
    incarnation: bytes
    """16 random bytes: this file, and no other one of the same name."""
    topic_key_id: bytes
    wrapped_key: bytes

    @property
    def binding(self) -> bytes:
        """Associated data of the wrapped data key, and the beginning of that of every frame."""
        return _binding.pack(FORMAT_VERSION, self.topic_id.bytes, self.partition, self.incarnation)

    def encode(self) -> bytes:
        """The bytes at the beginning of the segment's file."""
        body = _segment.pack(
            SEGMENT_MAGIC,
            FORMAT_VERSION,
            self.algorithm,
            0,
            SEGMENT_HEADER_BYTES,
            self.topic_id.bytes,
            self.partition,
            self.incarnation,
            self.topic_key_id,
            self.wrapped_key,
        )
        return body + _crc.pack(crc32c(body))


class Seal(NamedTuple):
    """What the frames of one segment are sealed and opened with."""

    header: SegmentHeader
    sealer: Sealer


class SealedMarks(Protocol):
    """What is kept, away from the data, of which topics have sealed segments only. Any thread may ask."""

    def only_sealed(self, topic_id: UUID) -> bool:
        """Whether the topic has no plain segment: one that is found was put there by somebody."""
        ...

    def may_begin_plain(self, topic_id: UUID) -> bool:
        """Whether a plain segment of it may be begun: there is no mark, and none is being made."""
        ...


class SegmentKeys(SealedMarks, Protocol):
    """Where a log directory gets the keys of its segments. All but `prepare` never wait for a provider and
    may be called from any thread."""

    async def prepare(self, topics: Mapping[UUID, str | None]) -> None:
        """Have the keys of these topics at hand; called before their partitions are opened or reconfigured.

        The value is the topic's `encryption.key` ("" for the default), for which a topic key is made if there
        is none; None for a topic that seals nothing new: its mark goes. Never raises for a key: `create` and
        `sealer` do, until a retry in the background has got it.
        """
        ...

    def create(self, topic_id: UUID, partition: int) -> tuple[SegmentHeader, Sealer]:
        """Header and sealer of a new segment, under the topic's newest key. Raises KeyUnavailable."""
        ...

    def sealer(self, header: SegmentHeader) -> Sealer:
        """The sealer of an existing segment. Raises KeyUnavailable, FrameRefused when the data key in the
        header does not open."""
        ...

    def newest(self, topic_id: UUID) -> bytes | None:
        """Id of the topic key that `create` uses, None when there is none at hand."""
        ...


class SealedTooNew(CorruptBatch):
    """A whole header that this version does not understand: nothing a crash leaves."""


def parse_segment_header(content: Buffer) -> SegmentHeader | None:
    """The header of a sealed segment; None when the file begins like a plain one.

    Raises CorruptBatch, and SealedTooNew for a version or algorithm that is not known here.
    """
    if bytes(content[:4]) != SEGMENT_MAGIC:
        return None
    if len(content) < SEGMENT_HEADER_BYTES:
        raise CorruptBatch("the header of a sealed segment is cut short")
    _, version, algorithm, _, length, topic_id, partition, incarnation, key_id, wrapped = (
        _segment.unpack_from(content)
    )
    if _crc.unpack_from(content, _segment.size)[0] != crc32c(bytes(content[: _segment.size])):
        raise CorruptBatch("the CRC-32C of the segment's header does not match")
    if version != FORMAT_VERSION or length != SEGMENT_HEADER_BYTES:
        raise SealedTooNew(f"sealed in format {version}, this version reads {FORMAT_VERSION}")
    if algorithm not in ALGORITHMS.values():
        raise SealedTooNew(f"sealed with algorithm {algorithm}, which this version does not know")
    return SegmentHeader(algorithm, UUID(bytes=topic_id), partition, incarnation, key_id, wrapped)


def seal_batch(sealer: Sealer, header: SegmentHeader, position: int, batch: memoryview) -> bytearray:
    """The frame of a batch whose offsets, epoch and timestamps are final, for a position of the segment."""
    frame = bytearray(len(batch) + FRAME_OVERHEAD_BYTES)
    seal_into(sealer, header, position, batch, memoryview(frame), *new_nonces(1))
    return frame


def new_nonces(count: int) -> list[bytes]:
    """Random nonces, each for one seal (SP 800-38D 8.2.2). One system call for all: every call lets another
    thread run, and waits for it."""
    found = os.urandom(NONCE_BYTES * count)
    return [found[at : at + NONCE_BYTES] for at in range(0, len(found), NONCE_BYTES)]


def seal_into(
    sealer: Sealer, header: SegmentHeader, position: int, batch: memoryview, frame: memoryview, nonce: bytes
) -> list[Buffer]:
    """Like `seal_batch`, into memory of exactly the frame's size, with one of `new_nonces`.

    Returns the batch as buffers of their own (header, records): sealing has to copy it anyway.
    """
    frame[_FRAME_HEADER_BYTES:_NONCE_AT] = batch[:HEADER_BYTES]
    crc_at = _FRAME_HEADER_BYTES + _CRC_AT
    frame[crc_at : crc_at + 4] = bytes(4)
    frame[_NONCE_AT:_SEALED_AT] = nonce
    clear = bytes(frame[_FRAME_HEADER_BYTES:_NONCE_AT])
    plain = _joined(batch)
    sealer.seal(nonce, plain, _associated(header, position, clear), frame[_SEALED_AT:])
    _frame.pack_into(frame, 0, FRAME_MAGIC, FORMAT_VERSION, 0, 0, len(frame), 0)
    _crc.pack_into(frame, _FRAME_CRC_AT, _frame_crc(frame))
    return [bytes(batch[:HEADER_BYTES]), memoryview(plain)[4:]]


def _joined(batch: memoryview) -> bytes:
    return b"".join((batch[_CRC_AT : _CRC_AT + 4], batch[_RECORDS_AT:]))


def parse_frame(content: Buffer, at: int) -> tuple[BatchHeader, int]:
    """(header of the batch, with CRC 0; bytes of the frame). Raises CorruptBatch; needs FRAME_CLEAR_BYTES."""
    if len(content) - at < FRAME_CLEAR_BYTES:
        raise CorruptBatch("a frame is cut short")
    magic, version, _, _, size, _ = _frame.unpack_from(content, at)
    if magic != FRAME_MAGIC:
        raise CorruptBatch("no frame begins here")
    if version != FORMAT_VERSION:
        raise CorruptBatch(f"a frame of format {version}, this version reads {FORMAT_VERSION}")
    header = parse_header(content, at + _FRAME_HEADER_BYTES)
    if header.size_bytes + FRAME_OVERHEAD_BYTES != size:
        raise CorruptBatch(f"a frame of {size} bytes holds a batch of {header.size_bytes}")
    return header, size


def frame_intact(frame: memoryview) -> bool:
    """Whether the CRC-32C of a whole frame matches."""
    found: int = _crc.unpack_from(frame, _FRAME_CRC_AT)[0]
    return found == _frame_crc(frame)


def open_frame(sealer: Sealer, header: SegmentHeader, position: int, frame: memoryview) -> list[Buffer]:
    """The batch of a whole frame as two buffers: its header, its records. Raises FrameRefused."""
    clear = bytes(frame[_FRAME_HEADER_BYTES:_NONCE_AT])
    associated = _associated(header, position, clear)
    plain = memoryview(sealer.open(frame[_NONCE_AT:_SEALED_AT], frame[_SEALED_AT:], associated))
    head = bytearray(clear)
    head[_CRC_AT : _CRC_AT + 4] = plain[:4]
    return [head, plain[4:]]


def _associated(header: SegmentHeader, position: int, clear: bytes) -> bytes:
    return b"".join((header.binding, _position.pack(position), clear))


def _frame_crc(frame: memoryview) -> int:
    # Without letting another thread run meanwhile: taking turns costs more than a megabyte's CRC (50 us).
    return crc32c(frame[_FRAME_HEADER_BYTES:], crc32c(frame[:_FRAME_CRC_AT]), gil_release_mode=0)


class _Aead(Protocol):
    def encrypt_into(self, nonce: bytes, data: Buffer, associated_data: bytes, buf: memoryview) -> int: ...
    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: bytes) -> bytes: ...


class DataKey:
    """A `Sealer` over a data key in memory. Never shown, never compared."""

    __slots__ = ("_aead", "_refused")

    def __init__(self, key: bytes, algorithm: int) -> None:
        # Imported late: a broker that seals nothing does not pay for it at start-up.
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

        self._aead: _Aead = AESGCM(key) if algorithm == 1 else ChaCha20Poly1305(key)
        self._refused = InvalidTag

    def seal(self, nonce: bytes, plain: Buffer, associated: bytes, into: memoryview) -> None:
        self._aead.encrypt_into(nonce, plain, associated, into)

    def open(self, nonce: Buffer, sealed: Buffer, associated: bytes) -> bytes:
        try:
            return self._aead.decrypt(nonce, sealed, associated)
        except self._refused:
            raise FrameRefused("sealed bytes do not open with this key at this place") from None
