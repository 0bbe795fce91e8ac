"""Rivven's Python client: a thin layer over librdkafka (confluent-kafka) for administration, producing and
consuming.

It speaks the Kafka protocol only and imports nothing of the broker. Importing it is cheap: librdkafka is
loaded by the first connection.
"""

from rivven_client.connection import Connection
from rivven_client.failures import ClientFailed, FailureKind
from rivven_client.profile import Profile, ProfileError, find_profile

__all__ = ["ClientFailed", "Connection", "FailureKind", "Profile", "ProfileError", "find_profile"]
