"""A row that contradicts itself cannot be made."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from rivven.http.admin.routes import Call, Permission, Route, Self_, filled
from rivven.types import Operation, ResourceType


class Body(BaseModel):
    name: str


async def nothing(_call: Call) -> None:
    return None


def row(**changes: Any) -> Route:
    options = {
        "method": "PUT",
        "path": "/v1/things/{name}",
        "permission": Permission(Operation.ALTER, ResourceType.USER, "{name}"),
        "handler": nothing,
        "summary": "Change a thing",
        "status": 204,
        "audited": "user_change",
        "target": "user:{name}",
    }
    return Route(**(options | changes))  # type: ignore[arg-type]


def test_a_row_names_what_it_asks_for_and_what_it_changes() -> None:
    one = row()
    assert one.parameters == ("name",)
    assert one.named_target({"name": "{name}"}) == "user:{name}"
    assert isinstance(one.permission, Permission)
    assert one.permission.resource({"name": "alice"}) == "alice"
    assert str(one.permission) == "alter on user {name}"
    assert str(Permission(Operation.DESCRIBE)) == "describe on the cluster"


def test_values_are_not_filled_in_twice() -> None:
    assert filled("{a}/{b}", {"a": "{b}", "b": "x"}) == "{b}/x"


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "v1/things"},
        {"path": "/v1/Things/{name}"},
        {"path": "/v1/things/{name"},
        {"audited": None},
        {"request": Body},
        {"method": "GET"},
        {"method": "GET", "audited": None, "request": Body},
        {"status": 200},
        {"response": Body},
        {"target": "user:{other}"},
        {"permission": Permission(Operation.ALTER, ResourceType.USER, "{other}")},
        {"path": "/v1/things", "permission": Self_("x"), "target": "user:{name}"},
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"/things|path"):
        row(**changes)
