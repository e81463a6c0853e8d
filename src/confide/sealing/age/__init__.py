"""age v1 files for post-quantum recipients (age-encryption.org/v1, C2SP age.md).

Backups of keys are age files, so that the stock `age` tool (1.3 or later) opens them
without confide. No Python library we may depend on knows the recipient type
`mlkem768x25519`; the primitives are those of `confide.crypto`, and the format here is
checked against the vectors of the age project and against another implementation.
"""

from confide.sealing.age.file import MAX_FILE, count_recipients, decrypt, encrypt
from confide.sealing.age.keys import (
    HybridIdentity,
    HybridRecipient,
    Identity,
    Recipient,
    X25519Identity,
    X25519Recipient,
    parse_identities,
    parse_identity,
    parse_recipient,
)

__all__ = [
    "MAX_FILE",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Recipient",
    "X25519Identity",
    "X25519Recipient",
    "count_recipients",
    "decrypt",
    "encrypt",
    "parse_identities",
    "parse_identity",
    "parse_recipient",
]
