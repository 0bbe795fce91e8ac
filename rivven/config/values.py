"""The values that several sections of the configuration file share: addresses, paths, times, strictness."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """``host:port`` or ``[v6]:port``; port 0 asks the system for one. Raises ValueError with the reason."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is not of the form host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"[{host}] is not an IPv6 address") from None
    elif ":" in host:
        raise ValueError(f"an IPv6 address needs brackets: [{host}]:{port}")
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65_535:
        raise ValueError(f"{port!r} is not a port (0 to 65535)")
    return Address(host, int(port))


def _is_address(text: str) -> str:
    parse_address(text)
    return text


HostPort = Annotated[str, AfterValidator(_is_address)]
FilePath = Annotated[Path, Field(strict=False)]  # YAML has no path type
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Strict(BaseModel):
    """A section of the file: unknown keys, wrong types and changes are refused."""

    # Deferred: only `Config` is ever validated, and building each section by itself as well doubled the time.
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )
