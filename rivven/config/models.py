"""The configuration file as strict values: what may stand in it, its defaults, and what contradicts what.

Values only: no file, environment or socket is touched here. A key exists only if the broker enforces it;
unknown keys are refused by `load`. Key names are those of the Rivven security document where it has one.
Units are in the names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from rivven.config.broker_settings import (
    BROKER_SETTINGS,
    broker_defaults,
    parse_broker_settings,
    topic_defaults,
)
from rivven.config.secrets import SecretReference
from rivven.config.settings import INT_MAX, Setting, SettingError, SettingValue
from rivven.config.topic_settings import topic_config

LISTENERS_MAX = 16  # each takes a socket and an entry in every Metadata answer
SUPER_USERS_MAX = 100  # compared on every decision that misses the cache
MECHANISMS_MAX = 8  # offered in one SaslHandshake answer
WILDCARD_HOSTS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound here

_LISTENER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


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


def _kafka_default(name: str) -> int:
    """The default of a whole-number Kafka setting, so that it is written once."""
    value = BROKER_SETTINGS[name].default
    assert isinstance(value, int)
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsConfig(_Strict):
    """Certificate and key of a TLS listener (PEM files)."""

    cert_path: FilePath = Field(description="The server certificate followed by its intermediates, PEM.")
    key_path: FilePath = Field(description="The private key of the certificate, PEM.")
    key_password: SecretReference | None = Field(
        default=None, description="Reference to the password of an encrypted key: file:PATH or env:NAME."
    )
    client_auth: Literal["none"] = Field(
        default="none", description="Whether clients show certificates; none is the only value so far."
    )
    min_version: Literal["1.2", "1.3"] = Field(
        default="1.2", description="The oldest TLS version accepted; 1.3 is always preferred."
    )


class ListenerConfig(_Strict):
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
        default=[], max_length=MECHANISMS_MAX, description="SASL mechanisms offered; SCRAM by default."
    )
    tls: TlsConfig | None = Field(default=None, description="Overrides server.tls for this listener.")

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
        if self.uses_sasl and not self.sasl:
            object.__setattr__(self, "sasl", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
        if self.sasl and not self.uses_sasl:
            raise ValueError(f"sasl has no meaning with protocol {self.protocol}: use sasl_ssl")
        if self.tls is not None and not self.uses_tls:
            raise ValueError(f"tls has no meaning with protocol {self.protocol}: use ssl or sasl_ssl")
        return self


class NodeConfig(_Strict):
    """Who this node is in the cluster."""

    id: int = Field(default=1, ge=0, le=INT_MAX, description="The node id clients see; fixed at first start.")


class ServerConfig(_Strict):
    """What all listeners share."""

    tls: TlsConfig | None = Field(
        default=None, description="Certificate of every TLS listener without its own."
    )


class ScramConfig(_Strict):
    """Salted password authentication (RFC 5802, RFC 7677)."""

    iterations: int = Field(
        default=8192,
        ge=4096,
        le=1_000_000,  # clients refuse less and more
        description=(
            "Hash rounds of verifiers this server makes, and told to clients that name an unknown user."
        ),
    )


class AuthConfig(_Strict):
    """Authentication."""

    scram: ScramConfig = Field(default=ScramConfig(), description="SCRAM-SHA-256 and SCRAM-SHA-512.")


class AuthorizationConfig(_Strict):
    """Who may do what."""

    authorizers: list[str] = Field(
        default=["acl"],
        min_length=1,
        max_length=8,
        description="Engines asked; a denial of any of them wins.",
    )
    super_users: list[str] = Field(
        default=[],
        max_length=SUPER_USERS_MAX,
        description="Principals that may do everything, written User:name.",
    )
    allow_everyone_if_no_acl_found: bool = Field(
        default=False, description="Whether a resource without any rule is open to every authenticated user."
    )

    @field_validator("super_users")
    @classmethod
    def _principals(cls, names: list[str]) -> list[str]:
        for name in names:
            kind, colon, user = name.partition(":")
            if not colon or kind.lower() != "user" or not user:
                raise ValueError(f"{name!r} is not of the form User:name")
        return ["User:" + name.partition(":")[2] for name in names]


class LimitsConfig(_Strict):
    """Bounds that keep one client from harming the others."""

    max_connections: int = Field(
        default=_kafka_default("max.connections"), ge=1, le=INT_MAX, description="Connections in total."
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


class MetricsConfig(_Strict):
    """The HTTP listener with /metrics, /healthz and /readyz."""

    enabled: bool = Field(default=True, description="Whether the listener exists.")
    bind: HostPort = Field(
        default="127.0.0.1:9644", description="Its address; loopback, as nobody authenticates there."
    )


class LoggingConfig(_Strict):
    """What the broker writes to standard error."""

    format: Literal["json", "human"] = Field(default="json", description="One JSON object a line, or text.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severity."
    )


class Config(_Strict):
    """Everything a broker is started with."""

    insecure: bool = Field(
        default=False,
        description="Allows listeners without authentication, and passwords or metrics on open networks.",
    )
    data_dir: FilePath = Field(default=Path("data"), description="Where everything is stored.")
    node: NodeConfig = Field(default=NodeConfig(), description="Identity.")
    listeners: list[ListenerConfig] = Field(
        min_length=1, max_length=LISTENERS_MAX, description="Addresses clients connect to."
    )
    server: ServerConfig = Field(default=ServerConfig(), description="Shared by the listeners.")
    auth: AuthConfig = Field(default=AuthConfig(), description="Authentication.")
    authorization: AuthorizationConfig = Field(default=AuthorizationConfig(), description="Authorisation.")
    limits: LimitsConfig = Field(default=LimitsConfig(), description="Bounds.")
    broker_overrides: dict[str, str] = Field(
        default={}, alias="broker", description="Broker settings by their Kafka names."
    )
    metrics: MetricsConfig = Field(default=MetricsConfig(), description="Metrics and health.")
    logging: LoggingConfig = Field(default=LoggingConfig(), description="Logs.")
    shutdown_timeout_secs: Seconds = Field(
        default=30.0, description="Time to finish requests and flush after SIGTERM."
    )
    dev: bool = Field(default=False, exclude=True, description="Started with --dev; not a key of the file.")

    @cached_property
    def broker(self) -> Mapping[str, SettingValue]:
        """Every broker setting by its Kafka name, defaults included, keys of `limits` under their Kafka
        names."""
        return MappingProxyType({**broker_defaults(), **self._from_limits(), **self._own_broker_values()})

    @cached_property
    def broker_explicit(self) -> frozenset[str]:
        """Kafka names of the broker settings that the file or the environment set."""
        from_limits = {
            name
            for name, setting in BROKER_SETTINGS.items()
            if setting.file_key and setting.file_key.removeprefix("limits.") in self.limits.model_fields_set
        }
        return frozenset(self.broker_overrides) | from_limits

    @cached_property
    def topic_defaults(self) -> Mapping[str, str]:
        """The default of every topic setting, as text by its Kafka name."""
        return MappingProxyType(topic_defaults({name: self.broker[name] for name in self.broker_explicit}))

    def tls_of(self, listener: ListenerConfig) -> TlsConfig | None:
        """The TLS settings a listener uses: its own, else those of the server; None without TLS."""
        return (listener.tls or self.server.tls) if listener.uses_tls else None

    def _own_broker_values(self) -> dict[str, SettingValue]:
        return parse_broker_settings(self.broker_overrides)

    def _from_limits(self) -> dict[str, SettingValue]:
        return {
            name: _limit_value(setting, self.limits)
            for name, setting in BROKER_SETTINGS.items()
            if setting.file_key
        }

    @field_validator("broker_overrides", mode="before")
    @classmethod
    def _texts(cls, values: object) -> object:
        if not isinstance(values, Mapping):
            raise ValueError("must be a mapping of Kafka setting names to values")
        return {name: _text(value) for name, value in values.items()}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Config:
        self._check_listeners()
        if self.metrics.enabled and not parse_address(self.metrics.bind).loopback and not self.insecure:
            raise ValueError("metrics.bind: must be a loopback address unless insecure: true")
        self._check_settings()
        return self

    def _check_listeners(self) -> None:
        seen: set[str] = set()
        for index, listener in enumerate(self.listeners):
            where = f"listeners[{index}]"
            if listener.name.lower() in seen:
                raise ValueError(f"{where}.name: {listener.name!r} is used twice")
            seen.add(listener.name.lower())
            if listener.uses_tls and self.tls_of(listener) is None:
                raise ValueError(f"{where}.protocol: {listener.protocol} needs server.tls or {where}.tls")
            if self.insecure:
                continue
            if not listener.uses_sasl:
                raise ValueError(
                    f"{where}.protocol: {listener.protocol} lets in everybody without a password; "
                    "use sasl_ssl, or write insecure: true at the top"
                )
            if not listener.uses_tls and not listener.address.loopback:
                raise ValueError(
                    f"{where}.protocol: sasl_plaintext sends data in the clear beyond this machine; "
                    "use sasl_ssl, or write insecure: true at the top"
                )

    def _check_settings(self) -> None:
        for name in self.broker_overrides:
            setting = BROKER_SETTINGS.get(name)
            if setting is not None and setting.file_key:
                raise ValueError(f"broker.{name}: is set by the key {setting.file_key}")
        try:
            broker = self.broker
            topic_config({}, self.topic_defaults)
        except SettingError as error:
            raise ValueError(f"broker.{error}") from None
        for small, large in _ORDERED:
            low, high = broker[small], broker[large]
            if isinstance(low, int) and isinstance(high, int) and low > high:
                raise ValueError(f"broker: {small} ({low}) is more than {large} ({high})")


_ORDERED = (
    ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
    ("sasl.server.max.receive.size", "socket.request.max.bytes"),
    ("message.max.bytes", "socket.request.max.bytes"),  # a batch travels in one request
    ("socket.request.max.bytes", "queued.max.request.bytes"),  # else the largest request is never admitted
)
"""Pairs of settings whose first must not exceed the second."""


def _text(value: object) -> str:
    """A YAML value as the text the settings tables parse."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, int | float | str):
        return str(value)
    raise ValueError("each setting needs a text, number, boolean or list of names")


def _limit_value(setting: Setting, limits: LimitsConfig) -> int:
    """The value of a Kafka setting that a key of `limits` sets, in Kafka's unit."""
    key = (setting.file_key or "").removeprefix("limits.")
    value: float = getattr(limits, key)
    return round(value * 1000) if key.endswith("_secs") else int(value)
