"""Edits of well-formed inputs, the same ones every time.

A random generator with a fixed seed chooses them, so a failure is found again by its number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["cuts", "floods", "mutants"]

_EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x30", b'"', b"\\", b"{", b"[", b"<", b"&", b"-")
_MEGABYTE = 1024 * 1024


def cuts(seed: bytes, *, most: int) -> Iterator[bytes]:
    """Yield the input cut at every byte, or at `most` places if it is longer."""
    step = max(1, -(-len(seed) // most))
    for length in range(0, len(seed), step):
        yield seed[:length]


def floods(seed: bytes) -> Iterator[bytes]:
    """Yield inputs of a megabyte, and inputs that nest: they start like a well-formed one."""
    middle = len(seed) // 2
    for filler in (b"\x00", b"\xff", b"\x30\x80", b"A", b" ", b"[", b'{"a":', b"<a>", b"(", b"\n"):
        flood = filler * (_MEGABYTE // len(filler))
        yield flood
        yield seed + flood
        yield seed[:middle] + flood + seed[middle:]
        yield seed[:middle] + filler * 5000 + seed[middle:]
    yield seed * max(2, _MEGABYTE // max(1, len(seed)))
    yield b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n" * 20_000
    yield b"-----BEGIN CERTIFICATE-----" * 40_000
    # DER: a length of almost everything, and constructed values inside one another.
    yield b"\x30\x84\x7f\xff\xff\xff" + seed
    yield b"\x30\x82\xff\xff" * 10_000
    yield b'{"v":' + b"9" * 500_000 + b"}"
    yield b'{"v":"' + b"\\u0041" * 100_000 + b'"}'


def mutants(seeds: tuple[bytes, ...], count: int, *, number: int = 0) -> Iterator[bytes]:
    """Yield `count` edited inputs."""
    chance = random.Random(number)
    for index in range(count):
        raw = bytearray(seeds[index % len(seeds)])
        for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
            _edit(raw, chance, seeds)
        yield bytes(raw)


def _edit(raw: bytearray, chance: random.Random, seeds: tuple[bytes, ...]) -> None:
    at = chance.randrange(len(raw) + 1)
    other = chance.choice(seeds)
    match chance.randrange(8):
        case 0 if at < len(raw):
            raw[at] ^= 1 << chance.randrange(8)
        case 1:
            width = chance.choice((1, 2, 4, 8))
            raw[at : at + width] = chance.choice(_EXTREMES)[:1] * width
        case 2:
            raw[at : at + 4] = chance.randrange(2**32).to_bytes(4, chance.choice(("big", "little")))
        case 3:
            del raw[at : at + chance.randrange(1, 64)]
        case 4:
            raw[at:at] = chance.choice(_EXTREMES) * chance.choice((1, 2, 64, 3000))
        case 5:
            start = chance.randrange(len(other) + 1)
            raw[at:at] = other[start : start + chance.randrange(1, 512)]
        case 6:
            del raw[at:]
        case _:
            raw[at : at + 1] = bytes([chance.randrange(256)])
