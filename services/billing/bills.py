"""Bills: what was bought, and at which prices. `services.billing.orders` issues them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mstoken import UserCaller
from services.billing.errors import BillNotFound
from services.common.pages import PageRequest, cut

if TYPE_CHECKING:
    from services.billing.store import BillStore

ADMIN_ROLE = "admin"
MAX_LINES = 100
MAX_QUANTITY = 1000
"""With the highest price, 10^8 minor units, a total stays below 10^13, which SQL and JavaScript represent exactly."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """A line of a bill. `name`, and `unit_amount` in minor units, are those of the product when it was reserved."""

    product_id: str
    name: str
    unit_amount: int
    quantity: int

    @property
    def amount(self) -> int:
        """The amount of the line, in minor units."""
        return self.unit_amount * self.quantity


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill of the user `uid`. All of its amounts are in `currency`."""

    id: str
    uid: str
    status: str
    created_at: datetime
    currency: str
    lines: Sequence[BillLine]

    @property
    def total(self) -> int:
        """The total amount, in minor units."""
        return sum(line.amount for line in self.lines)


class Bills:
    """The bills. Users see their own, administrators see all. Every call raises `DatabaseUnavailable`."""

    def __init__(self, store: "BillStore") -> None:
        self._store = store

    async def get(self, bill_id: str, viewer: UserCaller) -> Bill:
        """Return a bill. Raises `BillNotFound`, also if `viewer` may not see the bill."""
        bill = await self._store.get(bill_id, _visible_uid(viewer))
        if bill is None:
            raise BillNotFound
        return bill

    async def page(self, viewer: UserCaller, request: PageRequest) -> tuple[Sequence[Bill], str | None]:
        """Return a page of the bills that `viewer` may see, the latest first, and the cursor of the next page."""
        found = await self._store.find(uid=_visible_uid(viewer), before=request.after, limit=request.limit + 1)
        return cut(found, request.limit)


def _visible_uid(viewer: UserCaller) -> str | None:
    """Return the uid of the user whose bills `viewer` may see; None if all of them."""
    return None if viewer.role == ADMIN_ROLE else viewer.uid
