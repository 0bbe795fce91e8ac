"""The section `limits`: bounds that keep one client from harming the others."""

from __future__ import annotations

from pydantic import Field

from rivven.config.broker_settings import BROKER_SETTINGS
from rivven.config.settings import INT_MAX
from rivven.config.values import Seconds, Strict


def _kafka_default(name: str) -> int:
    """The default of a whole-number Kafka setting, so that it is written once."""
    value = BROKER_SETTINGS[name].default
    assert isinstance(value, int)
    return value


class LimitsConfig(Strict):
    """Bounds that keep one client from harming the others."""

    max_connections: int = Field(
        default=_kafka_default("max.connections"),
        ge=1,
        le=INT_MAX,
        description="Connections in total; fewer where the limit of open files (ulimit -n) leaves too little "
        "for the log.",
    )
    max_connections_per_ip: int = Field(
        default=_kafka_default("max.connections.per.ip"),
        ge=1,
        le=INT_MAX,
        description="Connections from one address.",
    )
    connection_timeout_secs: Seconds = Field(
        default=30.0, description="Time a client has from connecting to being authenticated."
    )
    handshake_timeout_secs: Seconds = Field(default=10.0, description="Time a TLS handshake may take.")
    idle_timeout_secs: Seconds = Field(
        default=600.0, ge=1, description="A connection silent for this long is closed."
    )
    max_message_size: int = Field(
        default=_kafka_default("message.max.bytes"),
        ge=1024,
        le=INT_MAX,
        description="Default of the topic setting max.message.bytes: the largest record batch.",
    )
    max_batch_size: int = Field(
        default=_kafka_default("socket.request.max.bytes"),
        ge=1024,
        le=INT_MAX,
        description="The largest request, with all batches in it.",
    )
    max_key_size: int | None = Field(
        default=None, ge=0, le=INT_MAX, description="Bytes of a record's key at most; opens every batch."
    )
    rate_limit_per_ip: int | None = Field(
        default=None, ge=1, le=INT_MAX, description="Requests a second from one address; above it they wait."
    )
    request_memory_bytes: int = Field(
        default=_kafka_default("queued.max.request.bytes"),
        ge=1_048_576,
        description="Memory for requests in flight; connections wait when it is used up.",
    )
    response_memory_bytes: int = Field(
        default=268_435_456,
        ge=1_048_576,
        description="Memory for answers in flight; fetches get smaller answers when it is used up.",
    )
    requests_in_flight_per_connection: int = Field(
        default=64, ge=1, le=10_000, description="Requests of one connection worked on at the same time."
    )
