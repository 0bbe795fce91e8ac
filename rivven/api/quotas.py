"""DescribeClientQuotas (48) and AlterClientQuotas (49), KIP-546."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.rules import Require
from rivven.errors import ErrorCode, InvalidRequest, RivvenError
from rivven.metadata.quotas import ENTITY_TYPES, AlterQuotas, QuotaAlteration, QuotaFamily
from rivven.metadata.service import MetadataService
from rivven.protocol import messages as m
from rivven.types import Operation, QuotaEntity, ResourceType

_Described = m.DescribeClientQuotasResponse
_Altered = m.AlterClientQuotasResponse


DENIED = "not authorised"


def _describe_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return _Described(error_code=code, error_message=_text(code), entries=None)


def _alter_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    return _Altered(entries=[_answer(entry, code, _text(code)) for entry in request.entries])


def _text(code: ErrorCode) -> str | None:
    return DENIED if code is ErrorCode.CLUSTER_AUTHORIZATION_FAILED else None


DESCRIBE_CLIENT_QUOTAS_RULES = (
    Require(Operation.DESCRIBE_CONFIGS, ResourceType.CLUSTER, denied=_describe_failed),
)
ALTER_CLIENT_QUOTAS_RULES = (Require(Operation.ALTER_CONFIGS, ResourceType.CLUSTER, denied=_alter_failed),)


class QuotaHandlers:
    """Handles DescribeClientQuotas 0-1 and AlterClientQuotas 0-1."""

    def __init__(self, metadata: MetadataService) -> None:
        self._metadata = metadata

    async def describe_client_quotas(self, _context: RequestContext, request: Any) -> Any:
        """The entities whose types and names the components match; all of them without components."""
        wanted = {component.entity_type: component for component in request.components}
        if len(wanted) != len(request.components):
            raise InvalidRequest("an entity type is named twice")
        if unknown := wanted.keys() - ENTITY_TYPES:
            raise RivvenError(f"there is no entity type {min(unknown)}", ErrorCode.UNSUPPORTED_VERSION)
        matches = {kind: _matcher(component) for kind, component in wanted.items()}
        stored = self._metadata.image.of(QuotaFamily).values
        entries = [
            _Described.EntryData(
                entity=[_Described.EntityData(entity_type=kind, entity_name=name) for kind, name in entity],
                values=[_Described.ValueData(key=key, value=values[key]) for key in sorted(values)],
            )
            for entity, values in stored.items()
            if _matched(entity, matches, request.strict)
        ]
        return _Described(error_message=None, entries=entries)

    async def alter_client_quotas(self, _context: RequestContext, request: Any) -> Any:
        """Set and remove quotas; one result per entity."""
        answers: list[Any] = []
        alterations: list[tuple[int, QuotaAlteration]] = []
        for entry in request.entries:
            try:
                alterations.append((len(answers), _alteration(entry)))
                answers.append(_answer(entry, ErrorCode.NONE, None))
            except InvalidRequest as refused:
                answers.append(_answer(entry, refused.code, refused.message))
        command = AlterQuotas(tuple(one for _, one in alterations), request.validate_only)
        replies = await self._metadata.submit(command)
        for (index, _), error in zip(alterations, replies, strict=True):
            if error is not None:
                answers[index] = _answer(request.entries[index], error.code, error.message)
        return _Altered(entries=answers)


def _matcher(component: Any) -> Callable[[str | None], bool]:
    match component.match_type:
        case 0:
            if component.match is None:
                raise InvalidRequest("an exact match needs a name")
            return lambda name: name == component.match
        case 1:
            return lambda name: name is None
        case 2:
            return lambda name: True
        case _:
            raise InvalidRequest(f"there is no match type {component.match_type}")


def _matched(entity: QuotaEntity, matches: Mapping[str, Callable[[str | None], bool]], strict: bool) -> bool:
    named = dict(entity)
    if strict and named.keys() != matches.keys():
        return False
    return all(kind in named and matches[kind](named[kind]) for kind in matches)


def _alteration(entry: Any) -> QuotaAlteration:
    entity = tuple(sorted((one.entity_type, one.entity_name) for one in entry.entity))
    if len({kind for kind, _ in entity}) != len(entity):
        raise InvalidRequest("an entity type is named twice")
    keys = [operation.key for operation in entry.ops]
    if len(set(keys)) != len(keys):
        raise InvalidRequest("a quota is named twice")
    return QuotaAlteration(
        entity,
        tuple((one.key, None if one.remove else one.value) for one in entry.ops),
    )


def _answer(entry: Any, code: ErrorCode, message: str | None) -> Any:
    return _Altered.EntryData(
        error_code=code,
        error_message=message,
        entity=[
            _Altered.EntityData(entity_type=one.entity_type, entity_name=one.entity_name)
            for one in entry.entity
        ],
    )
