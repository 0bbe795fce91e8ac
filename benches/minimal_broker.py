"""The reference for a broker in Python: it accepts Produce frames and appends them to a file.

Throw-away. One thread, no TLS, no fsync, no checks: just enough protocol that librdkafka produces to it. What
the real broker misses of this loop's speed is what durability, checks and structure cost.
Usage: python -m benches.minimal_broker PORT FILE
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import sys

BUFFER_BYTES = 8 << 20  # holds the largest frame librdkafka sends by default several times
CONNECTIONS_MAX = 64
PARTITIONS = 12
_VERSIONS = {0: (3, 7), 1: (4, 11), 2: (1, 2), 3: (0, 4), 18: (0, 2)}
_HEAD = struct.Struct(">ihhih")  # size, api key, version, correlation id, client id length


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def _api_versions(version: int) -> bytes:
    rows = b"".join(struct.pack(">hhh", key, *span) for key, span in _VERSIONS.items())
    if version > _VERSIONS[18][1]:  # the version it asked in is unknown: answer in the oldest one
        return struct.pack(">hi", 35, len(_VERSIONS)) + rows
    return struct.pack(">hi", 0, len(_VERSIONS)) + rows + (struct.pack(">i", 0) if version else b"")


def _metadata(version: int, port: int, topics: list[str]) -> bytes:
    broker = (
        struct.pack(">i", 1) + _text("127.0.0.1") + struct.pack(">i", port) + (_text("") if version else b"")
    )
    head = (struct.pack(">i", 0) if version >= 3 else b"") + struct.pack(">i", 1) + broker
    head += (_text("minimal") if version >= 2 else b"") + (struct.pack(">i", 1) if version else b"")
    body = struct.pack(">i", len(topics))
    for topic in topics:
        body += (
            struct.pack(">h", 0) + _text(topic) + (b"\0" if version else b"") + struct.pack(">i", PARTITIONS)
        )
        for partition in range(PARTITIONS):
            body += struct.pack(">hiiiiii", 0, partition, 1, 1, 1, 1, 1)
    return head + body


class Connection:
    """One socket, its receive buffer and what it still has to send."""

    def __init__(self, sock: socket.socket, port: int, file: int, ends: dict[tuple[bytes, int], int]) -> None:
        self.sock, self._port, self._file, self._ends = sock, port, file, ends
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def readable(self) -> bool:
        """Read what is there, answer every whole frame; False when the peer has gone."""
        count = self.sock.recv_into(self._view[self._filled :])
        if not count:
            return False
        self._filled += count
        at, answers = 0, []
        while self._filled - at >= 4:
            size = int.from_bytes(self._view[at : at + 4], "big")
            if self._filled - at < size + 4:
                break
            answers.append(self._answer(at, at + 4 + size))
            at += 4 + size
        if at:
            self._view[: self._filled - at] = self._view[at : self._filled]
            self._filled -= at
        if answers:
            self.sock.sendall(b"".join(answers))
        return True

    def _answer(self, at: int, end: int) -> bytes:
        _, key, version, correlation, client = _HEAD.unpack_from(self._buffer, at)
        at += _HEAD.size + max(client, 0)
        if key == 0:
            body = self._produce(at, version)
        elif key == 3:
            count = int.from_bytes(self._view[at : at + 4], "big", signed=True)
            at, topics = at + 4, []
            for _ in range(count):
                size = int.from_bytes(self._view[at : at + 2], "big")
                topics.append(bytes(self._view[at + 2 : at + 2 + size]).decode())
                at += 2 + size
            body = _metadata(version, self._port, topics)
        else:
            body = _api_versions(version)
        return struct.pack(">ii", len(body) + 4, correlation) + body

    def _produce(self, at: int, version: int) -> bytes:
        view, answer = self._view, []
        at += 2 + 2 + 4  # null transactional id, acks, timeout
        topics, at = int.from_bytes(view[at : at + 4], "big"), at + 4
        answer.append(struct.pack(">i", topics))
        for _ in range(topics):
            size = int.from_bytes(view[at : at + 2], "big")
            name, at = bytes(view[at + 2 : at + 2 + size]), at + 2 + size
            partitions, at = int.from_bytes(view[at : at + 4], "big"), at + 4
            answer.append(struct.pack(">h", size) + name + struct.pack(">i", partitions))
            for _ in range(partitions):
                partition, length = struct.unpack_from(">ii", view, at)
                batch, at = view[at + 8 : at + 8 + length], at + 8 + length
                base = self._ends.get((name, partition), 0)
                struct.pack_into(">q", batch, 0, base)
                self._ends[name, partition] = base + int.from_bytes(batch[57:61], "big")
                os.write(self._file, batch)
                answer.append(struct.pack(">ihqq", partition, 0, base, -1))
                if version >= 5:
                    answer.append(struct.pack(">q", 0))
        return b"".join([*answer, struct.pack(">i", 0)])


def serve(port: int, path: str) -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=CONNECTIONS_MAX)
    port = listener.getsockname()[1]
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    ends: dict[tuple[bytes, int], int] = {}
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, None)
    print(port, flush=True)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                connection = Connection(listener.accept()[0], port, file, ends)
                selector.register(connection.sock, selectors.EVENT_READ, connection)
                continue
            try:
                alive = key.data.readable()
            except ConnectionError:
                alive = False
            if not alive:
                selector.unregister(key.fileobj)
                key.data.sock.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
