"""A row that does not state its authorisation, or cannot say how it fails, cannot be registered."""

import pytest

from rivven.api.rules import Filter, Open, Require, Split, keep_list, list_items
from rivven.api.table import Row, Table
from rivven.errors import ErrorCode
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.types import Operation, ResourceType


async def _handler(context, request):
    return None


def _denied(request, version, code):
    return m.HeartbeatResponse(error_code=code)


REQUIRE = Require(Operation.READ, ResourceType.GROUP, denied=_denied, name=lambda request: request.group_id)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Row(ApiKey.HEARTBEAT, (), _handler), "states no authorisation rule"),
        (Row(ApiKey.HEARTBEAT, (REQUIRE,)), "exactly one of handler and start"),
        (Row(ApiKey.HEARTBEAT, (REQUIRE,), _handler, start=lambda *a: None), "exactly one of"),
        (Row(ApiKey.METADATA, (Filter(),), _handler), "does not say how it fails"),
        (Row(ApiKey.API_VERSIONS, (Open(),), _handler), "does not say how it fails"),
    ],
)
def test_an_incomplete_row_is_refused(row: Row, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Table([row])


def test_a_key_can_be_registered_once() -> None:
    row = Row(ApiKey.HEARTBEAT, (REQUIRE,), _handler)
    with pytest.raises(ValueError, match="twice"):
        Table([row, row])


def test_the_failure_answer_of_a_split_row_names_every_item() -> None:
    entry = m.DeleteGroupsResponse.DeletableGroupResult

    def deny(response, item, version, code):
        response.results.append(entry(group_id=item, error_code=code))

    split = Split(
        Operation.DELETE,
        ResourceType.GROUP,
        items=lambda request, version: [(name, name) for name in request.groups_names],
        keep=keep_list("groups_names"),
        deny=deny,
    )
    row = Row(ApiKey.DELETE_GROUPS, (split,), _handler)
    request = m.DeleteGroupsRequest(groups_names=["a", "b"])
    answer = row.failure(request, 2, ErrorCode.UNKNOWN_SERVER_ERROR)
    assert [(one.group_id, one.error_code) for one in answer.results] == [("a", -1), ("b", -1)]


def test_items_of_a_null_list_are_none() -> None:
    assert list_items("topics", "name")(m.MetadataRequest(topics=None), 1) == []
