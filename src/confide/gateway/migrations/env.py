"""Run by Alembic: apply revisions over the connection that `confide.gateway.migrate` opened.

All pending revisions share one transaction, so an interrupted upgrade leaves the old
schema and not half of the new one.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
