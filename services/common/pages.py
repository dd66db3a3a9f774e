"""Lists in pages. The cursor of a page is the id after which it begins, so added items do not shift the pages.

Source: keyset pagination, as in Markus Winand, "No Offset".

Kept by hand because fastapi-pagination does worse: it makes its pages out of SQLAlchemy queries, which routes and
domain modules here do not know, and its cursor pages have several more fields to keep for ever.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, Protocol, Self, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

Limit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items in the answer.")]
Cursor = Annotated[
    str | None,
    # base64url of the 16 bytes of an id. Every value of this form is a position in the list.
    Query(pattern="^[A-Za-z0-9_-]{21}[AQgw]$", description="The `next_cursor` of the previous page."),
]


class HasId(Protocol):
    """An item of a list. The list is sorted by `id`."""

    @property
    def id(self) -> str:
        """The id of the item."""
        ...


T = TypeVar("T", bound=HasId)
Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for up to `limit` items, beginning after the item with the id `after`, or with the first item."""

    limit: int = 20
    after: str | None = None

    @classmethod
    def parse(cls, limit: int, cursor: str | None) -> Self:
        """Return the request of the query parameters `limit` and `cursor`, which must match `Cursor`."""
        return cls(limit, None if cursor is None else _decode(cursor))


class Page(BaseModel, Generic[Shape]):
    """One page of a list."""

    items: list[Shape]
    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page; null on the last page.")


def cut(found: Sequence[T], limit: int) -> tuple[Sequence[T], str | None]:
    """Return the items of a page and its `next_cursor`. `found` is the result of a query for `limit` + 1 items."""
    items = found[:limit]
    return items, cursor_after(items[-1].id) if len(found) > limit else None


def cursor_after(last_id: str) -> str:
    """Return the cursor of the page that begins after the item with this id."""
    return base64.urlsafe_b64encode(bytes.fromhex(last_id)).rstrip(b"=").decode()


def _decode(cursor: str) -> str:
    return base64.urlsafe_b64decode(f"{cursor}==").hex()
