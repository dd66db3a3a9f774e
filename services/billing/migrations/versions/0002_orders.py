"""Orders. The idempotency keys of bills move there."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
compatible_with = "0002"  # Code before it expects the keys in `bills`.

BILLS = "id, uid, status, created_at, currency"
BELOW_BILLS = {
    "bill_lines": "bill_id, position, product_id, name, unit_amount, quantity",
    "deliveries": "id, bill_id, status, address, created_at, updated_at",
}


def upgrade() -> None:
    """Create the table, with an order for each bill, so that its key stays known."""
    op.create_table(
        "orders",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("uid", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("problem_code", sa.String(40), nullable=True),
        sa.Column("problem_detail", sa.String(500), nullable=True),
        sa.Column("lease", sa.String(32), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("uid", "idempotency_key", name="one_order_for_a_key"),
    )
    op.create_index("orders_by_lease", "orders", ["status", "lease_until"])
    op.create_index("orders_by_age", "orders", ["created_at"])
    op.execute(
        "INSERT INTO orders (id, uid, idempotency_key, fingerprint, items, created_at, status, lease, lease_until) "
        "SELECT id, uid, idempotency_key, fingerprint, '[]', created_at, 'issued', '', created_at FROM bills"
    )
    _set_aside()
    _make_bills()
    op.execute(f"INSERT INTO bills ({BILLS}) SELECT {BILLS} FROM old_bills")  # noqa: S608 - names from above
    _put_back()


def downgrade() -> None:
    """Give bills their keys back, and drop orders without a bill. A bill whose key was forgotten gets its id."""
    _set_aside()
    _make_bills(
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.UniqueConstraint("uid", "idempotency_key", name="one_bill_for_a_key"),
    )
    op.execute(
        "INSERT INTO bills (id, uid, status, created_at, currency, idempotency_key, fingerprint) "
        "SELECT b.id, b.uid, b.status, b.created_at, b.currency, coalesce(o.idempotency_key, b.id), "
        "coalesce(o.fingerprint, '') FROM old_bills AS b LEFT JOIN orders AS o ON o.id = b.id"
    )
    _put_back()
    op.drop_table("orders")


def _set_aside() -> None:
    """Copy the tables and drop them. To change a table, SQLite must recreate it and the tables that refer to it."""
    for table in (*BELOW_BILLS, "bills"):
        op.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")  # noqa: S608 - names from above
        op.drop_table(table)


def _make_bills(*key: sa.Column[str] | sa.UniqueConstraint) -> None:
    op.create_table(
        "bills",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("uid", sa.String(128), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        *key,
    )
    op.create_index("bills_of_a_user", "bills", ["uid", "id"])
    op.create_table(
        "bill_lines",
        sa.Column("bill_id", sa.String(32), sa.ForeignKey("bills.id"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("product_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("unit_amount", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("bill_id", sa.String(32), sa.ForeignKey("bills.id"), nullable=False, unique=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("address", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )


def _put_back() -> None:
    for table, columns in BELOW_BILLS.items():
        op.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM old_{table}")  # noqa: S608 - names from above
        op.drop_table(f"old_{table}")
    op.drop_table("old_bills")
