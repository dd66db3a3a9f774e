"""Full-text search in the catalogue, and the stock of deleted products.

Triggers keep SQLite's index of words, so that it follows what older code writes as well.
"""

import sqlalchemy as sa
from alembic import op

from services.product.search import search_text

revision = "0003"
down_revision = "0002"
compatible_with = "0002"

BATCH = 500

SQLITE = (
    # FTS5 knows rows by numbers, and products have none: SQLite may change their hidden ones.
    "CREATE TABLE product_search_rows (number INTEGER PRIMARY KEY, id VARCHAR(32) NOT NULL UNIQUE)",
    # The words are made by services/product/search.py. The tokenizer `ascii` splits them at the spaces only.
    "CREATE VIRTUAL TABLE product_search USING fts5 (words, tokenize = 'ascii', prefix = '2 3')",
    "INSERT INTO product_search_rows (id) SELECT id FROM products ORDER BY id",
    "INSERT INTO product_search (rowid, words) "
    "SELECT number, search_text FROM product_search_rows JOIN products USING (id)",
    """
    CREATE TRIGGER product_search_add AFTER INSERT ON products BEGIN
        INSERT INTO product_search_rows (id) VALUES (new.id);
        INSERT INTO product_search (rowid, words)
            SELECT number, new.search_text FROM product_search_rows WHERE id = new.id;
    END
    """,
    """
    CREATE TRIGGER product_search_change AFTER UPDATE OF search_text ON products
    WHEN old.search_text <> new.search_text BEGIN
        UPDATE product_search SET words = new.search_text
            WHERE rowid = (SELECT number FROM product_search_rows WHERE id = new.id);
    END
    """,
    """
    CREATE TRIGGER product_search_remove AFTER DELETE ON products BEGIN
        DELETE FROM product_search WHERE rowid = (SELECT number FROM product_search_rows WHERE id = old.id);
        DELETE FROM product_search_rows WHERE id = old.id;
    END
    """,
)
POSTGRESQL = ("CREATE INDEX product_search ON products USING gin (to_tsvector('simple', search_text))",)


def upgrade() -> None:
    """Write the words of all products in their new form, and index them. Create the table."""
    op.create_table(
        "deleted_products",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("deleted_products_by_age", "deleted_products", ["deleted_at"])
    _rewrite_words()
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    """Drop the index and the table."""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("add", "change", "remove"):
            op.execute(f"DROP TRIGGER product_search_{name}")
        op.execute("DROP TABLE product_search")
        op.execute("DROP TABLE product_search_rows")
    else:
        op.execute("DROP INDEX product_search")
    op.drop_table("deleted_products")


def _rewrite_words() -> None:
    connection, last_id = op.get_bind(), ""
    query = sa.text("SELECT id, name, description FROM products WHERE id > :last_id ORDER BY id LIMIT :limit")
    update = sa.text("UPDATE products SET search_text = :words WHERE id = :id")
    while rows := connection.execute(query, {"last_id": last_id, "limit": BATCH}).all():
        words = [{"id": row.id, "words": search_text(row.name, row.description)} for row in rows]
        connection.execute(update, words)
        last_id = rows[-1].id
