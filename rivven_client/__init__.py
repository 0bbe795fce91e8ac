"""Rivven's Python client: a thin layer over librdkafka (confluent-kafka) for administration, producing and
consuming.

It speaks the Kafka protocol only and imports nothing of the broker. Importing it is cheap: what it offers
is imported when it is first used, librdkafka by the first connection.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rivven_client.connection import Connection
    from rivven_client.failures import ClientFailed, FailureKind
    from rivven_client.profile import Profile, ProfileError, find_profile

_PLACES = {
    "ClientFailed": "failures",
    "Connection": "connection",
    "FailureKind": "failures",
    "Profile": "profile",
    "ProfileError": "profile",
    "find_profile": "profile",
}

__all__ = ["ClientFailed", "Connection", "FailureKind", "Profile", "ProfileError", "find_profile"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
