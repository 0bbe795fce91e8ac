"""Routes about quotas: of users, clients, addresses, topics. Kafka's APIs 48 and 49 manage the same ones."""

from __future__ import annotations

from pydantic import BaseModel, Field

from rivven.errors import RivvenError
from rivven.http.admin.pages import Listing, PageQuery, page
from rivven.http.admin.problems import Problem
from rivven.http.admin.routes import Call, Input, Permission, Route
from rivven.metadata.quotas import ENTITY_TYPES, AlterQuotas, QuotaAlteration, QuotaFamily
from rivven.metadata.service import MetadataService
from rivven.types import Operation, QuotaEntity


class QuotaInfo(BaseModel):
    """The quotas of one entity."""

    key: str = Field(description="The entity in one line, such as client-id=x,user=<default>.")
    entity: dict[str, str | None] = Field(description="Names by entity type; null is the default.")
    values: dict[str, float] = Field(description="The quotas that hold.")


class QuotaChange(Input):
    """Changes of one entity; a quota of null is removed."""

    entity: dict[str, str | None] = Field(
        min_length=1,
        max_length=2,
        description=f"Names by entity type ({', '.join(sorted(ENTITY_TYPES))}); null is the default.",
    )
    values: dict[str, float | None] = Field(
        min_length=1, max_length=8, description="Quotas by Kafka's names, bytes or events a second, percent."
    )


def routes(metadata: MetadataService) -> list[Route]:
    """The rows of this module."""

    async def listing(call: Call) -> Listing[QuotaInfo]:
        stored = metadata.image.of(QuotaFamily).values
        return page(stored, _key, lambda entity: _shown(metadata, entity), call.query)

    async def alter(call: Call) -> QuotaInfo:
        entity: QuotaEntity = tuple(sorted(call.body.entity.items()))
        alteration = QuotaAlteration(entity, tuple(call.body.values.items()))
        [error] = await metadata.submit(AlterQuotas((alteration,)))
        if error is not None:
            raise _refused(error)
        return _shown(metadata, entity)

    return [
        Route(
            "GET",
            "/v1/quotas",
            Permission(Operation.DESCRIBE_CONFIGS),
            listing,
            "Quotas of users, clients, addresses and topics",
            Listing[QuotaInfo],
            query=PageQuery,
        ),
        Route(
            "POST",
            "/v1/quotas",
            Permission(Operation.ALTER_CONFIGS),
            alter,
            "Set and remove quotas of one entity",
            QuotaInfo,
            request=QuotaChange,
            audited="quota_change",
            names=lambda call: f"quota:{_key(tuple(sorted(call.body.entity.items())))}",
            facts=lambda call: {
                "quotas": [
                    f"{name}={'removed' if value is None else value}"
                    for name, value in call.body.values.items()
                ]
            },
        ),
    ]


def _key(entity: QuotaEntity) -> str:
    return ",".join(f"{kind}={'<default>' if name is None else name}" for kind, name in entity)


def _shown(metadata: MetadataService, entity: QuotaEntity) -> QuotaInfo:
    values = metadata.image.of(QuotaFamily).values.get(entity, {})
    return QuotaInfo(key=_key(entity), entity=dict(entity), values=dict(sorted(values.items())))


def _refused(error: RivvenError) -> Problem:
    return Problem(400, error.message)
