"""DescribeUserScramCredentials (50) and AlterUserScramCredentials (51), KIP-554."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Require
from rivven.errors import ErrorCode, RivvenError
from rivven.metadata.commands import AlterScram, ScramDeletion, ScramUpsertion
from rivven.metadata.service import MetadataService
from rivven.protocol import messages as m
from rivven.protocol.scram import ITERATIONS_MIN, ScramMechanism
from rivven.security.authn.users import Users, check_user_name
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
    """Handles DescribeUserScramCredentials 0 and AlterUserScramCredentials 0.

    Users of the users file are described like others and changed by nobody but the file. `min_iterations` is
    the least that may be stored (``auth.scram.min_iterations``).
    """

    def __init__(self, metadata: MetadataService, users: Users, min_iterations: int = ITERATIONS_MIN) -> None:
        self._metadata = metadata
        self._users = users
        self._min_iterations = min_iterations

    async def describe_user_scram_credentials(self, _context: RequestContext, request: Any) -> Any:
        """Mechanisms and iterations of the named users, of all that have some when none is named."""
        response = m.DescribeUserScramCredentialsResponse(error_message=None)
        if request.users:
            mentions = Counter(user.name for user in request.users)
        else:
            mentions = Counter(name for name in self._users.names() if self._mechanisms(name))
        for user, count in mentions.items():
            mechanisms = self._mechanisms(user)
            result = _Described(user=user, error_message=None)
            if count > 1:
                result.error_code = ErrorCode.DUPLICATE_RESOURCE
                result.error_message = "the user is named twice"
            elif not mechanisms:
                result.error_code = ErrorCode.RESOURCE_NOT_FOUND
                result.error_message = "the user has no SCRAM credential"
            else:
                result.credential_infos = [
                    _Info(mechanism=mechanism.code, iterations=iterations)
                    for mechanism, iterations in sorted(mechanisms, key=lambda one: one[0].code)
                ]
            response.results.append(result)
        return response

    async def alter_user_scram_credentials(self, _context: RequestContext, request: Any) -> Any:
        """Set and delete credentials; one result per user, whose changes happen together or not at all."""
        results: dict[str, RivvenError | None] = {}
        for one in (*request.deletions, *request.upsertions):
            results[one.name] = results.get(one.name) or self._refusal(one)
        allowed = {user for user, refusal in results.items() if refusal is None}
        command = AlterScram(
            tuple(ScramDeletion(one.name, one.mechanism) for one in request.deletions if one.name in allowed),
            tuple(
                ScramUpsertion(one.name, one.mechanism, one.iterations, one.salt, one.salted_password)
                for one in request.upsertions
                if one.name in allowed
            ),
        )
        results.update(await self._metadata.submit(command))
        return m.AlterUserScramCredentialsResponse(
            results=[
                _Altered(user=user, error_message=None)
                if error is None
                else _Altered(user=user, error_code=error.code, error_message=error.message)
                for user, error in results.items()
            ]
        )

    def _mechanisms(self, name: str) -> tuple[tuple[ScramMechanism, int], ...]:
        user = self._users.find(name)
        return user.mechanisms if user is not None else ()

    def _refusal(self, change: Any) -> RivvenError | None:
        """Why a change cannot be, as far as the metadata does not know; None when it decides."""
        if self._users.in_file(change.name):
            return RivvenError(
                "the user is in the users file and changed there", ErrorCode.UNACCEPTABLE_CREDENTIAL
            )
        iterations = getattr(change, "iterations", None)
        if iterations is None:  # a deletion, also of names that were not refused once
            return None
        try:
            check_user_name(change.name)
        except ValueError as error:
            return RivvenError(str(error), ErrorCode.UNACCEPTABLE_CREDENTIAL)
        if iterations < self._min_iterations:
            return RivvenError(
                f"at least {self._min_iterations} iterations (auth.scram.min_iterations)",
                ErrorCode.UNACCEPTABLE_CREDENTIAL,
            )
        return None
