"""The configuration file as strict values: what may stand in it, its defaults, and what contradicts what.

Values only: no file, environment or socket is touched here. A key exists only if the broker enforces it;
unknown keys are refused by `load`. Key names are those of the Rivven security document where it has one.
Units are in the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, field_validator, model_validator

from rivven.config.admin import AdminConfig
from rivven.config.audit import AuditConfig
from rivven.config.authentication import AuthConfig
from rivven.config.authorization import AuthorizationConfig
from rivven.config.broker_settings import (
    BROKER_SETTINGS,
    broker_defaults,
    parse_broker_settings,
    topic_defaults,
)
from rivven.config.file_keys import is_given, value_of
from rivven.config.limits import LimitsConfig
from rivven.config.listeners import ListenerConfig
from rivven.config.oidc import issuers_problem
from rivven.config.quotas import RateLimitingConfig, SecurityConfig, ValidationConfig
from rivven.config.settings import INT_MAX, SettingError, SettingValue
from rivven.config.storage import StorageConfig
from rivven.config.tls import TlsConfig
from rivven.config.topic_settings import topic_config
from rivven.config.values import FilePath, HostPort, Seconds, Strict, parse_address

LISTENERS_MAX = 16  # each takes a socket and an entry in every Metadata answer


class NodeConfig(Strict):
    """Who this node is in the cluster."""

    id: int = Field(default=1, ge=0, le=INT_MAX, description="The node id clients see; fixed at first start.")


class ServerConfig(Strict):
    """What all listeners share."""

    tls: TlsConfig | None = Field(
        default=None, description="Certificate of every TLS listener without its own."
    )


class MetricsConfig(Strict):
    """The HTTP listener with /metrics, /healthz and /readyz."""

    enabled: bool = Field(default=True, description="Whether the listener exists.")
    bind: HostPort = Field(
        default="127.0.0.1:9644", description="Its address; loopback, as nobody authenticates there."
    )


class LoggingConfig(Strict):
    """What the broker writes to standard error."""

    format: Literal["json", "human"] = Field(default="json", description="One JSON object a line, or text.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severity."
    )


class Config(Strict):
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
    audit: AuditConfig = Field(default=AuditConfig(), description="The audit trail.")
    storage: StorageConfig = Field(default=StorageConfig(), description="What is on the disk.")
    limits: LimitsConfig = Field(default=LimitsConfig(), description="Bounds.")
    rate_limiting: RateLimitingConfig = Field(default=RateLimitingConfig(), description="Rates of requests.")
    validation: ValidationConfig = Field(default=ValidationConfig(), description="Shapes of data.")
    security: SecurityConfig = Field(default=SecurityConfig(), description="What concerns all listeners.")
    broker_overrides: dict[str, str] = Field(
        default={}, alias="broker", description="Broker settings by their Kafka names."
    )
    admin: AdminConfig | None = Field(default=None, description="The Admin API.")
    metrics: MetricsConfig = Field(default=MetricsConfig(), description="Metrics and health.")
    logging: LoggingConfig = Field(default=LoggingConfig(), description="Logs.")
    shutdown_timeout_secs: Seconds = Field(
        default=30.0,
        description="After SIGTERM, time to finish requests, and as long again to flush and close. What "
        "takes longer is given up as in a crash: the next start recovers.",
    )
    dev: bool = Field(default=False, exclude=True, description="Started with --dev; not a key of the file.")

    @cached_property
    def broker(self) -> Mapping[str, SettingValue]:
        """Every broker setting by its Kafka name, defaults included, keys of the file that set one under
        the Kafka name."""
        return MappingProxyType({**broker_defaults(), **self._from_keys(), **self._own_broker_values()})

    @cached_property
    def broker_explicit(self) -> frozenset[str]:
        """Kafka names of the broker settings that the file or the environment set."""
        by_key = {name for name, setting in BROKER_SETTINGS.items() if is_given(self, setting)}
        return frozenset(self.broker_overrides) | by_key

    @cached_property
    def topic_defaults(self) -> Mapping[str, str]:
        """The default of every topic setting, as text by its Kafka name."""
        return MappingProxyType(topic_defaults({name: self.broker[name] for name in self.broker_explicit}))

    def tls_of(self, listener: ListenerConfig) -> TlsConfig | None:
        """The TLS settings a listener uses: its own, else those of the server; None without TLS."""
        return (listener.tls or self.server.tls) if listener.uses_tls else None

    def authenticates(self, listener: ListenerConfig) -> bool:
        """Whether nobody gets in on this listener without proving who he is."""
        tls = self.tls_of(listener)
        return listener.uses_sasl or (tls is not None and tls.client_auth == "required")

    def names_by_certificate(self, listener: ListenerConfig) -> bool:
        """Whether client certificates say who is there: with SASL on top it is SASL that does."""
        tls = self.tls_of(listener)
        return tls is not None and tls.client_auth != "none" and not listener.uses_sasl

    @property
    def admin_tls(self) -> TlsConfig | None:
        """The TLS settings of the Admin API: its own, else those of the server; None without TLS."""
        return (self.admin.tls if self.admin else None) or self.server.tls

    @property
    def admin_asks_for_certificates(self) -> bool:
        """Whether callers of the Admin API may or must show a certificate."""
        tls = self.admin_tls
        return self.admin is not None and self.admin.enabled and tls is not None and tls.client_auth != "none"

    @property
    def admin_takes_tokens(self) -> bool:
        """Whether the Admin API lets callers in by bearer tokens, which it does over TLS only."""
        return self.admin is not None and self.admin.enabled and self.admin_tls is not None

    @property
    def admin_names(self) -> frozenset[str]:
        """The host names callers of the Admin API may use, lower case."""
        own = self.admin.own_names if self.admin else frozenset()
        return own | {listener.advertised_address.host.lower() for listener in self.listeners}

    @property
    def other_name_sources(self) -> dict[str, str]:
        """The prefixes of external sources of names that are no issuers, by what to call them."""
        if self.admin_asks_for_certificates or any(map(self.names_by_certificate, self.listeners)):
            return {"auth.mtls_mapping": self.auth.mtls_mapping.prefix}
        return {}

    def _own_broker_values(self) -> dict[str, SettingValue]:
        return parse_broker_settings(self.broker_overrides)

    def _from_keys(self) -> dict[str, SettingValue]:
        return {
            name: value_of(self, setting) for name, setting in BROKER_SETTINGS.items() if setting.file_key
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
        self._check_issuers()
        self._check_certificates()
        if self.metrics.enabled and not parse_address(self.metrics.bind).loopback and not self.insecure:
            raise ValueError("metrics.bind: must be a loopback address unless insecure: true")
        if self.admin and self.admin.enabled and self.admin_tls is None and not self.insecure:
            raise ValueError("admin: needs server.tls or admin.tls, or insecure: true at the top")
        problem = self.storage.problem(self.data_dir)
        if problem is not None:
            raise ValueError(f"storage.{problem}")
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
            if listener.uses_sasl and not listener.sasl:
                object.__setattr__(listener, "sasl", list(self.auth.mechanism))
            if "PLAIN" in listener.sasl and not listener.uses_tls:
                raise ValueError(
                    f"{where}.sasl: PLAIN sends the password itself, which everybody on the way can read "
                    f"with {listener.protocol}: use sasl_ssl, or a SCRAM mechanism"
                )
            if "OAUTHBEARER" in listener.sasl and not listener.uses_tls:
                raise ValueError(
                    f"{where}.sasl: OAUTHBEARER sends the token itself, which everybody on the way could use"
                    f" with {listener.protocol} (RFC 7628 4): use sasl_ssl"
                )
            if self.insecure:
                continue
            if not self.authenticates(listener):
                raise ValueError(
                    f"{where}.protocol: {listener.protocol} lets in everybody without a password; use "
                    "sasl_ssl, or ssl with tls.client_auth: required, or write insecure: true at the top"
                )
            if not listener.uses_tls and not listener.address.loopback:
                raise ValueError(
                    f"{where}.protocol: sasl_plaintext sends data in the clear beyond this machine; "
                    "use sasl_ssl, or write insecure: true at the top"
                )

    def _check_issuers(self) -> None:
        problem = issuers_problem(self.auth.oidc.issuers, self.insecure, self.other_name_sources)
        if problem is not None:
            raise ValueError(f"auth.oidc.{problem}")
        by_token = any("OAUTHBEARER" in listener.sasl for listener in self.listeners)
        if self.auth.oidc.given and not by_token and not self.admin_takes_tokens:
            raise ValueError(
                "auth.oidc: has no effect: no listener offers OAUTHBEARER and there is no Admin API over TLS"
            )

    def _check_certificates(self) -> None:
        default = AuthConfig()
        given = [key for key in ("mtls", "mtls_mapping") if getattr(self.auth, key) != getattr(default, key)]
        tls = [self.tls_of(listener) for listener in self.listeners]
        asked = any(one is not None and one.client_auth != "none" for one in tls)
        if given and not asked and not self.admin_asks_for_certificates:
            raise ValueError(f"auth.{given[0]}: has no effect: no tls.client_auth asks for certificates")

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
