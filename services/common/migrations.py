"""What the `env.py` of each service's migrations runs."""

from alembic import context
from sqlalchemy import MetaData


def run(metadata: MetaData) -> None:
    """Run Alembic's migrations on the connection that `services.common.database` opened, in its transaction.

    `metadata` describes the tables of the service's store.
    """
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
