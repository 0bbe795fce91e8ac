"""The section `admin`: the HTTP listener for what Kafka has no API for."""

from __future__ import annotations

import ipaddress
import re

from pydantic import Field, field_validator

from rivven.config.listeners import WILDCARD_HOSTS
from rivven.config.quotas import NETWORKS_MAX, Cidr
from rivven.config.tls import TlsConfig
from rivven.config.values import Address, HostPort, Strict, parse_address

NAMES_MAX = 32  # compared with the Host header of every request

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class AdminConfig(Strict):
    """The Admin API. There is one when the section is there, and with `rivven server --dev`."""

    enabled: bool = Field(default=True, description="Whether the listener exists.")
    bind: HostPort = Field(default="127.0.0.1:9094", description="Its address.")
    names: list[str] = Field(
        default=[],
        max_length=NAMES_MAX,
        description=(
            "Host names callers may use, besides the host of bind, the advertised hosts of the listeners "
            "and, on a loopback address, localhost."
        ),
    )
    tls: TlsConfig | None = Field(default=None, description="Overrides server.tls for the Admin API.")
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
    def own_names(self) -> frozenset[str]:
        """The host names that `bind` and `names` give, lower case."""
        host = self.address.host.lower()
        found = set(self.names) | ({host} - WILDCARD_HOSTS)
        return frozenset(found | set(_LOOPBACK_NAMES) if self.address.loopback else found)

    @field_validator("names")
    @classmethod
    def _are_host_names(cls, names: list[str]) -> list[str]:
        lowered = [name.lower().removeprefix("[").removesuffix("]") for name in names]
        for name in lowered:
            if not _HOST_NAME.fullmatch(name) and not _is_address(name):
                raise ValueError(f"{name!r} is not a host name or address (without port)")
        return lowered


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
