"""Whether and when a new connection of one listener may begin: its network, and how many came before it.

Pure. Waiting and closing are the listener's. Connections in total and per address are `admission`'s.
"""

from __future__ import annotations

from rivven.security.networks import AllowedNetworks
from rivven.security.quotas import Allowances, Quotas


class CreationRate:
    """New connections a second over all listeners (``max.connection.creation.rate``, KIP-612)."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._allowances = Allowances()

    def use(self, now: float) -> float:
        """Count one; returns the seconds for which no other should be accepted."""
        rate = float(self._per_second)
        return self._allowances.use(("all",), rate, rate, 1, now)


class Arrivals:
    """One listener's."""

    def __init__(self, networks: AllowedNetworks, quotas: Quotas, rate: CreationRate) -> None:
        self._networks = networks
        self._quotas = quotas
        self._rate = rate

    def refusal(self, host: str) -> str | None:
        """Why a peer address may not connect here at all, None if it may."""
        if self._networks.allow(host):
            return None
        return "its network is not allowed (security.ip_allowlist, allowed_cidrs)"

    def pause(self, now: float) -> float:
        """Count a connection; returns the seconds before the next should be accepted, whoever it is of."""
        return self._rate.use(now)

    def hold(self, host: str, now: float) -> float:
        """Count a connection of an address; returns the seconds after which it must be closed unused, 0 to
        let it begin. Closing at once would only make the peer try again at once."""
        return self._quotas.use_connection(host, now) if self._quotas.active else 0.0
