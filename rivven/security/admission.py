"""What a peer may use before it has proved who it is: connections, time, and tries.

One object for all listeners of a server. It counts and remembers, in bounded memory, and decides from the
times it is given; closing sockets and sleeping are the listener's. Bytes before authentication are bounded by
the protocol core.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Protocol

FAILURE_DELAY_MAX_S = 4.0
"""The delay doubles with each recent failure from the same address up to this: slows guessing, not typing."""

FAILURE_MEMORY_S = 60.0
"""A failure older than this is forgotten."""

FAILING_PEERS_MAX = 10_000
"""Addresses whose failures are remembered; beyond it the longest silent one is forgotten."""

FAILURES_HELD_PER_PEER_MAX = 64
"""Failure answers of one address that wait for their time. They hold connections: without a bound, failing
logins would use up the address's connections and keep out who shares it and knows its password."""

STRANGER_SECONDS = 2.0
"""A login takes less. Who has held a place for longer without one gives way when all places are taken: else
connections that never log in would keep out everybody of their address, or everybody."""

_IPV6_SITE_BITS = 64
"""One IPv6 subscriber owns at least a /64, so it counts as one address."""


def peer_of(host: str) -> str:
    """What connections are counted by: the IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _IPV6_SITE_BITS), strict=False))


class Stranger(Protocol):
    """A connection that has not logged in yet, or had not when it came."""

    opened_at: float

    @property
    def authenticated(self) -> bool: ...
    def abort(self, reason: str) -> None:
        """Close at once; `left` and `release` follow before this returns."""
        ...


class Admission:
    """Connections and login failures per peer. Times are monotonic seconds.

    `handshake_timeout_s` is the time a TLS handshake may take, `authentication_timeout_s` the time from the
    accept to a successful authentication, `failure_delay_s` how long the connection of a first failed login
    stays silent before it closes (``connection.failed.authentication.delay.ms``).
    """

    def __init__(
        self,
        *,
        max_connections: int,
        max_connections_per_ip: int,
        handshake_timeout_s: float,
        authentication_timeout_s: float,
        failure_delay_s: float = 0.1,
    ) -> None:
        self.handshake_timeout_s = handshake_timeout_s
        self.authentication_timeout_s = authentication_timeout_s
        self._failure_delay_s = failure_delay_s
        self._max = max_connections
        self._max_per_peer = max_connections_per_ip
        self._open = 0
        self._per_peer: dict[str, int] = {}
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._held: dict[str, int] = {}
        # Each in the order of arrival; who has logged in since is dropped when met.
        self._strangers: dict[Stranger, None] = {}
        self._strangers_of: dict[str, dict[Stranger, None]] = {}

    @property
    def connections(self) -> int:
        """Connections admitted and not yet released."""
        return self._open

    def admit(self, host: str) -> str | None:
        """Count a new connection; returns None, or why it is refused (then it is not counted)."""
        if self._open >= self._max:
            return f"all {self._max} connections are in use (limits.max_connections)"
        peer = peer_of(host)
        held = self._per_peer.get(peer, 0)
        if held >= self._max_per_peer:
            return f"{peer} holds {held} connections already (limits.max_connections_per_ip)"
        self._per_peer[peer] = held + 1
        self._open += 1
        return None

    def release(self, host: str) -> None:
        """Forget a connection that was admitted."""
        peer = peer_of(host)
        held = self._per_peer.get(peer, 0)
        if held == 0:
            raise ValueError(f"no connection of {peer} was admitted")
        if held == 1:
            del self._per_peer[peer]
        else:
            self._per_peer[peer] = held - 1
        self._open -= 1

    def entered(self, stranger: Stranger, host: str) -> None:
        """An admitted connection begins; `left` must follow."""
        self._strangers[stranger] = None
        self._strangers_of.setdefault(peer_of(host), {})[stranger] = None

    def left(self, stranger: Stranger, host: str) -> None:
        """A connection that `entered` is over."""
        self._strangers.pop(stranger, None)
        peer = peer_of(host)
        of_peer = self._strangers_of.get(peer, {})
        of_peer.pop(stranger, None)
        if not of_peer:
            self._strangers_of.pop(peer, None)

    def make_room(self, host: str, now: float) -> bool:
        """After a refusal of `admit`: whether a connection that never logged in has given way."""
        full = self._open >= self._max
        candidates = self._strangers if full else self._strangers_of.get(peer_of(host), {})
        while candidates:
            first = next(iter(candidates))
            if first.authenticated:
                del candidates[first]
            elif now - first.opened_at < STRANGER_SECONDS:
                return False
            else:
                first.abort("it has not logged in, and its place is needed")
                return True
        return False

    def authentication_failed(self, host: str, now: float) -> float:
        """Remember a failed login; returns the seconds to wait before answering it and closing.

        A success does not reset the count: one known password must not buy free guesses at others.
        """
        peer = peer_of(host)
        count, last = self._failures.pop(peer, (0, now))
        if now - last > FAILURE_MEMORY_S:
            count = 0
        self._failures[peer] = (count + 1, now)
        if len(self._failures) > FAILING_PEERS_MAX:
            self._failures.popitem(last=False)
        doublings = min(count, 16)  # 2^16 is past every sensible maximum; keeps the number small
        return float(
            min(self._failure_delay_s * 2**doublings, max(FAILURE_DELAY_MAX_S, self._failure_delay_s))
        )

    def hold_failure(self, host: str) -> bool:
        """Count a failure whose answer is held back; False when the address has as many as it may, and this
        connection must close without the wait. After True, `failure_answered` must follow."""
        peer = peer_of(host)
        held = self._held.get(peer, 0)
        if held >= FAILURES_HELD_PER_PEER_MAX:
            return False
        self._held[peer] = held + 1
        return True

    def failure_answered(self, host: str) -> None:
        """A failure that was held has been answered, or its peer has gone."""
        peer = peer_of(host)
        if self._held[peer] == 1:
            del self._held[peer]
        else:
            self._held[peer] -= 1
