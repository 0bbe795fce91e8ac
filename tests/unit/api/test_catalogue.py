"""Every API that is offered has a row that states its rule, and nothing else is offered."""

from types import SimpleNamespace
from typing import Any

import pytest

from rivven.api import catalogue
from rivven.api.catalogue import build_table
from rivven.api.rules import Filter, Open, Require, Split
from rivven.protocol.api import APIS, ApiKey
from rivven.protocol.messages import REQUESTS, RESPONSES


class Handlers:
    """Stands for any handler object: rows only refer to methods, by name."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace() if name.startswith("__") else Method()


class Method(Handlers):
    async def __call__(self, context: Any, request: Any) -> Any:
        raise AssertionError("no request is made here")


@pytest.fixture
def table() -> Any:
    return build_table(Handlers())  # type: ignore[arg-type]


def test_rows_and_ranges_are_the_same_set(table: Any) -> None:
    assert set(table.rows) == set(APIS)


def test_only_what_must_work_before_a_login_is_open(table: Any) -> None:
    opened = {key for key, row in table.rows.items() if any(isinstance(rule, Open) for rule in row.rules)}
    assert opened == {ApiKey.API_VERSIONS, ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE}
    for row in table.rows.values():
        assert all(isinstance(rule, Open | Filter | Require | Split) for rule in row.rules)


def test_every_row_can_say_that_it_failed(table: Any) -> None:
    """With an empty request of any version, so that the answer can be written."""
    from rivven.protocol.codec import write_response

    for key, row in table.rows.items():
        for version in (APIS[key].decodable_from, APIS[key].max):
            answer = row.failure(REQUESTS[key](), version, -1)
            assert isinstance(answer, RESPONSES[key])
            write_response(key, version, answer)


def test_an_offered_api_without_a_row_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_cluster_rows", lambda handlers: [])
    with pytest.raises(ValueError, match="DESCRIBE_CLUSTER"):
        build_table(Handlers())  # type: ignore[arg-type]
