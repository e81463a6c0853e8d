"""One KEK as three SLIP-39 shares, any two of which restore it (extra `shares`).

The arithmetic is that of the library `shamir-mnemonic`, whose authors say that it takes
no precaution against side channels and is a reference implementation. `CAVEAT` is shown
whenever it is used.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from confide.client.keystore.kek import KEK_LENGTH, fingerprint
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import KeystoreError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["CAVEAT", "COUNT", "THRESHOLD", "combine", "read_share", "share_text", "split"]

COUNT: Final = 3
THRESHOLD: Final = 2
CAVEAT: Final = (
    "the library shamir-mnemonic says of itself: it uses no hardening techniques, passes"
    " secrets in the open, is most likely trivially vulnerable to side-channel attacks, is"
    " meant to verify other implementations, and should not be used for sensitive secrets."
    " Use it on a machine of your own, offline, with nobody else's programs running"
)
_MAX_WORDS: Final = 64


def split(kek: SecretBytes) -> tuple[str, ...]:
    """Make three shares of 33 words and prove that each pair gives the KEK back.

    Raises:
        KeystoreError: The library is not installed, or a pair gives another secret.
    """
    library = _library()
    (group,) = library.generate_mnemonics(1, [(THRESHOLD, COUNT)], kek.reveal())
    for pair in itertools.combinations(group, THRESHOLD):
        if combine(pair) != kek:
            raise KeystoreError("the shares do not give the key back; nothing was written")
    return tuple(group)


def combine(mnemonics: Sequence[str]) -> SecretBytes:
    """Restore a KEK from shares.

    Raises:
        KeystoreError: Too few, of different sets, mistyped, or not of a KEK. No word of
            a share is quoted.
    """
    library = _library()
    if any(len(text.split()) > _MAX_WORDS for text in mnemonics):
        raise KeystoreError("a share is too long")
    try:
        secret = library.combine_mnemonics([" ".join(text.split()) for text in mnemonics])
    except (library.MnemonicError, ValueError, IndexError):
        raise KeystoreError(
            "the shares do not fit together: too few, of different sets, or mistyped",
            hint=f"give {THRESHOLD} shares of one set, each in its own file",
        ) from None
    if len(secret) != KEK_LENGTH:
        raise KeystoreError("the shares are of something else than a KEK")
    return SecretBytes(secret)


def share_text(mnemonic: str, number: int, kek: SecretBytes) -> str:
    """Write one share as a text file that says what it is."""
    return (
        f"# confide: share {number} of {COUNT} of the client KEK {fingerprint(kek)} (SLIP-39).\n"
        f"# Any {THRESHOLD} restore it: confide keys restore --share FILE --share FILE\n"
        f"# One alone tells nothing. Keep the {COUNT} in different places.\n"
        f"{mnemonic}\n"
    )


def read_share(text: str) -> str:
    """Take the words out of a share file.

    Raises:
        KeystoreError: Not exactly one line of words.
    """
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    if len(lines) != 1:
        raise KeystoreError("a share file holds one line of words, and comments")
    return lines[0]


def _library() -> ModuleType:
    try:
        return importlib.import_module("shamir_mnemonic")
    except ModuleNotFoundError:
        raise KeystoreError(
            "the library for shares is not installed", hint="pip install 'confide[shares]'"
        ) from None
