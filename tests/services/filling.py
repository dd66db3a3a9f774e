"""Fills databases as they are in a shop that has run for long: many rows, by a few statements of SQL."""

from sqlalchemy import Connection, text

from tests.services.databases import on

OUTBOX_ROWS = 20_000


def numbers(kind: str, count: int) -> str:
    """Return the statement that makes the table `numbers`, with a row for each n from 1 to `count`.

    `id` is n in 32 hexadecimal digits, `recent` is within the last day, `old` is a day or longer ago, and `later` is in
    an hour. `kind` is "sqlite" or "postgresql".
    """
    if kind == "sqlite":
        return f"""
            CREATE TABLE numbers AS
            WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {count})
            SELECT n, printf('%032x', n) AS id,
                strftime('%Y-%m-%d %H:%M:%S.000000', 'now', printf('-%d seconds', n % 80000)) AS recent,
                strftime('%Y-%m-%d %H:%M:%S.000000', 'now', printf('-%d seconds', 90000 + n)) AS old,
                strftime('%Y-%m-%d %H:%M:%S.000000', 'now', '1 hour') AS later
            FROM count
        """
    return f"""
        CREATE TABLE numbers AS
        SELECT n, lpad(to_hex(n), 32, '0') AS id, now() - (n % 80000) * interval '1 second' AS recent,
            now() - (90000 + n) * interval '1 second' AS old, now() + interval '1 hour' AS later
        FROM generate_series(1, {count}) AS n
    """


def in_billing(backlog: int) -> list[str]:
    """Return the statements for Billing: a bill, an order and a delivery for each number. So many of them wait.

    Without a backlog, nothing is pending or in the outbox: a running service leaves all rows as they are.
    """
    statements = [
        "INSERT INTO bills SELECT id, 'user-' || (n % 1000), 'issued', recent, 'USD' FROM numbers",
        "INSERT INTO bill_lines SELECT id, 0, id, 'Kettle', 4990, 1 FROM numbers",
        f"""INSERT INTO orders (id, uid, idempotency_key, fingerprint, items, created_at, status, lease, lease_until)
            SELECT id, 'user-' || (n % 1000), id, 'x', '[["a", 1]]', CASE WHEN n < {backlog} THEN old ELSE recent END,
            CASE WHEN n BETWEEN {backlog} AND {2 * backlog} THEN 'pending' ELSE 'issued' END, 'x',
            CASE WHEN n < {backlog} THEN old ELSE recent END FROM numbers""",
        "INSERT INTO deliveries SELECT id, id, 'requested', '{}', recent, recent FROM numbers",
    ]
    if backlog:
        statements.append(
            f"""INSERT INTO outbox SELECT id, 0, 0, CASE WHEN n < {backlog} THEN recent ELSE later END, NULL, NULL
            FROM numbers WHERE n < {OUTBOX_ROWS}"""
        )
    return statements


def in_product(products: int, backlog: int) -> list[str]:
    """Return the statements for Product: so many products, and a reservation for each number. So many of them wait.

    Each product has the words "product" and "steel" and one of its own, and each hundredth has the word "rare".
    """
    return [
        f"""INSERT INTO products SELECT id, 'Product ' || n, 'Steel', 100, 'USD', 1000,
            'product steel word' || n || CASE WHEN n % 100 = 0 THEN ' rare' ELSE '' END
            FROM numbers WHERE n <= {products}""",
        f"""INSERT INTO reservations SELECT id, CASE WHEN n < {backlog} THEN 'held' WHEN n < {2 * backlog}
            THEN 'released' ELSE 'committed' END, CASE WHEN n < {3 * backlog} THEN old ELSE recent END FROM numbers""",
        "INSERT INTO reservation_lines SELECT id, 0, id, 'Kettle', 4990, 'USD', 1 FROM numbers",
        f"""INSERT INTO deleted_products SELECT id, 'x', 1, CASE WHEN n < {backlog} THEN old ELSE recent END
            FROM numbers""",
    ]


def in_user(backlog: int) -> list[str]:
    """Return the statements for User: a profile, an attempt and a network for each number. So many can be forgotten."""
    return [
        "INSERT INTO profiles SELECT id, 'x', 'x', NULL, NULL, recent FROM numbers",
        f"""INSERT INTO attempts SELECT id, 'subject-' || (n % 10000), n,
            CASE WHEN n < {backlog} THEN n ELSE n + 10000000 END FROM numbers""",
        "INSERT INTO known_networks SELECT 'account-' || (n % 20000), id, n FROM numbers",
    ]


async def fill(url: str, kind: str, count: int, statements: list[str]) -> None:
    """Execute the statements in a database of this kind, with a table `numbers` up to `count`."""

    def work(connection: Connection) -> None:
        for statement in (numbers(kind, count), *statements, "DROP TABLE numbers", "ANALYZE"):
            connection.execute(text(statement))

    await on(url, work)
