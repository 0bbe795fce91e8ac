"""The sealed form of a journal's file (format 2). Pure but for random keys and nonces.

    header, 88 bytes, big endian
      0 "RVNJ" | 4 format version u8 = 2 | 5 algorithm u8 | 6 zero u16 | 8 incarnation 16 |
      24 wrapped file key 60 | 84 CRC-32C u32 of all before

    payload as stored: nonce 12 | sealed payload | tag 16

The wrapped file key is nonce, sealed key and tag under the journal's key, which is made from the cluster's
metadata key; its associated data is format version u8 and incarnation. Associated data of a payload: the same
two, position of the frame u64, durable end u64. So a frame that was moved, or that comes from another file,
is refused. Each file has a key and an incarnation of its own; nonces are random. As with a segment, an older
copy of the whole file, or a file cut short at a frame, is not recognised.
"""

from __future__ import annotations

import os
from struct import Struct

from crc32c import crc32c

from rivven.log.files import Files
from rivven.log.sealing import (
    ALGORITHMS,
    DATA_KEY_BYTES,
    INCARNATION_BYTES,
    NONCE_BYTES,
    SEALS_MAX,
    TAG_BYTES,
    WRAPPED_KEY_BYTES,
    DataKey,
    Sealer,
)
from rivven.machine.journal_frames import MAGIC

SEALED_VERSION = 2
SEALED_HEADER_BYTES = 88
SEALS_KEPT = 1 << 24
"""Seals a key keeps back for appends already taken: twice PENDING_BYTES_MAX of the smallest payloads."""

_header = Struct(">4sBBH16s60s")
_crc = Struct(">I")
_binding = Struct(">B16s")
_place = Struct(">QQ")


class SealedHeaderRefused(ValueError):
    """The header of a sealed journal is damaged, unknown or does not open; the text says which."""


def is_sealed(files: Files, path: str) -> bool:
    """Whether there is a sealed journal; blocks. Raises OSError."""
    if not files.exists(path):
        return False
    head = files.open(path, "read").read(len(MAGIC) + 1, 0)
    return head == MAGIC + bytes((SEALED_VERSION,))


class JournalKey:
    """The key that the keys of a journal's files are wrapped with. Never shown, never compared."""

    __slots__ = ("_algorithm", "_sealer")

    def __init__(self, key: bytes, algorithm: str) -> None:
        self._algorithm = ALGORITHMS[algorithm]
        self._sealer: Sealer = DataKey(key, 1)

    def new_form(self) -> SealedForm:
        """The form of a new file: a key and an incarnation nobody else has."""
        key, incarnation, nonce = (
            os.urandom(size) for size in (DATA_KEY_BYTES, INCARNATION_BYTES, NONCE_BYTES)
        )
        sealed = bytearray(DATA_KEY_BYTES + TAG_BYTES)
        binding = _binding.pack(SEALED_VERSION, incarnation)
        self._sealer.seal(nonce, key, binding, memoryview(sealed))
        wrapped = nonce + bytes(sealed)
        body = _header.pack(MAGIC, SEALED_VERSION, self._algorithm, 0, incarnation, wrapped)
        return SealedForm(body + _crc.pack(crc32c(body)), binding, DataKey(key, self._algorithm))

    def form_of(self, content: bytes) -> SealedForm:
        """The form of a file that begins with `content`. Raises SealedHeaderRefused, FrameRefused."""
        if len(content) < SEALED_HEADER_BYTES:
            raise SealedHeaderRefused("the header is cut short")
        _, version, algorithm, _, incarnation, wrapped = _header.unpack_from(content)
        if crc32c(content[: _header.size]) != _crc.unpack_from(content, _header.size)[0]:
            raise SealedHeaderRefused("the CRC-32C of the header does not match")
        if algorithm not in ALGORITHMS.values():
            raise SealedHeaderRefused(f"sealed with algorithm {algorithm}, which this version does not know")
        binding = _binding.pack(version, incarnation)
        key = self._sealer.open(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:WRAPPED_KEY_BYTES], binding)
        return SealedForm(content[:SEALED_HEADER_BYTES], binding, DataKey(key, algorithm))


class SealedForm:
    """Implements `journal_frames.Form`."""

    __slots__ = ("_binding", "_sealer", "_seals", "header")

    def __init__(self, header: bytes, binding: bytes, sealer: Sealer) -> None:
        self.header = header
        self._binding = binding
        self._sealer = sealer
        self._seals = 0

    @property
    def worn(self) -> bool:
        return self._seals > SEALS_MAX // 2

    @property
    def exhausted(self) -> bool:
        return self._seals > SEALS_MAX - SEALS_KEPT

    def store(self, payload: bytes, position: int, durable_end: int) -> bytes:
        self._seals += 1
        nonce = os.urandom(NONCE_BYTES)
        stored = bytearray(NONCE_BYTES + len(payload) + TAG_BYTES)
        stored[:NONCE_BYTES] = nonce
        place = self._binding + _place.pack(position, durable_end)
        self._sealer.seal(nonce, payload, place, memoryview(stored)[NONCE_BYTES:])
        return bytes(stored)

    def read(self, stored: bytes, position: int, durable_end: int) -> bytes:
        """See `Form.read`. Each frame that is read counts as one more seal of the key."""
        self._seals += 1
        place = self._binding + _place.pack(position, durable_end)
        return self._sealer.open(stored[:NONCE_BYTES], stored[NONCE_BYTES:], place)
