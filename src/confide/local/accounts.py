"""The API key of this machine's user: made on the first run, kept on every other."""

from __future__ import annotations

import time
from pathlib import Path

from confide.gateway.accounts import Accounts
from confide.identity.api_keys import digest, mint
from confide.identity.records import ApiKeyRecord
from confide.local.home import write_private

__all__ = ["ensure_api_key"]

_LABEL = "confide up"


def _accepted(record: ApiKeyRecord, now: float) -> bool:
    expired = record.expires_at is not None and record.expires_at <= now
    return record.revoked_at is None and not expired


def ensure_api_key(file: Path, database: Path, pepper: bytes) -> None:
    """Leave a key in `file` that the gateway of `database` accepts.

    An existing key is kept while the gateway knows it. A new one replaces it when it was
    revoked or belongs to a database that is gone.

    Args:
        file: Where the clear key lies, mode 0600.
        database: The gateway's database, migrated.
        pepper: The gateway's pepper.

    Raises:
        ConfigError: A file cannot be written.
    """
    now = time.time()  # noqa: TID251 - the local stack is a composition root
    accounts = Accounts(database)
    if file.exists():
        held = digest(pepper, file.read_bytes().strip())
        known = accounts.keys()
        if any(record.digest == held and _accepted(record, now) for record in known):
            return
    clear, record = mint(pepper, now=now, label=_LABEL)
    accounts.add_key(record)
    write_private(file, clear.reveal().encode() + b"\n")
