"""SASL exchange (KIP-152, KIP-368) and SCRAM credentials (KIP-554).

Declarations only; field names, order and version spans are Kafka's.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.api import ApiKey
from rivven.protocol.schema import Request, Response, Struct


class SaslHandshakeRequest(Request, api=ApiKey.SASL_HANDSHAKE):
    mechanism: str = s.string()


class SaslHandshakeResponse(Response, api=ApiKey.SASL_HANDSHAKE):
    error_code: int = s.i16()
    mechanisms: list[str] = s.array("string")


class SaslAuthenticateRequest(Request, api=ApiKey.SASL_AUTHENTICATE):
    auth_bytes: bytes = s.blob(secret=True)


class SaslAuthenticateResponse(Response, api=ApiKey.SASL_AUTHENTICATE):
    error_code: int = s.i16()
    error_message: str | None = s.string(nullable="")
    auth_bytes: bytes = s.blob(secret=True)
    session_lifetime_ms: int = s.i64("1+")


class DescribeUserScramCredentialsRequest(Request, api=ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS):
    class UserName(Struct):
        name: str = s.string()

    users: list[DescribeUserScramCredentialsRequest.UserName] | None = s.array("UserName", nullable="")


class DescribeUserScramCredentialsResponse(Response, api=ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS):
    class CredentialInfo(Struct):
        mechanism: int = s.i8()
        iterations: int = s.i32()

    class DescribeUserScramCredentialsResult(Struct):
        user: str = s.string()
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")
        credential_infos: list[DescribeUserScramCredentialsResponse.CredentialInfo] = s.array(
            "CredentialInfo"
        )

    throttle_time_ms: int = s.i32()
    error_code: int = s.i16()
    error_message: str | None = s.string(nullable="")
    results: list[DescribeUserScramCredentialsResponse.DescribeUserScramCredentialsResult] = s.array(
        "DescribeUserScramCredentialsResult"
    )


class AlterUserScramCredentialsRequest(Request, api=ApiKey.ALTER_USER_SCRAM_CREDENTIALS):
    class ScramCredentialDeletion(Struct):
        name: str = s.string()
        mechanism: int = s.i8()

    class ScramCredentialUpsertion(Struct):
        name: str = s.string()
        mechanism: int = s.i8()
        iterations: int = s.i32()
        salt: bytes = s.blob(secret=True)
        salted_password: bytes = s.blob(secret=True)

    deletions: list[AlterUserScramCredentialsRequest.ScramCredentialDeletion] = s.array(
        "ScramCredentialDeletion"
    )
    upsertions: list[AlterUserScramCredentialsRequest.ScramCredentialUpsertion] = s.array(
        "ScramCredentialUpsertion"
    )


class AlterUserScramCredentialsResponse(Response, api=ApiKey.ALTER_USER_SCRAM_CREDENTIALS):
    class AlterUserScramCredentialsResult(Struct):
        user: str = s.string()
        error_code: int = s.i16()
        error_message: str | None = s.string(nullable="")

    throttle_time_ms: int = s.i32()
    results: list[AlterUserScramCredentialsResponse.AlterUserScramCredentialsResult] = s.array(
        "AlterUserScramCredentialsResult"
    )
