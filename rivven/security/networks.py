"""Which addresses may connect at all: the broker's allowlist and each listener's own networks.

Pure. It knows addresses, not identities; whoever is refused here never gets a byte.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

REMEMBERED_MAX = 4096
"""Addresses whose answer is remembered: a reconnecting client costs a look-up, not a walk over networks."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> Network:
    """``10.0.0.0/8`` or a single address. Raises ValueError with the reason (also for host bits set)."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from None


class AllowedNetworks:
    """An address must be in one network of every group that is given; no groups allow everybody."""

    def __init__(self, groups: Iterable[Iterable[str]]) -> None:
        self._groups = [[parse_network(text) for text in group] for group in groups]
        self._known: dict[str, bool] = {}

    def allow(self, host: str) -> bool:
        """Whether a peer address may connect; an IPv4-mapped IPv6 address counts as the IPv4 one."""
        if not self._groups:
            return True
        answer = self._known.get(host)
        if answer is None:
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            answer = self._known[host] = self._look(host)
        return answer

    def _look(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False  # not an address: a listener on something else than TCP has no networks
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return all(any(address in network for network in group) for group in self._groups)
