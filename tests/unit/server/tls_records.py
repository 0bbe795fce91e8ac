"""A TLS client that sends what no library sends: records made by hand, with the keys of its own handshake."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HANDSHAKE = 22
DATA = 23


class _Client:
    """Its handshake is done when it is made; `keys` is a file that does not exist yet."""

    def __init__(self, sock: socket.socket, ca: Path, keys: Path, version: ssl.TLSVersion) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ECDHE+AESGCM")
        context.keylog_filename = str(keys)
        self.socket = sock
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        self._heard = b""
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            sock.sendall(outgoing.read())
            if not done:
                heard = sock.recv(1 << 16)
                self._heard += heard
                incoming.write(heard)
        cipher = tls.cipher()
        assert cipher is not None
        self._hash: Any = hashlib.sha384 if "384" in cipher[0] else hashlib.sha256
        self._key_bytes = 32 if "AES256" in cipher[0].replace("_", "") else 16
        self._log = {
            line.split()[0]: [bytes.fromhex(word) for word in line.split()[1:]]
            for line in keys.read_text().splitlines()
            if not line.startswith("#")
        }
        self._sequence = 0


class Client13(_Client):
    """TLS 1.3."""

    def __init__(self, sock: socket.socket, ca: Path, keys: Path) -> None:
        super().__init__(sock, ca, keys, ssl.TLSVersion.TLSv1_3)
        self._secret = self._log["CLIENT_TRAFFIC_SECRET_0"][1]
        self._take_keys()

    def record(self, kind: int, content: bytes) -> bytes:
        inner = content + bytes([kind])
        head = b"\x17\x03\x03" + struct.pack(">H", len(inner) + 16)
        nonce = (int.from_bytes(self._iv, "big") ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return head + self._key.encrypt(nonce, inner, head)

    def key_update(self) -> bytes:
        """One that asks for an answer; later records are under the new key."""
        made = self.record(HANDSHAKE, b"\x18\x00\x00\x01\x01")
        self._secret = self._expand(b"traffic upd", self._hash().digest_size)
        self._take_keys()
        return made

    def _take_keys(self) -> None:
        self._key = AESGCM(self._expand(b"key", self._key_bytes))
        self._iv = self._expand(b"iv", 12)
        self._sequence = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        told = struct.pack(">HB", size, len(label)) + label + b"\x00\x01"
        return hmac.digest(self._secret, told, self._hash().name)[:size]


class Client12(_Client):
    """TLS 1.2."""

    def __init__(self, sock: socket.socket, ca: Path, keys: Path) -> None:
        super().__init__(sock, ca, keys, ssl.TLSVersion.TLSv1_2)
        of_client, secret = self._log["CLIENT_RANDOM"]
        of_server = self._heard[11:43]  # of the first message of all
        size = 2 * self._key_bytes
        block = self._expand(secret, b"key expansion" + of_server + of_client, size + 4)
        self._key, self._salt = AESGCM(block[: self._key_bytes]), block[size:]
        self._sequence = 1  # after Finished

    def record(self, kind: int, content: bytes) -> bytes:
        number = struct.pack(">Q", self._sequence)
        self._sequence += 1
        about = number + bytes([kind]) + b"\x03\x03" + struct.pack(">H", len(content))
        body = number + self._key.encrypt(self._salt + number, content, about)
        return bytes([kind]) + b"\x03\x03" + struct.pack(">H", len(body)) + body

    def hello(self) -> bytes:
        """The beginning of another handshake, which a server that takes none answers with an alert."""
        body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x2f" + b"\x01\x00"
        return self.record(HANDSHAKE, b"\x01" + len(body).to_bytes(3, "big") + body)

    def _expand(self, secret: bytes, seed: bytes, size: int) -> bytes:
        name, found, link = self._hash().name, b"", seed
        while len(found) < size:
            link = hmac.digest(secret, link, name)
            found += hmac.digest(secret, link + seed, name)
        return found[:size]
