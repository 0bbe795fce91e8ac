"""Every route of the Admin API on one page. A part of the broker adds its rows here, one line each.

A route that is not in this list is not served; a test asks each row for its permission.
"""

from __future__ import annotations

from rivven.http.admin import (
    audit,
    authz,
    broker,
    keys,
    policies,
    quotas,
    revocations,
    roles,
    secrets,
    sessions,
    tokens,
    users,
)
from rivven.http.admin.document import OpenApiDocument
from rivven.http.admin.routes import Route
from rivven.http.admin.services import AdminServices
from rivven.security.authz.explain import Explainer


def all_routes(services: AdminServices, document: OpenApiDocument) -> list[Route]:
    """The table. Raises ValueError when two rows have the same method and path."""
    users_known = services.authentication.users
    explainer = Explainer(services.chain, services.roles, users_known, lambda: services.metadata.image.acls)
    rows = [
        *broker.routes(services.broker),
        *sessions.routes(services.sessions),
        *tokens.routes(services.tokens),
        *revocations.routes(services.metadata),
        *audit.routes(services.audit),
        *roles.routes(services.roles, services.metadata),
        *authz.routes(explainer),
        *policies.routes(services.chain),
        *users.routes(
            services.metadata, services.authentication, services.entropy, services.scram_iterations
        ),
        *quotas.routes(services.metadata),
        *keys.routes(services.keys, services.audit_signing),
        *secrets.routes(services.broker_secrets),
        *document.routes(),
    ]
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.method, row.path) in seen:
            raise ValueError(f"{row.method} {row.path} is in the table twice")
        seen.add((row.method, row.path))
    return rows
