"""The sections `rate_limiting`, `validation` and `security`: how much, of what shape, and from where.

Kafka's client quotas are not here: they are data of the cluster and change while it runs.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from rivven.config.settings import INT_MAX
from rivven.config.values import Strict

NETWORKS_MAX = 1_000  # each is compared with the address of a new connection
PATTERN_CHARACTERS_MAX = 500  # a topic's name is matched against it on the loop


def _is_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from None
    return text


Cidr = Annotated[str, AfterValidator(_is_network)]


class RateConfig(Strict):
    """A rate of requests."""

    requests_per_second: int = Field(ge=1, le=INT_MAX, description="Requests a second, on average.")
    burst: int = Field(default=1, ge=1, le=INT_MAX, description="Requests that may come at once.")


class RateLimitingConfig(Strict):
    """Rates of requests; whoever is above one is throttled, never refused."""

    enabled: bool = Field(default=True, description="Whether the rates below hold.")
    # `global` is a word of Python.
    everybody: RateConfig | None = Field(default=None, alias="global", description="All clients together.")
    per_client: RateConfig | None = Field(default=None, description="Each principal.")
    per_topic: RateConfig | None = Field(default=None, description="Produce and Fetch of each topic.")


class TopicNameConfig(Strict):
    """Names of new topics."""

    pattern: str | None = Field(
        default=None,
        max_length=PATTERN_CHARACTERS_MAX,
        description="An expression for the whole name.",
    )
    max_length: int | None = Field(default=None, ge=1, le=249, description="Characters at most.")

    @field_validator("pattern")
    @classmethod
    def _is_expression(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        return text


class KeyConfig(Strict):
    """Keys of records."""

    max_size: int | None = Field(default=None, ge=0, le=INT_MAX, description="Bytes at most.")
    required: bool = Field(default=False, description="Whether every record must have a key.")


class HeadersConfig(Strict):
    """Headers of records."""

    max_count: int | None = Field(default=None, ge=0, le=INT_MAX, description="Headers of a record at most.")
    max_key_size: int | None = Field(default=None, ge=0, le=INT_MAX, description="Bytes of a name at most.")
    max_value_size: int | None = Field(
        default=None, ge=0, le=INT_MAX, description="Bytes of a value at most."
    )


class ValidationConfig(Strict):
    """What topics and records must look like. Limits on records make the broker open every batch."""

    topic_name: TopicNameConfig = Field(default=TopicNameConfig(), description="Names of new topics.")
    key: KeyConfig = Field(default=KeyConfig(), description="Keys of records.")
    headers: HeadersConfig = Field(default=HeadersConfig(), description="Headers of records.")


class IpAllowlistConfig(Strict):
    """Networks whose addresses may connect to the Kafka listeners and the Admin API."""

    enabled: bool = Field(default=False, description="Whether the list holds.")
    cidrs: list[Cidr] = Field(default=[], max_length=NETWORKS_MAX, description="Networks, or addresses.")


class SecurityConfig(Strict):
    """What concerns all listeners."""

    ip_allowlist: IpAllowlistConfig = Field(
        default=IpAllowlistConfig(), description="Networks whose addresses may connect."
    )
