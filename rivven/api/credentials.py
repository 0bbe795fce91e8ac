"""DescribeUserScramCredentials (50) and AlterUserScramCredentials (51), KIP-554."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Require
from rivven.errors import ErrorCode
from rivven.metadata.commands import AlterScram, ScramDeletion, ScramUpsertion
from rivven.metadata.service import MetadataService
from rivven.protocol import messages as m
from rivven.types import Operation, ResourceType

_Described = m.DescribeUserScramCredentialsResponse.DescribeUserScramCredentialsResult
_Info = m.DescribeUserScramCredentialsResponse.CredentialInfo
_Altered = m.AlterUserScramCredentialsResponse.AlterUserScramCredentialsResult

DENIED = "not authorised"


def _describe_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.DescribeUserScramCredentialsResponse(error_code=code, error_message=_text(code))


def _alter_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    users = dict.fromkeys(change.name for change in (*request.deletions, *request.upsertions))
    return m.AlterUserScramCredentialsResponse(
        results=[_Altered(user=user, error_code=code, error_message=_text(code)) for user in users]
    )


def _text(code: ErrorCode) -> str | None:
    return DENIED if code is ErrorCode.CLUSTER_AUTHORIZATION_FAILED else None


DESCRIBE_USER_SCRAM_CREDENTIALS_RULES = (
    Require(Operation.DESCRIBE, ResourceType.CLUSTER, denied=_describe_failed),
)
ALTER_USER_SCRAM_CREDENTIALS_RULES = (Require(Operation.ALTER, ResourceType.CLUSTER, denied=_alter_failed),)


class CredentialHandlers:
    """Handles DescribeUserScramCredentials 0 and AlterUserScramCredentials 0."""

    def __init__(self, metadata: MetadataService) -> None:
        self._metadata = metadata

    async def describe_user_scram_credentials(self, _context: RequestContext, request: Any) -> Any:
        """Mechanisms and iterations of the named users, of all when none is named."""
        image = self._metadata.image
        response = m.DescribeUserScramCredentialsResponse(error_message=None)
        if request.users:
            mentions = Counter(user.name for user in request.users)
        else:
            mentions = Counter(image.scram_users())
        for user, count in mentions.items():
            credentials = image.scram_credentials(user)
            result = _Described(user=user, error_message=None)
            if count > 1:
                result.error_code = ErrorCode.DUPLICATE_RESOURCE
                result.error_message = "the user is named twice"
            elif not credentials:
                result.error_code = ErrorCode.RESOURCE_NOT_FOUND
                result.error_message = "the user has no SCRAM credential"
            else:
                result.credential_infos = [
                    _Info(mechanism=one.mechanism.code, iterations=one.iterations) for one in credentials
                ]
            response.results.append(result)
        return response

    async def alter_user_scram_credentials(self, _context: RequestContext, request: Any) -> Any:
        """Set and delete credentials; one result per user."""
        command = AlterScram(
            tuple(ScramDeletion(one.name, one.mechanism) for one in request.deletions),
            tuple(
                ScramUpsertion(one.name, one.mechanism, one.iterations, one.salt, one.salted_password)
                for one in request.upsertions
            ),
        )
        replies = await self._metadata.submit(command)
        return m.AlterUserScramCredentialsResponse(
            results=[
                _Altered(user=user, error_message=None)
                if error is None
                else _Altered(user=user, error_code=error.code, error_message=error.message)
                for user, error in replies.items()
            ]
        )
