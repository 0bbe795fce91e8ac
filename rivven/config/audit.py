"""The section `audit`: what is recorded, where it goes, and what happens when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from rivven.config.secrets import SecretReference
from rivven.config.values import FilePath, HostPort, Strict

OUTPUTS_MAX = 8  # each takes a thread and a queue

EVENT_NAMES = (
    "authentication",
    "authorization",
    "session",
    "lifecycle",
    "topic_create",
    "topic_delete",
    "topic_alter",
    "records_delete",
    "config_change",
    "acl_change",
    "user_change",
    "token_change",
    "role_change",
    "policy_change",
    "key_change",
    "session_change",
    "group_change",
    "quota_change",
    "cluster_change",
)
"""Everything `audit.events` can name; the same words as in the events (a test compares them)."""

FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv"),
    *("ftp", "ntp", "audit", "alert", "clock", *(f"local{number}" for number in range(8))),
)
"""RFC 5424 table 1, in order of their codes."""

_FIELDS: dict[str, frozenset[str]] = {
    "file": frozenset({"path"}),
    "topic": frozenset({"topic"}),
    "stream": frozenset(
        {"bootstrap_servers", "topic", "security_protocol", "mechanism", "username", "password", "ca_path"}
    ),
    "syslog": frozenset({"address", "facility", "transport", "ca_path"}),
}
"""What each built-in type understands besides `type` and `required`."""

AUDIT_TOPIC = "__rivven_audit"


class AuditOutput(Strict):
    """One place audit lines go to."""

    type: str = Field(description="file, topic, stream, syslog, or the name of an installed audit sink.")
    required: bool | None = Field(
        default=None,
        description=(
            "Whether changes are refused and data waits when it fails; only the file is by default. Not "
            "possible for syslog, which confirms nothing."
        ),
    )
    path: FilePath | None = Field(default=None, description="file: the file; audit.log_path by default.")
    topic: str | None = Field(
        default=None, description=f"topic, stream: the topic; {AUDIT_TOPIC} by default for topic."
    )
    bootstrap_servers: str | None = Field(default=None, description="stream: host:port of another cluster.")
    security_protocol: Literal["ssl", "sasl_ssl", "plaintext", "sasl_plaintext"] | None = Field(
        default=None, description="stream: how to connect; sasl_ssl by default."
    )
    mechanism: str | None = Field(default=None, description="stream: SASL mechanism, SCRAM-SHA-512.")
    username: str | None = Field(default=None, description="stream: the user.")
    password: SecretReference | None = Field(default=None, description="stream: its password.")
    ca_path: FilePath | None = Field(default=None, description="stream, syslog: who signs its certificate.")
    address: HostPort | None = Field(default=None, description="syslog: host:port.")
    facility: str | None = Field(default=None, description="syslog: the facility; auth by default.")
    transport: Literal["udp", "tcp", "tls"] | None = Field(
        default=None, description="syslog: udp by default, which loses messages; tls is RFC 5425."
    )
    options: dict[str, str] = Field(default={}, description="Settings of an installed audit sink.")

    @property
    def is_required(self) -> bool:
        """Whether the trail may not go on without it."""
        return self.type == "file" if self.required is None else self.required

    @model_validator(mode="after")
    def _fits_its_type(self) -> AuditOutput:
        given = self.model_fields_set - {"type", "required"}
        allowed = _FIELDS.get(self.type, frozenset({"options"}))
        for name in sorted(given - allowed):
            raise ValueError(f"{name}: means nothing for type {self.type}")
        if self.type == "stream" and (not self.bootstrap_servers or not self.topic):
            raise ValueError("type stream needs bootstrap_servers and topic")
        if self.type == "stream" and (self.username is None) is not (self.password is None):
            raise ValueError("type stream needs username and password together")
        if self.type == "syslog" and not self.address:
            raise ValueError("type syslog needs an address")
        if self.type == "syslog" and self.required:
            raise ValueError("required: a syslog server confirms nothing, so it cannot be required")
        if self.facility is not None and self.facility not in FACILITIES:
            raise ValueError(f"facility: {self.facility!r} is none of {', '.join(FACILITIES)}")
        return self


class AuditRotation(Strict):
    """When a file is full."""

    max_bytes: int = Field(default=104_857_600, ge=65_536, description="Bytes of one file.")
    max_age_hours: float = Field(default=24.0, gt=0, le=8_760, description="Age of a file's first line.")


class AuditRetention(Strict):
    """When a full file is removed; the current one never is."""

    max_files: int | None = Field(default=None, ge=1, le=100_000, description="Full files kept; null: all.")
    max_age_days: float | None = Field(
        default=365.0, gt=0, le=36_500, description="Age of a file's last line; null: no limit."
    )


class AuditConfig(Strict):
    """The audit trail."""

    enabled: bool = Field(default=True, description="Whether anything is recorded.")
    log_path: FilePath | None = Field(
        default=None, description="The audit log; audit/audit.log in the data directory by default."
    )
    format: Literal["json"] = Field(default="json", description="One JSON object a line.")
    events: list[str] = Field(
        default=list(EVENT_NAMES),
        max_length=len(EVENT_NAMES),
        description="Types of events that are recorded; starts, stops and the trail itself always are.",
    )
    allowed: Literal["counts", "each"] = Field(
        default="counts",
        description="Allowed decisions: the first use and counts per minute, or each one.",
    )
    overflow: Literal["block", "count"] = Field(
        default="count",
        description=(
            "When required outputs fall behind: hold requests back, or drop events of clients' requests and "
            "record how many."
        ),
    )
    queue_events: int = Field(
        default=10_000, ge=100, le=1_000_000, description="Events that may wait for an output."
    )
    fsync_interval_ms: int = Field(
        default=1000,
        ge=0,
        le=60_000,
        description="Time until what clients do is on stable storage; changes always wait for it.",
    )
    rotation: AuditRotation = Field(default=AuditRotation(), description="When a file is full.")
    retention: AuditRetention = Field(default=AuditRetention(), description="When a full file is removed.")
    output: list[AuditOutput] = Field(
        default=[], max_length=OUTPUTS_MAX, description="Where lines go; the file alone when empty."
    )

    @property
    def outputs(self) -> list[AuditOutput]:
        """Where lines go."""
        return self.output or [AuditOutput(type="file")]

    @field_validator("events")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in EVENT_NAMES:
                raise ValueError(f"{name!r} is none of {', '.join(EVENT_NAMES)}")
        return names

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> AuditConfig:
        files = [output for output in self.outputs if output.type == "file"]
        if len(files) > 1:
            raise ValueError("output: one file is enough; lines are the same everywhere")
        if self.log_path is not None and not files:
            raise ValueError("log_path: no output has the type file")
        if self.log_path is not None and files[0].path is not None:
            raise ValueError("log_path: is said twice, here and in output")
        return self

    def file_path(self, data_dir: Path) -> Path | None:
        """Where the audit log is; None without one."""
        for output in self.outputs:
            if output.type == "file":
                return output.path or self.log_path or data_dir / "audit" / "audit.log"
        return None
