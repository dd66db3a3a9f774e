"""Product's tables, and the stores of products and reservations."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from functools import cache
from typing import Any, Self, TypeAlias

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from typing_extensions import override

from services.common.backlog import Waiting
from services.common.database import Database
from services.common.queries import count_waiting
from services.common.times import utc
from services.common.transactions import Transaction
from services.product.catalogue import Product
from services.product.reservations import MAX_HOLD, Reservation, ReservationItem, ReservationLine, lines_of
from services.product.search import search_text, words_of

Decision: TypeAlias = Callable[[Reservation | None], Reservation]
"""Makes the next state of a reservation out of the present one; None is that of a bill without a reservation."""

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
    # The words of name and description (`services.product.search`), which have an index: FTS5 in SQLite, GIN over a
    # tsvector in PostgreSQL. Both are made by migration 0003.
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
    # Not a foreign key: a product may be deleted while a bill has a reservation of it.
    Column("product_id", String(32), nullable=False),
    Column("name", String(200), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("quantity", Integer, nullable=False),
)

deleted_products = Table(
    "deleted_products",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("stock", Integer, nullable=False),
    Column("deleted_at", DateTime(timezone=True), nullable=False),
    Index("deleted_products_by_age", "deleted_at"),
)
"""The stock of products that were deleted. What bills had reserved of them is put back here."""


class are_candidates(FunctionElement[bool]):  # noqa: N801 - it reads as a function in queries
    """Whether the index finds a product by the beginnings of its words: `words_of` made them, with spaces between."""

    inherit_cache = True
    type = Boolean()

    @override
    def self_group(self, against: object = None) -> Self:
        """Return this as it is: SQLite does not use an index for `… = 1`."""
        return self


@compiles(are_candidates, "sqlite")
def _candidates_in_sqlite(element: are_candidates, compiler: SQLCompiler, **options: Any) -> str:
    words = compiler.process(element.clauses, **options)
    return (
        "products.id IN (SELECT product_search_rows.id FROM product_search JOIN product_search_rows "  # noqa: S608
        "ON product_search_rows.number = product_search.rowid "
        f"""WHERE product_search MATCH '"' || replace({words}, ' ', '"* "') || '"*')"""
    )


@compiles(are_candidates, "postgresql")
def _candidates_in_postgresql(element: are_candidates, compiler: SQLCompiler, **options: Any) -> str:
    words = compiler.process(element.clauses, **options)
    # The array makes PostgreSQL use the index of words, which has this expression, and not the order of the ids.
    query = f"to_tsquery('simple', replace({words}, ' ', ':* & ') || ':*')"
    found = f"SELECT found.id FROM products AS found WHERE to_tsvector('simple', found.search_text) @@ {query}"  # noqa: S608
    return f"products.id = ANY (ARRAY ({found}))"


_COLUMNS = [products.c[field.name] for field in fields(Product)]
"""The columns of a product, in the order of its fields: `Product(*row)`."""
_SELECT = select(*_COLUMNS)
_BY_ID = _SELECT.where(products.c.id == bindparam("product_id"))

LOOK_AHEAD = 500
"""How many products after the cursor a search looks at before it asks the index of words."""


@cache
def _has_words(count: int) -> ColumnElement[bool]:
    """Return the condition that a product has `count` words, which begin like the patterns `word_0`, `word_1`, …"""
    text = literal(" ") + products.c.search_text
    return and_(*(text.like(bindparam(f"word_{number}", type_=String)) for number in range(count)))


@cache
def _with_ids(words: int) -> Select[*tuple[Any, ...]]:
    # The ids are few. In an order, PostgreSQL could go through all products instead.
    query = _SELECT.where(products.c.id.in_(bindparam("ids", expanding=True)))
    return query.where(_has_words(words)) if words else query


_AFTER = products.c.id > bindparam("after", type_=String)
_IN_ORDER = _SELECT.where(_AFTER).order_by(products.c.id).limit(bindparam("limit", type_=Integer))


@cache
def _in_window(words: int) -> Select[*tuple[Any, ...]]:
    """Return the query for the next products that have the words, among a bounded number of products.

    These products are the window. If there are others after it, its last product is a row too, with or without the
    words, and `is_end` is true there.
    """
    in_order = select(products.c.id).where(_AFTER).order_by(products.c.id)
    end = in_order.limit(1).offset(bindparam("skip", type_=Integer)).scalar_subquery()
    last = func.coalesce(end, select(func.max(products.c.id)).scalar_subquery())
    is_end, has_words = products.c.id == end, _has_words(words)
    query = select(has_words.label("has_words"), is_end.label("is_end"), *_COLUMNS)
    query = query.where(_AFTER, products.c.id <= last, has_words | is_end)
    return query.order_by(products.c.id).limit(bindparam("limit", type_=Integer))


@cache
def _in_index(words: int) -> Select[*tuple[Any, ...]]:
    """Return the query for the next products that have the words, by the index of words.

    The index only finds candidates: PostgreSQL reads some words as two, such as `12e5abc`, and would find `abc` there.
    """
    return _IN_ORDER.where(are_candidates(bindparam("words", type_=String)), _has_words(words))


class ProductStore:
    """Products by id. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database, *, look_ahead: int = LOOK_AHEAD) -> None:
        """A search looks at `look_ahead` products before it asks the index of words."""
        self._database = database
        self._look_ahead = look_ahead

    async def add(self, product: Product) -> None:
        """Add a new product."""
        await self._database.execute(insert(products), _columns(product))

    async def get(self, product_id: str) -> Product | None:
        """Return the product; None if there is no such product."""
        rows = await self._database.fetch(_BY_ID, {"product_id": product_id})
        return Product(*rows[0]) if rows else None

    async def change(self, product_id: str, changes: Mapping[str, Any]) -> Product | None:
        """Set the fields in `changes`. Return the product afterwards; None if there is no such product."""
        has_id = products.c.id == product_id
        async with self._database.write() as connection:
            await connection.execute(update(products).where(has_id).values(changes))
            row = (await connection.execute(_SELECT.where(has_id))).one_or_none()
            if row is None:
                return None
            product = Product(*row)
            await connection.execute(update(products).where(has_id).values(search_text=_words(product)))
        return product

    async def remove(self, product_id: str, *, at: datetime) -> bool:
        """Delete the product at this time, and remember its stock. Return whether there was one."""
        has_id = products.c.id == product_id
        async with self._database.write() as connection:
            row = (await connection.execute(_SELECT.where(has_id).with_for_update())).one_or_none()
            if row is None:
                return False
            deleted = {"id": row.id, "name": row.name, "stock": row.stock, "deleted_at": at}
            await connection.execute(insert(deleted_products).values(deleted))
            await connection.execute(delete(products).where(has_id))
        return True

    async def find(
        self, *, ids: Collection[str] | None, words: str | None, after: str | None, limit: int
    ) -> Sequence[Product]:
        """Return up to `limit` products in the order of their ids, beginning after the id `after`.

        `ids` and `words` restrict them as `Catalogue.page` describes.
        """
        # A word that appears twice says nothing more.
        searched = [] if words is None else list(dict.fromkeys(words_of(words)))
        if words is not None and not searched:
            return []
        parameters: dict[str, Any] = {f"word_{number}": f"% {word}%" for number, word in enumerate(searched)}
        after = after or ""
        if ids is not None:
            parameters["ids"] = [name for name in ids if name > after]
            found = [Product(*row) for row in await self._database.fetch(_with_ids(words=len(searched)), parameters)]
            return sorted(found, key=lambda product: product.id)[:limit]
        parameters |= {"after": after, "limit": limit}
        if searched:
            return await self._search(searched, parameters, limit)
        return [Product(*row) for row in await self._database.fetch(_IN_ORDER, parameters)]

    async def _search(self, words: Sequence[str], parameters: Mapping[str, Any], limit: int) -> Sequence[Product]:
        """Return the next products that have all words.

        The index returns all products with a word, in no order. So the next products are looked at first: they fill the
        page if many products have the words.
        """
        window = {"skip": self._look_ahead - 1}
        rows = await self._database.fetch(_in_window(len(words)), {**parameters, **window})
        found = [Product(*product) for has_words, _, *product in rows if has_words]
        if len(found) == limit or not rows or not rows[-1].is_end:
            return found
        others = {"words": " ".join(words), "after": rows[-1].id, "limit": limit - len(found)}
        rows = await self._database.fetch(_in_index(len(words)), {**parameters, **others})
        return [*found, *(Product(*row) for row in rows)]


