"""Accounts: domains, API keys, enclaves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables and the default domain's counter."""
    revisions = op.create_table(
        "revisions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
    )
    op.bulk_insert(revisions, [{"name": "accounts", "value": 1}])
    domains = op.create_table(
        "domains",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("operations", sa.Text, nullable=False),
        sa.Column("usage", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
    )
    op.bulk_insert(
        domains,
        [
            {
                "id": "default",
                "models": '["*"]',
                "operations": '["chat","completions","embeddings","models"]',
                "usage": "bucketed",
                "created_at": 0,
            }
        ],
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("domain", sa.Text, sa.ForeignKey("domains.id"), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("tail", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer),
        sa.Column("revoked_at", sa.Integer),
        sa.Column("last_used_on", sa.Integer),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("burst", sa.Integer),
        sa.Column("max_streams", sa.Integer),
    )
    op.create_table(
        "enclaves",
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("added_at", sa.Integer, nullable=False),
    )
