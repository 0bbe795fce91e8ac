"""Routes about revoked certificates and JWTs. A revocation ends live sessions before its answer leaves, or a
tenth of a second later."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.routes import Call, Permission, Route
from rivven.metadata.revocations import (
    CERTIFICATE_FINGERPRINT,
    CERTIFICATE_SERIAL,
    Revocation,
    Revocations,
    Revoke,
    TakeBack,
)
from rivven.metadata.service import MetadataService
from rivven.security.authn.denied_certificates import normal_fingerprint, normal_serial
from rivven.types import Operation

TEXT_MAX = 2_048
"""As long as the metadata takes."""


class RevocationRequest(BaseModel):
    """What no longer counts, named in one of four ways."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["certificate-fingerprint", "certificate-serial", "jwt-id", "jwt-subject"]
    value: str = Field(
        min_length=1,
        max_length=TEXT_MAX,
        description="The SHA-256 fingerprint or serial number in hex, the jti, or the sub.",
    )
    issuer: str = Field(
        default="",
        max_length=TEXT_MAX,
        description="The issuing authority's name (RFC 2253) or iss; empty means any, but not for a subject.",
    )
    issued_before_ms: int | None = Field(
        default=None, ge=0, le=2**53, description="For a subject: tokens issued before this do not count."
    )
    reason: str = Field(default="", max_length=TEXT_MAX, description="For people and the log.")
    forget_after_ms: int | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="When the credential has ended by itself, so that the entry may go; null keeps it.",
    )

    @model_validator(mode="after")
    def _hex_in_one_spelling(self) -> RevocationRequest:
        if self.kind == CERTIFICATE_FINGERPRINT:
            self.value = normal_fingerprint(self.value)
        elif self.kind == CERTIFICATE_SERIAL:
            self.value = normal_serial(self.value)
        return self


class RevocationInfo(BaseModel):
    """One revocation. Times are milliseconds since 1970."""

    id: str
    kind: str
    value: str
    issuer: str
    issued_before_ms: int | None
    reason: str
    revoked_at_ms: int
    forget_after_ms: int | None


def routes(metadata: MetadataService) -> list[Route]:
    """The rows of this module."""

    async def listing(call: Call) -> Listing[RevocationInfo]:
        entries = metadata.image.of(Revocations).entries()
        return page(entries, lambda one: one.id, _shown, call.query)

    async def revoke(call: Call) -> RevocationInfo:
        return _shown(await metadata.submit(Revoke(_entry(call.body, call.now_ms))))

    async def take_back(call: Call) -> None:
        await metadata.submit(TakeBack(call.path["id"]))

    return [
        Route(
            "GET",
            "/v1/revocations",
            Permission(Operation.DESCRIBE),
            listing,
            "Certificates and JWTs that no longer count",
            Listing[RevocationInfo],
            query=PageQuery,
        ),
        Route(
            "POST",
            "/v1/revocations",
            Permission(Operation.ALTER),
            revoke,
            "Revoke a certificate or a JWT; its sessions end",
            RevocationInfo,
            request=RevocationRequest,
            status=201,
            audited="session_change",
            names=lambda call: f"revocation:{_entry(call.body, 0).id}",
            facts=lambda call: call.body.model_dump(exclude_none=True),
        ),
        Route(
            "DELETE",
            "/v1/revocations/{id}",
            Permission(Operation.ALTER),
            take_back,
            "Take a revocation back",
            status=204,
            audited="session_change",
            target="revocation:{id}",
        ),
    ]


def _entry(body: RevocationRequest, now_ms: int) -> Revocation:
    return Revocation(
        body.kind,
        body.value,
        body.issuer,
        body.issued_before_ms,
        body.reason,
        now_ms,
        body.forget_after_ms,
    )


def _shown(entry: Revocation) -> RevocationInfo:
    return RevocationInfo(
        id=entry.id,
        kind=entry.kind,
        value=entry.value,
        issuer=entry.issuer,
        issued_before_ms=entry.issued_before_ms,
        reason=entry.reason,
        revoked_at_ms=entry.revoked_at_ms,
        forget_after_ms=entry.forget_after_ms,
    )
