"""The catalogue: the products that the shop sells, with their prices and stock."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.ids import new_id
from services.common.pages import PageRequest, cut
from services.common.times import Clock, utc_now
from services.product.errors import ProductNotFound

if TYPE_CHECKING:
    from services.product.store import ProductStore


@dataclass(frozen=True, slots=True)
class Product:
    """A product. `amount` is the price of one in minor units of `currency`; `stock` is how many can still be bought."""

    id: str
    name: str
    description: str
    amount: int
    currency: str
    stock: int


class Catalogue:
    """The products. Every call raises `DatabaseUnavailable`."""

    def __init__(self, store: "ProductStore", *, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def add(self, name: str, description: str, amount: int, currency: str, stock: int) -> Product:
        """Add a product with a new id, and return it."""
        product = Product(new_id(), name, description, amount, currency, stock)
        await self._store.add(product)
        return product

    async def get(self, product_id: str) -> Product:
        """Return the product. Raises `ProductNotFound`."""
        return _found(await self._store.get(product_id))

    async def change(self, product_id: str, changes: Mapping[str, Any]) -> Product:
        """Set the fields of `Product` in `changes`, and return the product. Raises `ProductNotFound`."""
        if not changes:
            return await self.get(product_id)
        return _found(await self._store.change(product_id, changes))

    async def remove(self, product_id: str) -> None:
        """Delete a product. Bills keep copies of its name and price. Raises `ProductNotFound`.

        What is held of it can still be sold. What is put back counts as stock of the deleted product.
        """
        if not await self._store.remove(product_id, at=self._clock()):
            raise ProductNotFound

    async def page(
        self, request: PageRequest, *, ids: Collection[str] | None = None, words: str | None = None
    ) -> tuple[Sequence[Product], str | None]:
        """Return a page of the catalogue, the oldest product first, and the cursor of the next page.

        With `ids`, only products with one of these ids; unknown ids are ignored. With `words`, only products that have
        all of them in name or description, as `services.product.search` describes.
        """
        found = await self._store.find(ids=ids, words=words, after=request.after, limit=request.limit + 1)
        return cut(found, request.limit)


def _found(product: Product | None) -> Product:
    if product is None:
        raise ProductNotFound
    return product
