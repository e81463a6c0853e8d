"""Where the client KEK lies: an OS keyring, a file under a passphrase, or a private file.

The KEK (key encryption key, 32 bytes) never leaves this machine except in a backup that
its owner asks for. It wraps the keys of files; a lost KEK means lost files, so it is
created once, never replaced silently, and kept as retired when it is rotated. Requests
and answers do not need it.
"""

from confide.client.keystore.backup import DrillReport, drill, open_backup, seal_backup
from confide.client.keystore.kek import KEK_LENGTH, encode_kek, fingerprint, parse_kek
from confide.client.keystore.keyset import KeyEntry, KeyLabel, KeySet
from confide.client.keystore.passphrase import existing_passphrase, new_passphrase
from confide.client.keystore.store import (
    Passphrase,
    StoreInfo,
    StoreKind,
    create_kek,
    create_keys,
    describe,
    ensure_kek,
    load_kek,
    load_keys,
    locked,
    move_keys,
    replace_keys,
)

__all__ = [
    "KEK_LENGTH",
    "DrillReport",
    "KeyEntry",
    "KeyLabel",
    "KeySet",
    "Passphrase",
    "StoreInfo",
    "StoreKind",
    "create_kek",
    "create_keys",
    "describe",
    "drill",
    "encode_kek",
    "ensure_kek",
    "existing_passphrase",
    "fingerprint",
    "load_kek",
    "load_keys",
    "locked",
    "move_keys",
    "new_passphrase",
    "open_backup",
    "parse_kek",
    "replace_keys",
    "seal_backup",
]
