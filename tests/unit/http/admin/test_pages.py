"""Pages: nothing twice, nothing left out, whatever comes and goes in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rivven.http.admin.pages import LIMIT_MAX, Listing, PageQuery, page


class Thing(BaseModel):
    name: str


def pages_of(names: list[str], limit: int) -> list[list[str]]:
    found: list[list[str]] = []
    after = ""
    while True:
        one = page_of(names, limit, after)
        found.append([thing.name for thing in one.items])
        if one.next is None:
            return found
        after = one.next


def page_of(names: list[str], limit: int, after: str) -> Listing[Thing]:
    return page(names, str, lambda name: Thing(name=name), PageQuery(limit=limit, after=after))


@given(st.sets(st.text(min_size=1, max_size=5), max_size=40), st.integers(1, 10))
def test_pages_together_are_the_list(names: set[str], limit: int) -> None:
    pages = pages_of(list(names), limit)
    assert [name for one in pages for name in one] == sorted(names)
    assert all(len(one) == limit for one in pages[:-1])
    assert len(pages) == max(1, -(-len(names) // limit))


def test_an_item_that_goes_between_two_pages_hides_no_other() -> None:
    first = page_of(["a", "b", "c", "d"], 2, "")
    assert first.next == "b"
    assert [thing.name for thing in page_of(["c", "d"], 2, first.next).items] == ["c", "d"]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": LIMIT_MAX + 1}, {"after": "x" * 5000}, {"offset": 1}]
)
def test_odd_pages_are_refused(query: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PageQuery.model_validate(query)
