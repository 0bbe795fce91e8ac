"""Client quotas (KIP-546). Declarations only; field names, order and version spans are Kafka's."""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class DescribeClientQuotasRequest(Request, api=ApiKey.DESCRIBE_CLIENT_QUOTAS):
    class ComponentData(Struct):
        entity_type: str = s.string()
        match_type: int = s.i8()
        match: str | None = s.string(nullable="")

    components: list[DescribeClientQuotasRequest.ComponentData] = s.array("ComponentData")
    strict: bool = s.boolean()


class DescribeClientQuotasResponse(Response, api=ApiKey.DESCRIBE_CLIENT_QUOTAS):
    class EntityData(Struct):
        entity_type: str = s.string()
        entity_name: str | None = s.string(nullable="")

    class ValueData(Struct):
        key: str = s.string()
        value: float = s.f64()

    class EntryData(Struct):
        entity: list[DescribeClientQuotasResponse.EntityData] = s.array("EntityData")
        values: list[DescribeClientQuotasResponse.ValueData] = s.array("ValueData")

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16()
    error_message: str | None = s.string(nullable="")
    entries: list[DescribeClientQuotasResponse.EntryData] | None = s.array("EntryData", nullable="")


class AlterClientQuotasRequest(Request, api=ApiKey.ALTER_CLIENT_QUOTAS):
    class EntityData(Struct):
        entity_type: str = s.string()
        entity_name: str | None = s.string(nullable="")

    class OpData(Struct):
        key: str = s.string()
        value: float = s.f64()
        remove: bool = s.boolean()

    class EntryData(Struct):
        entity: list[AlterClientQuotasRequest.EntityData] = s.array("EntityData")
        ops: list[AlterClientQuotasRequest.OpData] = s.array("OpData")

    entries: list[AlterClientQuotasRequest.EntryData] = s.array("EntryData")
    validate_only: bool = s.boolean()


class AlterClientQuotasResponse(Response, api=ApiKey.ALTER_CLIENT_QUOTAS):
    class EntityData(Struct):
        entity_type: str = s.string()
        entity_name: str | None = s.string(nullable="")

    class EntryData(Struct):
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")
        entity: list[AlterClientQuotasResponse.EntityData] = s.array("EntityData")

    throttle_time_ms: int = s.i32()
    entries: list[AlterClientQuotasResponse.EntryData] = s.array("EntryData")
