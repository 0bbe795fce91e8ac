"""ApiVersions: what the broker speaks (KIP-35, KIP-511, features KIP-584).

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class ApiVersionsRequest(Request, api=ApiKey.API_VERSIONS):
    client_software_name: str = s.string("3+")
    client_software_version: str = s.string("3+")


class ApiVersionsResponse(Response, api=ApiKey.API_VERSIONS):
    class ApiVersion(Struct):
        api_key: int = s.i16()
        min_version: int = s.i16()
        max_version: int = s.i16()

    class SupportedFeatureKey(Struct):
        name: str = s.string()
        min_version: int = s.i16()
        max_version: int = s.i16()

    class FinalizedFeatureKey(Struct):
        name: str = s.string()
        max_version_level: int = s.i16()
        min_version_level: int = s.i16()

    error_code: int = s.i16()
    api_keys: list[ApiVersionsResponse.ApiVersion] = s.array("ApiVersion")
    throttle_time_ms: int = s.i32("1+")
    supported_features: list[ApiVersionsResponse.SupportedFeatureKey] = s.array(
        "SupportedFeatureKey", "3+", tag=0
    )
    finalized_features_epoch: int = s.i64("3+", default=-1, tag=1)
    finalized_features: list[ApiVersionsResponse.FinalizedFeatureKey] = s.array(
        "FinalizedFeatureKey", "3+", tag=2
    )
    zk_migration_ready: bool = s.boolean("3+", tag=3)
