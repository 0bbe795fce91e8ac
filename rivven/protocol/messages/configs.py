"""Configuration of topics, brokers and groups: describe, replace, alter.

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class DescribeConfigsRequest(Request, api=ApiKey.DESCRIBE_CONFIGS):
    class DescribeConfigsResource(Struct):
        resource_type: int = s.i8()
        resource_name: str = s.string()
        configuration_keys: list[str] | None = s.array("string", nullable="")

    resources: list[DescribeConfigsRequest.DescribeConfigsResource] = s.array("DescribeConfigsResource")
    include_synonyms: bool = s.boolean()
    include_documentation: bool = s.boolean("3+")


class DescribeConfigsResponse(Response, api=ApiKey.DESCRIBE_CONFIGS):
    class DescribeConfigsSynonym(Struct):
        name: str = s.string()
        value: str | None = s.string(nullable="")
        source: int = s.i8()

    class DescribeConfigsResourceResult(Struct):
        name: str = s.string()
        value: str | None = s.string(nullable="")
        read_only: bool = s.boolean()
        config_source: int = s.i8(default=-1)
        is_sensitive: bool = s.boolean()
        synonyms: list[DescribeConfigsResponse.DescribeConfigsSynonym] = s.array("DescribeConfigsSynonym")
        config_type: int = s.i8("3+")
        documentation: str | None = s.string("3+", nullable="")

    class DescribeConfigsResult(Struct):
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")
        resource_type: int = s.i8()
        resource_name: str = s.string()
        configs: list[DescribeConfigsResponse.DescribeConfigsResourceResult] = s.array(
            "DescribeConfigsResourceResult"
        )

    throttle_time_ms: int = s.i32()
    results: list[DescribeConfigsResponse.DescribeConfigsResult] = s.array("DescribeConfigsResult")


class AlterConfigsRequest(Request, api=ApiKey.ALTER_CONFIGS):
    class AlterableConfig(Struct):
        name: str = s.string()
        value: str | None = s.string(nullable="")

    class AlterConfigsResource(Struct):
        resource_type: int = s.i8()
        resource_name: str = s.string()
        configs: list[AlterConfigsRequest.AlterableConfig] = s.array("AlterableConfig")

    resources: list[AlterConfigsRequest.AlterConfigsResource] = s.array("AlterConfigsResource")
    validate_only: bool = s.boolean()


class AlterConfigsResponse(Response, api=ApiKey.ALTER_CONFIGS):
    class AlterConfigsResourceResponse(Struct):
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")
        resource_type: int = s.i8()
        resource_name: str = s.string()

    throttle_time_ms: int = s.i32()
    responses: list[AlterConfigsResponse.AlterConfigsResourceResponse] = s.array(
        "AlterConfigsResourceResponse"
    )


class IncrementalAlterConfigsRequest(Request, api=ApiKey.INCREMENTAL_ALTER_CONFIGS):
    class AlterableConfig(Struct):
        name: str = s.string()
        config_operation: int = s.i8()
        value: str | None = s.string(nullable="")

    class AlterConfigsResource(Struct):
        resource_type: int = s.i8()
        resource_name: str = s.string()
        configs: list[IncrementalAlterConfigsRequest.AlterableConfig] = s.array("AlterableConfig")

    resources: list[IncrementalAlterConfigsRequest.AlterConfigsResource] = s.array("AlterConfigsResource")
    validate_only: bool = s.boolean()


class IncrementalAlterConfigsResponse(Response, api=ApiKey.INCREMENTAL_ALTER_CONFIGS):
    class AlterConfigsResourceResponse(Struct):
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")
        resource_type: int = s.i8()
        resource_name: str = s.string()

    throttle_time_ms: int = s.i32()
    responses: list[IncrementalAlterConfigsResponse.AlterConfigsResourceResponse] = s.array(
        "AlterConfigsResourceResponse"
    )


class ListConfigResourcesRequest(Request, api=ApiKey.LIST_CONFIG_RESOURCES):
    resource_types: list[int] = s.array("i8", "1+")


class ListConfigResourcesResponse(Response, api=ApiKey.LIST_CONFIG_RESOURCES):
    class ConfigResource(Struct):
        resource_name: str = s.string()
        resource_type: int = s.i8("1+", default=16)

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16()
    config_resources: list[ListConfigResourcesResponse.ConfigResource] = s.array("ConfigResource")
