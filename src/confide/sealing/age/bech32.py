"""Bech32 (BIP 173) as age uses it: no limit of 90 characters, whole bytes only.

A checksum of 30 bits finds typing errors; it authenticates nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confide.errors import AgeFileError

__all__ = ["MAX_LENGTH", "decode", "encode"]

MAX_LENGTH: Final = 4096
"""Longest text that is read, in characters; a post-quantum recipient has 1,959."""

_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def encode(prefix: str, data: bytes) -> str:
    """Write bytes under a lower-case prefix, in lower case."""
    values = list(_regroup(data, 8, 5))
    if rest := len(data) * 8 % 5:
        # The last letter carries what is left, padded with zero bits.
        values.append(data[-1] << (5 - rest) & 31)
    residue = _polymod([*_expand(prefix), *values, *[0] * 6]) ^ 1
    values += [residue >> 5 * (5 - i) & 31 for i in range(6)]
    return f"{prefix}1{''.join(_ALPHABET[value] for value in values)}"


def decode(text: str) -> tuple[str, bytes]:
    """Read a text all in one case.

    Returns:
        The prefix in lower case, and the bytes.

    Raises:
        AgeFileError: Not Bech32, or its checksum is wrong. The text is not quoted: it
            may be a secret key.
    """
    if len(text) > MAX_LENGTH or text not in (text.lower(), text.upper()):
        raise AgeFileError("a key is too long or mixes upper and lower case")
    prefix, separator, rest = text.lower().rpartition("1")
    if not separator or not prefix or len(rest) < 6:
        raise AgeFileError("a key is not Bech32")
    if not all(33 <= ord(letter) <= 126 for letter in prefix) or not set(rest) <= _VALUES.keys():
        raise AgeFileError("a key has a character that Bech32 does not have")
    values = [_VALUES[letter] for letter in rest]
    if _polymod([*_expand(prefix), *values]) != 1:
        raise AgeFileError("the checksum of a key is wrong: it was mistyped or cut")
    payload = values[:-6]
    unused = len(payload) * 5 % 8
    if unused > 4 or (unused and payload[-1] & ((1 << unused) - 1)):
        raise AgeFileError("a key does not end on a whole byte")
    return prefix, bytes(_regroup(payload, 5, 8))


def _expand(prefix: str) -> list[int]:
    codes = prefix.encode()
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _polymod(values: Iterable[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                checksum ^= generator
    return checksum


def _regroup(values: Iterable[int], width: int, wanted: int) -> Iterable[int]:
    """Cut a stream of `width`-bit numbers into complete `wanted`-bit ones."""
    store = bits = 0
    for value in values:
        store = (store << width | value) & 0xFFFF
        bits += width
        while bits >= wanted:
            bits -= wanted
            yield store >> bits & ((1 << wanted) - 1)
