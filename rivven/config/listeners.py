"""The sections about listeners: where clients connect, with which protocol, mechanisms and certificate."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from rivven.config.quotas import NETWORKS_MAX, Cidr
from rivven.config.tls import TlsConfig
from rivven.config.values import Address, HostPort, Strict, parse_address

MECHANISMS_MAX = 8  # offered in one SaslHandshake answer
WILDCARD_HOSTS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound here

_LISTENER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class ListenerConfig(Strict):
    """One address clients connect to."""

    name: str = Field(description="The listener's name in logs, metrics and answers; unique.")
    bind: HostPort = Field(description="Address and port to listen on; port 0 lets the system choose.")
    advertised: HostPort | None = Field(
        default=None, description="Address told to clients; needed when bind covers all addresses."
    )
    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        description="Kafka's security protocol of this listener."
    )
    sasl: list[str] = Field(
        default=[],
        max_length=MECHANISMS_MAX,
        description="SASL mechanisms offered; those of auth.mechanism by default.",
    )
    tls: TlsConfig | None = Field(default=None, description="Overrides server.tls for this listener.")
    allowed_cidrs: list[Cidr] = Field(
        default=[],
        max_length=NETWORKS_MAX,
        description="Networks whose addresses may connect here; empty allows all.",
    )

    @property
    def address(self) -> Address:
        """`bind`, parsed."""
        return parse_address(self.bind)

    @property
    def advertised_address(self) -> Address:
        """What clients are told; the port is 0 when it is bound to port 0 and not advertised otherwise."""
        return parse_address(self.advertised or self.bind)

    @property
    def uses_tls(self) -> bool:
        return self.protocol in ("ssl", "sasl_ssl")

    @property
    def uses_sasl(self) -> bool:
        return self.protocol in ("sasl_plaintext", "sasl_ssl")

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if not _LISTENER_NAME.fullmatch(name):
            raise ValueError("must start with a letter and hold at most 64 letters, digits, - and _")
        return name

    @field_validator("sasl")
    @classmethod
    def _mechanisms_in_capitals(cls, names: list[str]) -> list[str]:
        return list(dict.fromkeys(name.upper() for name in names))

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ListenerConfig:
        if self.advertised is None and self.address.host in WILDCARD_HOSTS:
            raise ValueError("binds to all addresses: advertised must name the one clients can reach")
        if parse_address(self.advertised or "x:1").host in WILDCARD_HOSTS:
            raise ValueError(f"no client can connect to the advertised address {self.advertised}")
        if self.sasl and not self.uses_sasl:
            raise ValueError(f"sasl has no meaning with protocol {self.protocol}: use sasl_ssl")
        if self.tls is not None and not self.uses_tls:
            raise ValueError(f"tls has no meaning with protocol {self.protocol}: use ssl or sasl_ssl")
        return self
