"""Bills: what was bought, at which price. `services.billing.orders` makes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mstoken import UserCaller
from services.billing.errors import BillNotFound
from services.common.pages import PageRequest, cut

ADMIN_ROLE = "admin"
MAX_ITEMS = 100
MAX_QUANTITY = 1000
"""With the highest price, 10^8 minor units, a total stays below 10^13: whole in SQL, and in JavaScript too."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is asked for."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a bill: name and `unit_amount` are the product's at the time of the bill."""

    product_id: str
    name: str
    unit_amount: int
    quantity: int

    @property
    def amount(self) -> int:
        """What the line comes to, in minor units."""
        return self.unit_amount * self.quantity


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill of the user `uid`, all of it in `currency`."""

    id: str
    uid: str
    status: str
    created_at: datetime
    currency: str
    lines: Sequence[Line]

    @property
    def total(self) -> int:
        """What the bill comes to, in minor units."""
        return sum(line.amount for line in self.lines)


class Store(Protocol):
    """Where bills are kept; see `services.billing.store`."""

    async def get(self, bill_id: str, uid: str | None) -> Bill | None: ...  # noqa: D102

    async def find(self, *, uid: str | None, before: str | None, limit: int) -> Sequence[Bill]: ...  # noqa: D102


class Bills:
    """The bills. A user sees their own, an administrator everyone's. Every call raises `DatabaseUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, bill_id: str, viewer: UserCaller) -> Bill:
        """A bill that `viewer` may see. Raises `BillNotFound`, also for another's."""
        bill = await self._store.get(bill_id, _whose(viewer))
        if bill is None:
            raise BillNotFound
        return bill

    async def page(self, viewer: UserCaller, request: PageRequest) -> tuple[Sequence[Bill], str | None]:
        """A page of the bills that `viewer` may see, the latest first, and the cursor of the next."""
        found = await self._store.find(uid=_whose(viewer), before=request.after, limit=request.limit + 1)
        return cut(found, request.limit)


def _whose(viewer: UserCaller) -> str | None:
    """Whose bills are to be seen: None for everyone's."""
    return None if viewer.role == ADMIN_ROLE else viewer.uid
