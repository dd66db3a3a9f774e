"""The Product service's tables."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.database import Database
from services.common.times import utc
from services.product.catalogue import Product
from services.product.errors import (
    OutOfStock,
    ProductUnknown,
    ReservationCommitted,
    ReservationDiffers,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
)
from services.product.reservations import Item, Line, Reservation, Status

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
    CheckConstraint("stock >= 0", name="stock_not_negative"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("bill_id", String(32), primary_key=True),
    Column("status", String(10), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("reservations_by_expiry", "status", "expires_at"),
)

reservation_lines = Table(
    "reservation_lines",
    metadata,
    Column("bill_id", String(32), ForeignKey("reservations.bill_id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    # No foreign key: a product may be deleted while bills have it.
    Column("product_id", String(32), nullable=False),
    Column("name", String(200), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("quantity", Integer, nullable=False),
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


class ReservationStore:
    """Reservations by bill. Every call raises `DatabaseUnavailable`.

    Each transaction locks the reservation first, and then its products in the order of their ids: whoever locks in one
    order never waits in a circle.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def hold(self, bill_id: str, items: Sequence[Item], *, until: datetime) -> tuple[Reservation, bool]:
        """See `Reservations.make`."""
        try:
            return await self._hold(bill_id, items, until)
        except IntegrityError:
            # The same bill was quicker, in another task or process: now its reservation is there to be found.
            return await self._hold(bill_id, items, until)

    async def _hold(self, bill_id: str, items: Sequence[Item], until: datetime) -> tuple[Reservation, bool]:
        async with self._database.write() as connection:
            there_is = await _locked(connection, bill_id)
            if there_is is None:
                return await _held(connection, bill_id, items, until), True
            if there_is.status == "released":
                raise ReservationReleased
            if [Item(line.product_id, line.quantity) for line in there_is.lines] != list(items):
                raise ReservationDiffers
            if there_is.status == "expired":
                await _take(connection, items)
                await _set(connection, bill_id, "held", until)
                there_is = Reservation(bill_id, "held", until, there_is.lines)
        return there_is, False

    async def commit(self, bill_id: str) -> Reservation:
        """See `Reservations.commit`."""
        async with self._database.write() as connection:
            there_is = await _locked(connection, bill_id)
            if there_is is None:
                raise ReservationNotFound
            if there_is.status == "expired":
                raise ReservationExpired
            if there_is.status == "released":
                raise ReservationReleased
            await _set(connection, bill_id, "committed", there_is.expires_at)
        return Reservation(bill_id, "committed", there_is.expires_at, there_is.lines)

    async def release(self, bill_id: str, *, at: datetime) -> None:
        """See `Reservations.release`."""
        try:
            await self._release(bill_id, at)
        except IntegrityError:
            await self._release(bill_id, at)  # As in `hold`.

    async def _release(self, bill_id: str, at: datetime) -> None:
        async with self._database.write() as connection:
            there_is = await _locked(connection, bill_id)
            if there_is is None:
                await _keep(connection, bill_id, "released", at)
                return
            if there_is.status == "committed":
                raise ReservationCommitted
            if there_is.status == "held":
                await _give_back(connection, there_is.lines)
            await _set(connection, bill_id, "released", there_is.expires_at)

    async def expired(self, *, at: datetime, limit: int) -> Sequence[str]:
        """Up to `limit` bills whose stock may be given back, those that have waited longest first."""
        due = (reservations.c.status == "held") & (reservations.c.expires_at <= at)
        query = select(reservations.c.bill_id).where(due).order_by(reservations.c.expires_at).limit(limit)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalars().all()

    async def expire(self, bill_id: str, *, at: datetime) -> bool:
        """Gives back what is held for the bill, and has been for too long. Whether it was."""
        async with self._database.write() as connection:
            there_is = await _locked(connection, bill_id)
            if there_is is None or there_is.status != "held" or there_is.expires_at > at:
                return False
            await _give_back(connection, there_is.lines)
            await _set(connection, bill_id, "expired", there_is.expires_at)
        return True


async def _locked(connection: AsyncConnection, bill_id: str) -> Reservation | None:
    """The bill's reservation, which nobody else can change before the end of the transaction."""
    one = select(reservations).where(reservations.c.bill_id == bill_id).with_for_update()
    row = (await connection.execute(one)).one_or_none()
    if row is None:
        return None
    columns = [column for column in reservation_lines.c if column.name not in ("bill_id", "position")]
    query = select(*columns).where(reservation_lines.c.bill_id == bill_id).order_by(reservation_lines.c.position)
    lines = [Line(**line._mapping) for line in await connection.execute(query)]
    return Reservation(row.bill_id, row.status, utc(row.expires_at), lines)


async def _held(connection: AsyncConnection, bill_id: str, items: Sequence[Item], until: datetime) -> Reservation:
    """A new reservation."""
    await _keep(connection, bill_id, "held", until)
    found = await _take(connection, items)
    lines = [_reserved(item, found[item.product_id]) for item in items]
    await connection.execute(
        insert(reservation_lines),
        [_line_columns(bill_id, position, line) for position, line in enumerate(lines)],
    )
    return Reservation(bill_id, "held", until, lines)


async def _take(connection: AsyncConnection, items: Sequence[Item]) -> Mapping[str, Row[Any]]:
    """Takes the items out of stock, and gives name and price of each. Raises `ProductUnknown`, `OutOfStock`."""
    ids = [item.product_id for item in items]
    query = select(products).where(products.c.id.in_(ids)).order_by(products.c.id).with_for_update()
    found = {row.id: row for row in await connection.execute(query)}
    for item in items:
        if item.product_id not in found:
            raise ProductUnknown(f"It is {item.product_id}.")
        if (stock := found[item.product_id].stock) < item.quantity:
            raise OutOfStock(f"There are {stock} of {item.product_id}.")
    await _add_to_stock(connection, {item.product_id: -item.quantity for item in items})
    return found


async def _give_back(connection: AsyncConnection, lines: Sequence[Line]) -> None:
    """Puts the lines back into stock, except for products that were deleted."""
    await _add_to_stock(connection, {line.product_id: line.quantity for line in lines})


async def _add_to_stock(connection: AsyncConnection, quantities: Mapping[str, int]) -> None:
    """Changes the stock of products by their ids, in the order of these."""
    if quantities:
        new = products.c.stock + bindparam("quantity")
        statement = update(products).where(products.c.id == bindparam("product")).values(stock=new)
        rows = [{"product": product_id, "quantity": quantities[product_id]} for product_id in sorted(quantities)]
        await connection.execute(statement, rows)


async def _keep(connection: AsyncConnection, bill_id: str, status: Status, expires_at: datetime) -> None:
    values = {"bill_id": bill_id, "status": status, "expires_at": expires_at}
    await connection.execute(insert(reservations).values(values))


async def _set(connection: AsyncConnection, bill_id: str, status: Status, expires_at: datetime) -> None:
    one = reservations.c.bill_id == bill_id
    await connection.execute(update(reservations).where(one).values(status=status, expires_at=expires_at))


def _reserved(item: Item, product: Row[Any]) -> Line:
    return Line(item.product_id, product.name, product.amount, product.currency, item.quantity)


def _line_columns(bill_id: str, position: int, line: Line) -> dict[str, Any]:
    return {
        "bill_id": bill_id,
        "position": position,
        "product_id": line.product_id,
        "name": line.name,
        "amount": line.amount,
        "currency": line.currency,
        "quantity": line.quantity,
    }


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
