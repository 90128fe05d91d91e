"""Alembic's entry: runs the scripts on the connection that `upgrade` opened and locked."""

from alembic import context

from worker.storage import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    transaction_per_migration=False,
)
context.run_migrations()
