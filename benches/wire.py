"""One Produce request after another over a plain socket: what the broker needs, without a client's threads.

Pure encoding plus a blocking socket. Produce version 7 and the record batch format are Kafka's.
"""

from __future__ import annotations

import socket
import struct
import time

from crc32c import crc32c

PRODUCE_VERSION = 7
ANSWER_SECONDS_MAX = 30.0
_HEAD = struct.Struct(">hhih")
_BATCH_AFTER_CRC = struct.Struct(">hiqqqhii")


def _varint(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def record_batch(payload: bytes, now_ms: int) -> bytes:
    """A batch of one record without key and headers."""
    body = b"\0" + _varint(0) + _varint(0) + _varint(-1) + _varint(len(payload)) + payload + _varint(0)
    record = _varint(len(body)) + body
    covered = _BATCH_AFTER_CRC.pack(0, 0, now_ms, now_ms, -1, -1, -1, 1) + record
    head = struct.pack(">ibI", 0, 2, crc32c(covered))  # leader epoch, magic, CRC
    return struct.pack(">qi", 0, len(head) + len(covered)) + head + covered


def produce_request(topic: str, partitions: int, payload: bytes, acks: int = -1) -> bytes:
    """A framed request with one record for each of the first `partitions` partitions."""
    batch = record_batch(payload, int(time.time() * 1000))
    body = struct.pack(">hhii", -1, acks, 30_000, 1) + struct.pack(">h", len(topic)) + topic.encode()
    body += struct.pack(">i", partitions)
    for partition in range(partitions):
        body += struct.pack(">ii", partition, len(batch)) + batch
    frame = _HEAD.pack(0, PRODUCE_VERSION, 1, -1) + body
    return struct.pack(">i", len(frame)) + frame


def error_codes(answer: bytes, topic: str, partitions: int) -> set[int]:
    """The error codes in a Produce answer (without its size)."""
    at = 4 + 4 + 2 + len(topic.encode()) + 4
    width = 4 + 2 + 8 + 8 + 8
    return {struct.unpack_from(">h", answer, at + index * width + 4)[0] for index in range(partitions)}


class Wire:
    """A connection that sends one request and waits for its answer."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=ANSWER_SECONDS_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        size = int.from_bytes(self._exactly(4), "big")
        return self._exactly(size)

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self._socket.recv(count - len(parts))
            if not part:
                raise ConnectionError("the broker closed the connection")
            parts += part
        return parts
