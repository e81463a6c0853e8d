"""Primitives: bytes in, bytes out. Hazardous material; use `confide.sealing` instead.

Only what no library offers is written here: the X-Wing combiner and the RFC 9180
key schedule with an exporter. Every cipher, curve, lattice and hash below them is
the `cryptography` package or `hashlib`. No I/O, no clock, no configuration, no logs.
"""

from __future__ import annotations

__all__ = ["aead", "chunks", "dhkem", "hpke", "kdf", "secret_bytes", "xwing"]
