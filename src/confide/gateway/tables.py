"""Tables of the gateway's database, for administration and for checking migrations.

The request path does not import this module: it uses `sqlite3` directly
(`confide.gateway.ledger`, `confide.gateway.callers`), because an ORM or Core look-up costs
more there than everything else together. A test compares these tables with what the
migrations make, in both directions.

There is no column for a prompt, an answer, a model's name, a client's address or an API key.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

__all__ = ["api_keys", "chains", "domains", "enclaves", "metadata", "revisions", "usage_daily"]

metadata = MetaData()

#: Bumped in the transaction that changes accounts; a running gateway polls it.
revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
)

domains = Table(
    "domains",
    metadata,
    Column("id", Text, primary_key=True),
    Column("models", Text, nullable=False),  # JSON list of names
    Column("operations", Text, nullable=False),  # JSON list
    Column("usage", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("domain", Text, ForeignKey("domains.id"), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("tail", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer),
    Column("revoked_at", Integer),
    Column("last_used_on", Integer),
    Column("requests_per_minute", Integer),
    Column("burst", Integer),
    Column("max_streams", Integer),
)

enclaves = Table(
    "enclaves",
    metadata,
    Column("url", Text, primary_key=True),
    Column("added_at", Integer, nullable=False),
)

#: One row per sealed request, written by the gateway itself.
requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("domain", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("enclave", Text, nullable=False),
    Column("started_at", Integer, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("bytes_up", Integer, nullable=False),
    Column("bytes_down", Integer, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Index("requests_by_time", "started_at"),
)

#: Statements the enclaves signed, byte for byte.
usage_statements = Table(
    "usage_statements",
    metadata,
    Column("boot_id", Text, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("started_at", Integer, nullable=False),
    Column("statement", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Index("usage_statements_by_time", "started_at"),
)

#: How far each enclave's chain of statements was followed, and why no further.
chains = Table(
    "chains",
    metadata,
    Column("boot_id", Text, primary_key=True),
    Column("enclave", Text, nullable=False),
    Column("usage_key", LargeBinary, nullable=False),
    Column("through", Integer, nullable=False),
    Column("head", Text, nullable=False),  # SHA-256 of the last statement, hexadecimal
    Column("problem", Text),
)

usage_daily = Table(
    "usage_daily",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # Unix midnight, UTC
    Column("domain", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("bytes_up", Integer, nullable=False),
    Column("bytes_down", Integer, nullable=False),
    Column("statements", Integer, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
)
