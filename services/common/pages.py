"""Lists in pages: each page names where the next one begins, so that what is added meanwhile shifts nothing.

Source: keyset pagination, as in Markus Winand, "No Offset".
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, Protocol, Self, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

Limit = Annotated[int, Query(ge=1, le=100, description="How many items to answer with at most.")]
Cursor = Annotated[
    str | None,
    # base64url of the 16 bytes of an id; whatever is of that form is a place in the list.
    Query(pattern="^[A-Za-z0-9_-]{21}[AQgw]$", description="The `next_cursor` of the page before; opaque."),
]


class HasId(Protocol):
    """What stands in a list: something with an id that sorts as the list does."""

    @property
    def id(self) -> str: ...  # noqa: D102


Item = TypeVar("Item", bound=HasId)
Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """At most `limit` items, those after the item with the id `after`, or from the beginning."""

    limit: int = 20
    after: str | None = None

    @classmethod
    def parse(cls, limit: int, cursor: str | None) -> Self:
        """From the query, whose `cursor` is of the form of `Cursor`."""
        return cls(limit, None if cursor is None else _decode(cursor))


class Page(BaseModel, Generic[Shape]):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[Shape]
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page; null on the last.")


def cut(found: Sequence[Item], limit: int) -> tuple[Sequence[Item], str | None]:
    """The page's items and its `next_cursor`, from a query for `limit` + 1 items."""
    items = found[:limit]
    return items, _encode(items[-1].id) if len(found) > limit else None


def _page_request(limit: Limit = 20, cursor: Cursor = None) -> PageRequest:
    return PageRequest.parse(limit, cursor)


PageQuery = Annotated[PageRequest, Depends(_page_request)]
"""The query parameters `limit` and `cursor` of a route."""


def _encode(last: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(last)).rstrip(b"=").decode()


def _decode(cursor: str) -> str:
    return base64.urlsafe_b64decode(f"{cursor}==").hex()
