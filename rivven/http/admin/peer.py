"""Who is on the other end of an HTTP connection, as far as the connection itself says. Pure.

The listener puts one `Peer` into each request's scope; nothing a client writes into headers changes it.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Judge = Callable[[Sequence[bytes]], Callable[[], str | None]]
"""From a client's chain (DER, its own certificate first) to what says at any time why it is not trusted."""

SCOPE_KEY = "rivven.peer"


@dataclass(slots=True)
class Peer:
    """One connection: address, whether TLS protects it, and the client certificate (DER) the TLS library has
    verified. `trusted` turns true with the first successful authentication; `still_trusted` says why the
    certificate's chain no longer counts, None while it does."""

    host: str
    tls: bool
    certificate: bytes | None = field(default=None, repr=False)
    trusted: bool = False
    still_trusted: Callable[[], str | None] = field(default=lambda: None, repr=False)


def peer_in(scope: MutableMapping[str, Any]) -> Peer:
    """The peer of a request."""
    peer = scope[SCOPE_KEY]
    assert isinstance(peer, Peer)
    return peer
