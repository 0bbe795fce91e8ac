"""Pagination of the Admin API: ``?limit=&after=``, the same for every list.

Lists are sorted by a key that is shown with each item; `after` is the key of the last item seen, and `next`
in an answer is what to send as `after` for the next page (null: that was all). Keys, not positions: items
that come or go between two pages neither repeat nor hide others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000
"""Items of one page: some 100 KB, encoded in a millisecond on the loop."""

KEY_LENGTH_MAX = 1_024

Item = TypeVar("Item", bound=BaseModel)
Source = TypeVar("Source")


class PageQuery(BaseModel):
    """The query parameters of a list. Unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="Items at most.")
    after: str = Field(default="", max_length=KEY_LENGTH_MAX, description="The `next` of the page before.")


class Listing(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None = Field(
        default=None, description="Send it as `after` for the next page; null at the end."
    )


def page(
    sources: Iterable[Source], key: Callable[[Source], str], show: Callable[[Source], Item], query: PageQuery
) -> Listing[Item]:
    """The page of `sources` that `query` asks for; only what is shown is turned into an item by `show`."""
    wanted = query.limit + 1
    chosen = heapq.nsmallest(wanted, (one for one in sources if key(one) > query.after), key=key)
    shown = chosen[: query.limit]
    return Listing(
        items=[show(one) for one in shown], next=key(shown[-1]) if len(chosen) > query.limit else None
    )
