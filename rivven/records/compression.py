"""The four codecs of Kafka record batches, each with a bounded inflate. Bytes in, bytes out.

gzip is the standard library's zlib, the other three are cramjam (docs/adr/0004-records-and-codecs.md),
imported on first use so that a broker that opens no batch never loads it. What is written is what the
oldest Java client reads: snappy in xerial framing, lz4 as frames of independent 64 KiB blocks. What is
read is more: snappy raw or xerial, lz4 frames of any flags, concatenated members and frames.
"""

from __future__ import annotations

import zlib
from struct import Struct
from struct import error as struct_error

from rivven.records.unreadable import CodecUnknown, InflateLimitExceeded, RecordsUnreadable

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)

CODECS = {"uncompressed": NONE, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
"""Names of the topic setting `compression.type` (besides `producer`) to codec numbers in batch attributes."""

INFLATE_BYTES_MAX = 64 * 1024 * 1024
"""Most that one batch may inflate to: 64 times the default max.message.bytes, above the 100:1 that text
logs of 16 KiB client batches reach, and small enough that one worker process opens one at any time."""

GZIP_MEMBERS_MAX = 16
"""Clients write one member; each further one copies the rest of the input, so their number must be
bounded."""

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + b"\x00\x00\x00\x01\x00\x00\x00\x01"
_XERIAL_BLOCK_BYTES = 32 * 1024
_LZ4_HEADER = bytes.fromhex("04224d18604082")
"""Magic, version 1 with independent blocks, 64 KiB blocks, header checksum. Kafka's Java reader refuses
linked blocks."""
_LZ4_END = b"\x00\x00\x00\x00"
_LZ4_BLOCK_BYTES = 64 * 1024
_LZ4_STORED = 0x80000000
_ZSTD_LEVEL = 3
_GZIP_WINDOW_BITS = 31
_OUTPUT_FIRST_BYTES = 64 * 1024
_OUTPUT_GROWTH = 4
_OUTPUT_FULL = "failed to write whole buffer"
"""How cramjam says that the given output buffer is too small; a test holds it to that."""

_int32 = Struct(">i")
_uint32_little = Struct("<I")


def compress(codec: int, data: bytes | bytearray | memoryview, level: int | None = None) -> bytes:
    """Compress a batch body. `level` is honoured by gzip (1-9) and zstd (1-22) and has no meaning
    elsewhere."""
    if codec == NONE:
        return bytes(data)
    if codec == GZIP:
        deflate = zlib.compressobj(
            zlib.Z_DEFAULT_COMPRESSION if level is None else level, zlib.DEFLATED, _GZIP_WINDOW_BITS
        )
        return deflate.compress(data) + deflate.flush()
    if codec == SNAPPY:
        return _compress_snappy(bytes(data))
    if codec == LZ4:
        return _compress_lz4(bytes(data))
    if codec == ZSTD:
        import cramjam

        return bytes(cramjam.zstd.compress(bytes(data), level=_ZSTD_LEVEL if level is None else level))
    raise CodecUnknown(f"compression codec {codec} is not defined")


def decompress(codec: int, data: bytes | bytearray | memoryview, limit: int = INFLATE_BYTES_MAX) -> bytes:
    """Inflate a batch body to at most `limit` bytes.

    Raises InflateLimitExceeded above the limit, CodecUnknown, and RecordsUnreadable for data the codec
    refuses.
    """
    if codec == NONE:
        return bytes(data)
    if codec == GZIP:
        return _inflate_gzip(bytes(data), limit)
    if codec == SNAPPY:
        return _inflate_snappy(bytes(data), limit)
    if codec in (LZ4, ZSTD):
        return _inflate_frames(codec, bytes(data), limit)
    raise CodecUnknown(f"compression codec {codec} is not defined")


def _too_large(limit: int) -> InflateLimitExceeded:
    return InflateLimitExceeded(f"the records inflate to more than {limit} bytes")


def _inflate_gzip(data: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    room = limit
    for _ in range(GZIP_MEMBERS_MAX):
        inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)
        try:
            part = inflate.decompress(data, room + 1)
        except zlib.error as error:
            raise RecordsUnreadable(f"gzip: {error}") from None
        room -= len(part)
        if room < 0:
            raise _too_large(limit)
        if not inflate.eof:
            raise RecordsUnreadable("gzip: the data ends too early")
        parts.append(part)
        data = inflate.unused_data
        if not data:
            return b"".join(parts)
    raise RecordsUnreadable(f"gzip: more than {GZIP_MEMBERS_MAX} members")


def _compress_snappy(data: bytes) -> bytes:
    import cramjam

    out = bytearray(_XERIAL_HEADER)
    for start in range(0, len(data), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(data[start : start + _XERIAL_BLOCK_BYTES]))
        out += _int32.pack(len(block))
        out += block
    return bytes(out)


def _inflate_snappy(data: bytes, limit: int) -> bytes:
    if not data.startswith(_XERIAL_MAGIC):
        return _inflate_snappy_block(data, limit)
    parts: list[bytes] = []
    room = limit
    position = 0
    try:
        while position < len(data):
            if data.startswith(_XERIAL_MAGIC, position):
                position += len(_XERIAL_HEADER)
                continue
            (length,) = _int32.unpack_from(data, position)
            position += _int32.size
            if length < 0 or position + length > len(data):
                raise RecordsUnreadable("snappy: a block does not fit its frame")
            part = _inflate_snappy_block(data[position : position + length], room)
            room -= len(part)
            parts.append(part)
            position += length
    except InflateLimitExceeded:
        raise _too_large(limit) from None
    except struct_error:
        raise RecordsUnreadable("snappy: the data ends too early") from None
    if position != len(data):
        raise RecordsUnreadable("snappy: the data ends too early")
    return b"".join(parts)


def _inflate_snappy_block(data: bytes, limit: int) -> bytes:
    import cramjam

    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if size > limit:
            raise _too_large(limit)
        return bytes(cramjam.snappy.decompress_raw(data, output_len=size))
    except cramjam.DecompressionError as error:
        raise RecordsUnreadable(f"snappy: {error}") from None


def _compress_lz4(data: bytes) -> bytes:
    import cramjam

    out = bytearray(_LZ4_HEADER)
    for start in range(0, len(data), _LZ4_BLOCK_BYTES):
        chunk = data[start : start + _LZ4_BLOCK_BYTES]
        block = bytes(cramjam.lz4.compress_block(chunk, store_size=False))
        if len(block) < len(chunk):
            out += _uint32_little.pack(len(block))
            out += block
        else:
            out += _uint32_little.pack(len(chunk) | _LZ4_STORED)
            out += chunk
    out += _LZ4_END
    return bytes(out)


def _inflate_frames(codec: int, data: bytes, limit: int) -> bytes:
    """lz4 and zstd: the output size is not known, so try growing buffers, the last one of exactly `limit`
    bytes.

    Both decoders add a window of their own (at most 4 MiB and 128 MiB of address space, touched only as
    far as data is decoded), which is why the limit is on the output and not on the address space.
    """
    import cramjam

    inflate_into = cramjam.lz4.decompress_into if codec == LZ4 else cramjam.zstd.decompress_into
    size = min(limit, max(_OUTPUT_FIRST_BYTES, len(data) * _OUTPUT_GROWTH))
    while True:
        out = bytearray(size)
        try:
            used = inflate_into(data, out)
        except cramjam.DecompressionError as error:
            if _OUTPUT_FULL not in str(error):
                raise RecordsUnreadable(f"{'lz4' if codec == LZ4 else 'zstd'}: {error}") from None
        else:
            return bytes(memoryview(out)[:used])
        if size >= limit:
            raise _too_large(limit)
        size = min(limit, size * _OUTPUT_GROWTH)
