"""Domains that may use everything may use audio as well; a narrower choice stays as it is."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ALL = {"chat", "completions", "embeddings", "models"}


def upgrade() -> None:
    """Add the operation to the domains that had all of the earlier ones."""
    domains = sa.table("domains", sa.column("id", sa.Text), sa.column("operations", sa.Text))
    connection = op.get_bind()
    for identity, operations in connection.execute(sa.select(domains.c.id, domains.c.operations)):
        given = json.loads(operations)
        if set(given) == _ALL:
            connection.execute(
                domains.update()
                .where(domains.c.id == identity)
                .values(operations=json.dumps([*given, "audio"], separators=(",", ":")))
            )
