"""What the `env.py` of every service's migrations does."""

from alembic import context
from sqlalchemy import MetaData


def run(metadata: MetaData) -> None:
    """Runs Alembic's migrations on the connection that `services.common.database` opened, in its transaction.

    `metadata` describes the tables as the service's store knows them.
    """
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
