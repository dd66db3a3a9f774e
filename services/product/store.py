"""The Product service's table."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Row, String, Table, Text, delete, insert, select, update

from services.common.database import Database
from services.product.catalogue import Product

metadata = MetaData()

products = Table(
    "products",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("stock", Integer, nullable=False),
    # Name and description without upper and lower case: databases fold cases each in its own way, SQLite ASCII only.
    Column("search_text", Text, nullable=False),
)

_SELECT = select(*(column for column in products.c if column.name != "search_text"))


class ProductStore:
    """Products by id. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, product: Product) -> None:
        """Keeps a new product."""
        async with self._database.write() as connection:
            await connection.execute(insert(products).values(_columns(product)))

    async def get(self, product_id: str) -> Product | None:
        """The product, or None."""
        async with self._database.read() as connection:
            row = (await connection.execute(_SELECT.where(products.c.id == product_id))).one_or_none()
        return None if row is None else _product(row)

    async def change(self, product_id: str, changes: Mapping[str, Any]) -> Product | None:
        """Sets the named fields. The product as it is then, or None if there is none."""
        one = products.c.id == product_id
        async with self._database.write() as connection:
            await connection.execute(update(products).where(one).values(changes))
            row = (await connection.execute(_SELECT.where(one))).one_or_none()
            if row is None:
                return None
            product = _product(row)
            await connection.execute(update(products).where(one).values(search_text=_search_text(product)))
        return product

    async def remove(self, product_id: str) -> bool:
        """Whether there was one."""
        async with self._database.write() as connection:
            result = await connection.execute(delete(products).where(products.c.id == product_id))
        return result.rowcount == 1

    async def find(
        self, *, ids: Collection[str] | None, words: str | None, after: str | None, limit: int
    ) -> Sequence[Product]:
        """Up to `limit` products in the order of their ids, those after the id `after`: see `Catalogue.page`."""
        statement = _SELECT.order_by(products.c.id).limit(limit)
        if ids is not None:
            statement = statement.where(products.c.id.in_(ids))
        if words is not None:
            statement = statement.where(products.c.search_text.contains(words.casefold(), autoescape=True))
        if after is not None:
            statement = statement.where(products.c.id > after)
        async with self._database.read() as connection:
            return [_product(row) for row in await connection.execute(statement)]


def _product(row: Row[Any]) -> Product:
    return Product(**row._mapping)


def _columns(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
        "name": product.name,
        "description": product.description,
        "amount": product.amount,
        "currency": product.currency,
        "stock": product.stock,
        "search_text": _search_text(product),
    }


def _search_text(product: Product) -> str:
    return f"{product.name}\n{product.description}".casefold()
