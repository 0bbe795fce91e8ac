"""Routes about the broker itself: metrics, health, who the caller is, cluster, listeners, certificates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, Field

from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.problems import Problem
from rivven.http.admin.routes import Call, Media, Open, Permission, Raw, Route, Self_
from rivven.http.admin.services import BrokerView, ListenerView
from rivven.http.exposition import CONTENT_TYPE, Exposition
from rivven.security.certificate import MalformedCertificate, validity
from rivven.types import Operation

DESCRIBE = Permission(Operation.DESCRIBE)


class Health(BaseModel):
    """Yes or no: why not stands in the log and on the metrics."""

    healthy: bool


class Readiness(BaseModel):
    """Whether clients are served."""

    ready: bool


class Caller(BaseModel):
    """Whom the broker takes the caller for."""

    principal: str
    groups: list[str]
    mechanism: str = Field(description="BASIC, BEARER, MTLS, or none on an insecure listener.")
    credential: str = Field(description="password, token, jwt, certificate or none.")
    expires_at_ms: int | None = Field(description="When the credential ends; null when it does not.")
    scope: list[str] | None = Field(description="The ceiling of a scoped token; null without one.")
    address: str


class ClusterInfo(BaseModel):
    """The cluster and this node."""

    cluster_id: str
    node_id: int
    version: str
    started_at_ms: int


class ListenerInfo(BaseModel):
    """One Kafka listener."""

    name: str
    address: str
    protocol: str
    mechanisms: list[str]
    connections: int = Field(description="Open connections.")


class CertificateInfo(BaseModel):
    """One certificate file the broker serves with."""

    key: str = Field(description="The configuration key that names the file.")
    not_before: str
    not_after: str = Field(description="The earliest end in the chain.")
    sha256: str = Field(description="The server certificate's fingerprint.")
    certificates: int = Field(description="Certificates in the file.")


def routes(broker: BrokerView) -> list[Route]:
    """The rows of this module."""
    exposition = Exposition(broker.metrics)

    async def metrics(_call: Call) -> Raw:
        return Raw(exposition.render())

    async def healthz(_call: Call) -> Health:
        if not broker.healthy():
            raise Problem(503, "not healthy")
        return Health(healthy=True)

    async def readyz(_call: Call) -> Readiness:
        if not broker.ready():
            raise Problem(503, "not ready")
        return Readiness(ready=True)

    async def cluster(_call: Call) -> ClusterInfo:
        return ClusterInfo(
            cluster_id=broker.cluster_id,
            node_id=broker.node_id,
            version=broker.version,
            started_at_ms=broker.started_at_ms,
        )

    async def listeners(call: Call) -> Listing[ListenerInfo]:
        return page(broker.listeners(), lambda one: one.name, _listener, call.query)

    async def certificates(call: Call) -> Listing[CertificateInfo]:
        found = broker.certificates()
        return page(found, str, lambda key: _certificate(key, found[key]), call.query)

    return [
        Route("GET", "/metrics", DESCRIBE, metrics, "Metrics for Prometheus", Media(CONTENT_TYPE)),
        Route("GET", "/healthz", Open("probes have no password"), healthz, "Whether data is safe", Health),
        Route(
            "GET", "/readyz", Open("probes have no password"), readyz, "Whether clients are served", Readiness
        ),
        Route(
            "GET",
            "/v1/whoami",
            Self_("about the caller only"),
            whoami,
            "Whom the broker takes you for",
            Caller,
        ),
        Route("GET", "/v1/cluster", DESCRIBE, cluster, "The cluster and this node", ClusterInfo),
        Route(
            "GET",
            "/v1/listeners",
            DESCRIBE,
            listeners,
            "The Kafka listeners",
            Listing[ListenerInfo],
            query=PageQuery,
        ),
        Route(
            "GET",
            "/v1/tls/certificates",
            DESCRIBE,
            certificates,
            "The server certificates and when they end",
            Listing[CertificateInfo],
            query=PageQuery,
        ),
    ]


async def whoami(call: Call) -> Caller:
    """The caller as this request proved it."""
    subject, identity = call.subject, call.identity
    return Caller(
        principal=str(subject.principal),
        groups=list(subject.groups),
        mechanism=subject.mechanism,
        credential=identity.credential.kind,
        expires_at_ms=identity.expires_at_ms,
        scope=None if identity.scope is None else list(identity.scope),
        address=subject.host,
    )


def _listener(one: ListenerView) -> ListenerInfo:
    return ListenerInfo(
        name=one.name,
        address=one.address,
        protocol=one.protocol,
        mechanisms=list(one.mechanisms),
        connections=one.connections,
    )


def _certificate(key: str, chain: Sequence[bytes]) -> CertificateInfo:
    """What new connections are shown; the file may hold another one by now that is refused."""
    try:
        periods = [validity(one) for one in chain]
    except MalformedCertificate as error:
        raise Problem(500, f"{key}: {error}") from None
    return CertificateInfo(
        key=key,
        not_before=_time(periods[0][0]),
        not_after=_time(min(end for _, end in periods)),
        sha256=hashlib.sha256(chain[0]).hexdigest(),
        certificates=len(chain),
    )


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
