"""Delegation tokens (KIP-48, KIP-373): create, renew, expire, describe.

Declarations only; field names, order and version spans are Kafka's. The HMAC is the token's secret.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class CreateDelegationTokenRequest(Request, api=ApiKey.CREATE_DELEGATION_TOKEN):
    class CreatableRenewers(Struct):
        principal_type: str = s.string()
        principal_name: str = s.string()

    owner_principal_type: str | None = s.string("3+", nullable="3+")
    owner_principal_name: str | None = s.string("3+", nullable="3+")
    renewers: list[CreateDelegationTokenRequest.CreatableRenewers] = s.array("CreatableRenewers")
    max_lifetime_ms: int = s.i64()


class CreateDelegationTokenResponse(Response, api=ApiKey.CREATE_DELEGATION_TOKEN):
    error_code: int = s.i16()
    principal_type: str = s.string()
    principal_name: str = s.string()
    token_requester_principal_type: str = s.string("3+")
    token_requester_principal_name: str = s.string("3+")
    issue_timestamp_ms: int = s.i64()
    expiry_timestamp_ms: int = s.i64()
    max_timestamp_ms: int = s.i64()
    token_id: str = s.string()
    hmac: bytes = s.blob(secret=True)
    throttle_time_ms: int = s.i32()


class RenewDelegationTokenRequest(Request, api=ApiKey.RENEW_DELEGATION_TOKEN):
    hmac: bytes = s.blob(secret=True)
    renew_period_ms: int = s.i64()


class RenewDelegationTokenResponse(Response, api=ApiKey.RENEW_DELEGATION_TOKEN):
    error_code: int = s.i16()
    expiry_timestamp_ms: int = s.i64()
    throttle_time_ms: int = s.i32()


class ExpireDelegationTokenRequest(Request, api=ApiKey.EXPIRE_DELEGATION_TOKEN):
    hmac: bytes = s.blob(secret=True)
    expiry_time_period_ms: int = s.i64()


class ExpireDelegationTokenResponse(Response, api=ApiKey.EXPIRE_DELEGATION_TOKEN):
    error_code: int = s.i16()
    expiry_timestamp_ms: int = s.i64()
    throttle_time_ms: int = s.i32()


class DescribeDelegationTokenRequest(Request, api=ApiKey.DESCRIBE_DELEGATION_TOKEN):
    class DescribeDelegationTokenOwner(Struct):
        principal_type: str = s.string()
        principal_name: str = s.string()

    owners: list[DescribeDelegationTokenRequest.DescribeDelegationTokenOwner] | None = s.array(
        "DescribeDelegationTokenOwner", nullable=""
    )


class DescribeDelegationTokenResponse(Response, api=ApiKey.DESCRIBE_DELEGATION_TOKEN):
    class DescribedDelegationTokenRenewer(Struct):
        principal_type: str = s.string()
        principal_name: str = s.string()

    class DescribedDelegationToken(Struct):
        principal_type: str = s.string()
        principal_name: str = s.string()
        token_requester_principal_type: str = s.string("3+")
        token_requester_principal_name: str = s.string("3+")
        issue_timestamp: int = s.i64()
        expiry_timestamp: int = s.i64()
        max_timestamp: int = s.i64()
        token_id: str = s.string()
        hmac: bytes = s.blob(secret=True)
        renewers: list[DescribeDelegationTokenResponse.DescribedDelegationTokenRenewer] = s.array(
            "DescribedDelegationTokenRenewer"
        )

    error_code: int = s.i16()
    tokens: list[DescribeDelegationTokenResponse.DescribedDelegationToken] = s.array(
        "DescribedDelegationToken"
    )
    throttle_time_ms: int = s.i32()
