"""Stands between a connection's socket and asyncio's TLS, and ends those that bring TLS instead of data.

TLS has messages that hold no data (key updates, handshakes begun anew), 27 bytes that cost 25 µs: asyncio
would take 256 KiB of them in one turn of the loop, for as long as they come. This knows no HTTP, and sees no
data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TURN_BYTES_MAX = 17 * 1024
"""Read at once: a whole record."""

BYTES_PER_DATA = 32
"""Ciphertext that one byte of data pays for; a record around the shortest request needs ten."""

DATALESS_BYTES_MAX = 512 * 1024
"""Ciphertext beyond what data has paid for. asyncio itself keeps 256 KiB while the application does not
read."""


class TlsMeter(asyncio.BufferedProtocol):
    """Takes the place of the protocol of `below`, whose handshake is done.

    `data_bytes` says how much data the connection has brought so far; `refuse` is called once it brings too
    little, and has to end it.
    """

    def __init__(
        self, below: asyncio.Transport, data_bytes: Callable[[], int], refuse: Callable[[], None]
    ) -> None:
        tls = below.get_protocol()
        assert isinstance(tls, asyncio.BufferedProtocol)
        self._tls = tls
        self._data_bytes = data_bytes
        self._refuse = refuse
        self._counted = data_bytes()
        self._dataless_bytes = 0
        below.set_protocol(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the socket's next bytes go."""
        return memoryview(self._tls.get_buffer(sizehint))[:TURN_BYTES_MAX]

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self._tls.buffer_updated(nbytes)
        data_bytes = self._data_bytes()
        paid = BYTES_PER_DATA * (data_bytes - self._counted)
        self._counted = data_bytes
        self._dataless_bytes = max(0, self._dataless_bytes + nbytes - paid)
        if self._dataless_bytes > DATALESS_BYTES_MAX:
            self._dataless_bytes = 0  # said once
            self._refuse()

    def eof_received(self) -> bool | None:
        """The peer sends nothing more."""
        return self._tls.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._tls.connection_lost(exc)

    def pause_writing(self) -> None:
        """The socket takes nothing more for now."""
        self._tls.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._tls.resume_writing()
