"""What the routes of the Admin API work with; the composition root fills it, `catalogue` hands it out.

Values and types only. A part of the broker that has routes adds one field.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rivven.api.tokens import TokenService
from rivven.audit.trail import AuditTrail
from rivven.clock import Clock
from rivven.metadata.service import MetadataService
from rivven.security.authn.authenticator import Entropy
from rivven.security.authn.services import AuthenticationServices
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.roles import RoleDirectory
from rivven.security.keys.secrets import SecretService
from rivven.security.sessions import Sessions
from rivven.telemetry import Metrics

if TYPE_CHECKING:
    from rivven.audit.reading import Wanted
    from rivven.security.keys.operations import KeyService, Signing


@dataclass(frozen=True, slots=True)
class ListenerView:
    """One listener of the Kafka protocol: its real address, what it speaks, and how many are connected."""

    name: str
    address: str
    protocol: str
    mechanisms: tuple[str, ...]
    connections: int


@dataclass(frozen=True, slots=True)
class BrokerView:
    """The broker as operators see it. `certificates` are the server's chains (DER) in force, by the
    configuration keys of their pairs."""

    version: str
    node_id: int
    cluster_id: str
    started_at_ms: int
    metrics: Metrics
    healthy: Callable[[], bool]
    ready: Callable[[], bool]
    listeners: Callable[[], list[ListenerView]]
    certificates: Callable[[], Mapping[str, Sequence[bytes]]]


@dataclass(frozen=True, slots=True)
class AuditServices:
    """The trail, and a search of the newest part of its file (None: there is no file)."""

    trail: AuditTrail
    search: Callable[[Wanted, int], Awaitable[list[dict[str, Any]]]] | None


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What rows are built with; each part's `routes` takes the fields it needs."""

    broker: BrokerView
    metadata: MetadataService
    chain: AuthorizerChain
    roles: RoleDirectory
    sessions: Sessions
    authentication: AuthenticationServices
    tokens: TokenService
    scram_iterations: int
    """For passwords that people choose (``auth.scram.iterations``)."""
    audit: AuditServices
    clock: Clock
    entropy: Entropy
    broker_secrets: SecretService
    audit_signing: Signing
    keys: KeyService | None = None
    """None on a broker that never encrypted anything."""
