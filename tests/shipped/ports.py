"""Ports of brokers that are stopped and started again on the same one.

They lie below the range from which the kernel takes ports for port 0 and for outgoing connections: one of
those could have the port of a broker that is down for a moment.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

FIRST = 10_000
PER_WORKER = 1_000
WORKERS_MAX = 18  # 28000 and above stay for runs without workers


def _range_of(worker: str) -> range:
    number = int(worker.removeprefix("gw")) % WORKERS_MAX if worker.startswith("gw") else WORKERS_MAX
    first = FIRST + PER_WORKER * number
    return range(first, first + PER_WORKER)


def _round() -> Iterator[int]:
    ports = _range_of(os.environ.get("PYTEST_XDIST_WORKER", ""))
    start = random.randrange(len(ports))  # another run of the suite may go on beside this one
    return itertools.cycle([*ports[start:], *ports[:start]])


_ports = _round()


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens, and that this process has not had for a while."""
    for port in itertools.islice(_ports, PER_WORKER):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
