"""Routes about erasing topics, and about what proves it: shredding and certificates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, Field

from rivven.audit.events import principal_text
from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.routes import Call, Input, Media, Permission, Raw, Route
from rivven.security.keys.operations import CertificateEntry, KeyService
from rivven.types import Operation

TOPIC_NAME_MAX = 249

JSON = Media("application/json")

NeedsKeys = Callable[[Callable[[KeyService, Call], Awaitable[Any]]], Callable[[Call], Awaitable[Any]]]
"""Gives a handler its service, or answers that there is none."""


class ShredRequest(Input):
    """What is to be erased for ever."""

    topic: str = Field(min_length=1, max_length=TOPIC_NAME_MAX)
    accept_plaintext_history: bool = Field(
        default=False,
        description="Go on although records were stored unencrypted, where destroying keys does not reach.",
    )


class CertificateInfo(BaseModel):
    """One erasure certificate."""

    id: str
    topic: str
    state: str = Field(description="complete or pending.")
    finished_at: str = Field(description="When the steps were done; of a completion, when it was confirmed.")
    completes: str = Field(description="The pending certificate that it completes; empty for a first one.")
    completed_by: str = Field(description="The certificate that completes it.")
    problem: str = Field(description="Why it will not be completed by waiting; empty otherwise.")


def routes(needs_keys: NeedsKeys) -> list[Route]:
    """The rows of this module."""

    @needs_keys
    async def shred(keys: KeyService, call: Call) -> Raw:
        body, principal = call.body, principal_text(call.subject.principal)
        accept = body.accept_plaintext_history
        return Raw(await keys.shred(body.topic, principal, accept_plaintext=accept))

    @needs_keys
    async def certificates(keys: KeyService, call: Call) -> Listing[CertificateInfo]:
        return page(await keys.certificates(), lambda one: one.id, _certificate, call.query)

    @needs_keys
    async def certificate(keys: KeyService, call: Call) -> Raw:
        return Raw(await keys.certificate(call.path["id"]))

    return [
        Route(
            "POST",
            "/v1/keys/shred",
            Permission(Operation.ALTER),
            shred,
            "Delete a topic and destroy its keys for ever; the answer is the erasure certificate",
            JSON,
            request=ShredRequest,
            audited="key_change",
            names=lambda call: f"topic:{call.body.topic}",
            facts=lambda call: {
                "operation": "shred",
                "accept_plaintext_history": call.body.accept_plaintext_history,
            },
        ),
        Route(
            "GET",
            "/v1/keys/certificates",
            Permission(Operation.DESCRIBE),
            certificates,
            "Erasure certificates",
            Listing[CertificateInfo],
            query=PageQuery,
        ),
        Route(
            "GET",
            "/v1/keys/certificates/{id}",
            Permission(Operation.DESCRIBE),
            certificate,
            "One erasure certificate",
            JSON,
        ),
    ]


def _certificate(entry: CertificateEntry) -> CertificateInfo:
    return CertificateInfo(
        id=entry.id,
        topic=entry.topic,
        state=entry.state,
        finished_at=entry.finished_at,
        completes=entry.completes,
        completed_by=entry.completed_by,
        problem=entry.problem,
    )
