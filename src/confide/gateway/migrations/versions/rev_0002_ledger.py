"""The ledger: the gateway's own rows, the enclaves' signed statements, daily sums."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("enclave", sa.Text, nullable=False),
        sa.Column("started_at", sa.Integer, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("bytes_up", sa.Integer, nullable=False),
        sa.Column("bytes_down", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_index("requests_by_time", "requests", ["started_at"])
    op.create_table(
        "usage_statements",
        sa.Column("boot_id", sa.Text, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("started_at", sa.Integer, nullable=False),
        sa.Column("statement", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    op.create_index("usage_statements_by_time", "usage_statements", ["started_at"])
    op.create_table(
        "chains",
        sa.Column("boot_id", sa.Text, primary_key=True),
        sa.Column("enclave", sa.Text, nullable=False),
        sa.Column("usage_key", sa.LargeBinary, nullable=False),
        sa.Column("through", sa.Integer, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
        sa.Column("problem", sa.Text),
    )
    op.create_table(
        "usage_daily",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("bytes_up", sa.Integer, nullable=False),
        sa.Column("bytes_down", sa.Integer, nullable=False),
        sa.Column("statements", sa.Integer, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
    )