class ReservationStore:
    """Reservations by the bill's id. Every call raises `DatabaseUnavailable`.

    Each transaction locks the reservation first, and then its products in the order of their ids. Transactions that
    lock in the same order do not deadlock.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(
        self, bill_id: str, decide: Decision, items: Sequence[ReservationItem] = ()
    ) -> tuple[Reservation | None, Reservation]:
        """Replace the bill's reservation, or None, by what `decide` makes of it. Return it before and after.

        If its items go out of stock they are taken from there, and if they come back they are put back. `items` are
        those that may go out of stock. What `decide` raises undoes everything, as do `ProductUnknown` and `OutOfStock`.
        """
        try:
            return await self._change(bill_id, decide, items)
        except IntegrityError:
            # Another task or process has added the bill's first reservation in the meantime. Now it can be found.
            return await self._change(bill_id, decide, items)

    async def _change(
        self, bill_id: str, decide: Decision, items: Sequence[ReservationItem]
    ) -> tuple[Reservation | None, Reservation]:
        async with self._database.write() as connection:
            before = await _lock(connection, bill_id)
            after = decide(before)
            if before is None:
                await _add(connection, after)
            elif before != after:
                await _update(connection, after)
            did_take_stock = before is not None and before.takes_stock
            if after.takes_stock and not did_take_stock:
                lines = await _take_out_of_stock(connection, items)
                if before is None:
                    await _add_lines(connection, bill_id, lines)
                    after = replace(after, lines=lines)
            elif did_take_stock and not after.takes_stock:
                await _put_back(connection, {line.product_id: line.quantity for line in after.lines})
        return before, after

    async def sell(self, bill_id: str) -> bool:
        """Commit the bill's reservation if it is held. Return False, and change nothing, if not."""
        return bool(await self._database.execute(_SELL, {"bill": bill_id}))

    async def expired(self, *, at: datetime, limit: int) -> Sequence[str]:
        """Return up to `limit` bills whose reservation may expire, those that have waited longest first."""
        query = select(reservations.c.bill_id).where(_is_overdue(at)).order_by(reservations.c.expires_at).limit(limit)
        return [bill_id for (bill_id,) in await self._database.fetch(query)]

    async def waiting(self, *, at: datetime) -> Waiting:
        """Return how many reservations may expire, and since when."""
        return await count_waiting(self._database, reservations.c.expires_at, _is_overdue(at))

    async def forget(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` reservations that are not held, and were not since `before`. Return how many."""
        old = select(reservations.c.bill_id).where(_has_ended_before(before)).order_by(reservations.c.expires_at)
        if not await self._database.fetch(old.limit(1)):
            return 0  # Without the lock that writing takes.
        async with self._database.write() as connection:
            # PostgreSQL skips rows that another process is deleting.
            ids = (await connection.execute(old.limit(limit).with_for_update(skip_locked=True))).scalars().all()
            await connection.execute(delete(reservation_lines).where(reservation_lines.c.bill_id.in_(ids)))
            await connection.execute(delete(reservations).where(reservations.c.bill_id.in_(ids)))
        return len(ids)

    async def forgettable(self, *, before: datetime) -> Waiting:
        """Return how many reservations `forget` would delete, and when the first of them expired."""
        return await count_waiting(self._database, reservations.c.expires_at, _has_ended_before(before))

    async def forget_products(self, *, before: datetime, limit: int) -> int:
        """Forget the stock of up to `limit` products that were deleted before `before`. Return of how many."""
        is_old = deleted_products.c.deleted_at < before
        old = select(deleted_products.c.id).where(is_old).order_by(deleted_products.c.deleted_at)
        if not await self._database.fetch(old.limit(1)):
            return 0
        async with self._database.write() as connection:
            ids = (await connection.execute(old.limit(limit).with_for_update(skip_locked=True))).scalars().all()
            await connection.execute(delete(deleted_products).where(deleted_products.c.id.in_(ids)))
        return len(ids)


def _is_overdue(at: datetime) -> ColumnElement[bool]:
    is_over = (reservations.c.expires_at <= at) | (reservations.c.expires_at > at + MAX_HOLD)
    return (reservations.c.status == "held") & is_over


def _has_ended_before(time: datetime) -> ColumnElement[bool]:
    return reservations.c.status.in_(("committed", "released", "expired")) & (reservations.c.expires_at < time)


_LOCKED = (
    select(
        reservations.c.status,
        reservations.c.expires_at,
        reservation_lines.c.position,
        *(reservation_lines.c[field.name] for field in fields(ReservationLine)),
    )
    .select_from(reservations.outerjoin(reservation_lines, reservation_lines.c.bill_id == reservations.c.bill_id))
    .where(reservations.c.bill_id == bindparam("bill"))
    .order_by(reservation_lines.c.position)
    .with_for_update(of=reservations)
)
"""A reservation with its lines, a row for each; or one row without a line."""
_LOCKED_PRODUCTS = (
    _SELECT.where(products.c.id.in_(bindparam("ids", expanding=True))).order_by(products.c.id).with_for_update()
)
_ADD_TO_STOCK = (
    update(products).where(products.c.id == bindparam("product")).values(stock=products.c.stock + bindparam("quantity"))
)
_ADD, _ADD_LINES = insert(reservations), insert(reservation_lines)
_UPDATE = update(reservations).where(reservations.c.bill_id == bindparam("bill"))
_SELL = _UPDATE.where(reservations.c.status == "held").values(status="committed").returning(reservations.c.bill_id)


async def _lock(connection: Transaction, bill_id: str) -> Reservation | None:
    """Return the bill's reservation, which no other transaction can change before this one ends."""
    rows = (await connection.execute(_LOCKED, {"bill": bill_id})).all()
    if not rows:
        return None
    status, expires_at, position = rows[0][:3]
    lines = [] if position is None else [ReservationLine(*row[3:]) for row in rows]
    return Reservation(bill_id, status, utc(expires_at), lines)


async def _take_out_of_stock(connection: Transaction, items: Sequence[ReservationItem]) -> Sequence[ReservationLine]:
    """Take the items out of stock, and return a line for each. Raises `ProductUnknown` and `OutOfStock`."""
    rows = await connection.execute(_LOCKED_PRODUCTS, {"ids": [item.product_id for item in items]})
    lines = lines_of(items, {row.id: Product(*row) for row in rows})
    await _add_to_stock(connection, {item.product_id: -item.quantity for item in items})
    return lines


async def _add_to_stock(connection: Transaction, quantities: Mapping[str, int]) -> None:
    """Add to the stock of the products with these ids, in the order of the ids."""
    if quantities:
        rows = [{"product": product_id, "quantity": quantities[product_id]} for product_id in sorted(quantities)]
        await connection.execute(_ADD_TO_STOCK, rows)


async def _put_back(connection: Transaction, quantities: Mapping[str, int]) -> None:
    """Put items back in stock. Those of a product that was deleted in the meantime count as its last stock."""
    query = select(products.c.id).where(products.c.id.in_(quantities)).order_by(products.c.id).with_for_update()
    present = set((await connection.execute(query)).scalars())
    await _add_to_stock(connection, {name: quantities[name] for name in present})
    for name in sorted(quantities.keys() - present):
        new_stock = deleted_products.c.stock + quantities[name]
        await connection.execute(update(deleted_products).where(deleted_products.c.id == name).values(stock=new_stock))


async def _add(connection: Transaction, reservation: Reservation) -> None:
    values = {
        "bill_id": reservation.bill_id,
        "status": reservation.status,
        "expires_at": reservation.expires_at,
    }
    await connection.execute(_ADD, values)


async def _add_lines(connection: Transaction, bill_id: str, lines: Sequence[ReservationLine]) -> None:
    rows = [{"bill_id": bill_id, "position": position, **asdict(line)} for position, line in enumerate(lines)]
    await connection.execute(_ADD_LINES, rows)


async def _update(connection: Transaction, reservation: Reservation) -> None:
    values = {"status": reservation.status, "expires_at": reservation.expires_at}
    await connection.execute(_UPDATE, {"bill": reservation.bill_id, **values})


def _columns(product: Product) -> dict[str, Any]:
    return {**asdict(product), "search_text": _words(product)}


def _words(product: Product) -> str:
    return search_text(product.name, product.description)
