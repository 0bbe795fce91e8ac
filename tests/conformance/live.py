"""Connections that are idle, busy or parked while something is taken away from them, and when they closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rivven.protocol.api import ApiKey
from tests.conformance.client import Client, batch, fetch_request
from tests.conformance.wire import Closed
from tests.shipped.connection import Connection
from tests.shipped.running_time import running_time

KINDS = ("idle", "busy", "parked")
PROMISED_S = 1.0
"""From the answer to whoever took the right away, or from the change of a file, to the end of the stream,
in `running_time`."""

WAIT_S = 10.0


class Live:
    """A client doing one of `KINDS` with a topic on a thread of its own, until its connection ends."""

    def __init__(self, client: Client, kind: str, topic: str) -> None:
        self.client = client
        self.closed_at = 0.0
        self.acknowledged = 0
        self.errors: list[int] = []
        self._topic = topic
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(getattr(self, f"_{kind}"),), daemon=True)
        self._thread.start()
        assert self._began.wait(WAIT_S)

    def closed_after(self, moment: float) -> float:
        """Seconds from a moment (`running_time`) to the end of the stream."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the connection is still open"
        return self.closed_at - moment

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (Closed, OSError):
            pass
        self.closed_at = running_time()

    def _idle(self) -> None:
        self._began.set()
        self.client.receive_frame(WAIT_S)

    def _parked(self) -> None:
        end = self.client.list_offset(self._topic, -1).offset
        self.client.send(ApiKey.FETCH, 12, fetch_request(self._topic, end, max_wait_ms=60_000))
        time.sleep(0.05)  # until it is parked
        self._began.set()
        self.client.receive_frame(WAIT_S)

    def _busy(self) -> None:
        while True:
            entry = self.client.produce(self._topic, batch(b"v" * 100))
            self.acknowledged += entry.error_code == 0
            self.errors.append(entry.error_code)
            self._began.set()


def is_refused(connection: Connection) -> bool:
    """Whether the broker closes before it answers anything (with TLS 1.3 the client's own handshake is over
    before the server has seen its certificate)."""
    try:
        with Client(connection) as client:
            client.metadata()
    except (Closed, OSError):
        return True
    return False
