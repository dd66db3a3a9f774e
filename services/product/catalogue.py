"""The catalogue: what the shop sells, at which price, and how much of it there is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.common.ids import new_id
from services.common.pages import PageRequest, cut
from services.product.errors import ProductNotFound


@dataclass(frozen=True, slots=True)
class Product:
    """A product. `amount` is the price of one, in minor units of `currency`; `stock` is what can still be bought."""

    id: str
    name: str
    description: str
    amount: int
    currency: str
    stock: int


class Store(Protocol):
    """Where products are kept; see `services.product.store`."""

    async def add(self, product: Product) -> None: ...  # noqa: D102

    async def get(self, product_id: str) -> Product | None: ...  # noqa: D102

    async def change(self, product_id: str, changes: Mapping[str, Any]) -> Product | None: ...  # noqa: D102

    async def remove(self, product_id: str) -> bool: ...  # noqa: D102

    async def find(  # noqa: D102
        self, *, ids: Collection[str] | None, words: str | None, after: str | None, limit: int
    ) -> Sequence[Product]: ...


class Catalogue:
    """The products. Every call raises `DatabaseUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, name: str, description: str, amount: int, currency: str, stock: int) -> Product:
        """Adds a product."""
        product = Product(new_id(), name, description, amount, currency, stock)
        await self._store.add(product)
        return product

    async def get(self, product_id: str) -> Product:
        """Raises `ProductNotFound`."""
        return _found(await self._store.get(product_id))

    async def change(self, product_id: str, changes: Mapping[str, Any]) -> Product:
        """Sets the fields of `Product` that `changes` names, and leaves the others. Raises `ProductNotFound`."""
        if not changes:
            return await self.get(product_id)
        return _found(await self._store.change(product_id, changes))

    async def remove(self, product_id: str) -> None:
        """Takes a product out; bills have copies of what they need of it. Raises `ProductNotFound`."""
        if not await self._store.remove(product_id):
            raise ProductNotFound

    async def page(
        self, request: PageRequest, *, ids: Collection[str] | None = None, words: str | None = None
    ) -> tuple[Sequence[Product], str | None]:
        """A page of the catalogue, oldest product first, and the cursor of the next.

        Only those among `ids`, if given, of which unknown ones are passed over; and only those with `words` in name or
        description, in upper or lower case.
        """
        found = await self._store.find(ids=ids, words=words, after=request.after, limit=request.limit + 1)
        return cut(found, request.limit)


def _found(product: Product | None) -> Product:
    if product is None:
        raise ProductNotFound
    return product
