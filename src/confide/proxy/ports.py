"""Find out which process listens on a port, from what Linux tells in /proc.

Other systems, and processes of other users, give None: the pid is a courtesy in an error
message, never a decision.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["holder_of"]

_LISTEN: Final = "0A"  # include/net/tcp_states.h
_TABLES: Final = ("tcp", "tcp6")


def holder_of(host: str, port: int, *, proc: Path = Path("/proc")) -> int | None:
    """Name the process that listens on an address.

    Args:
        host: Address that is taken, such as "127.0.0.1". A name matches any address.
        port: TCP port.
        proc: Where the kernel's files are.

    Returns:
        Process id, or None if it is not visible.
    """
    inodes = {f"socket:[{inode}]" for inode in _inodes(host, port, proc)}
    if not inodes:
        return None
    for directory in _processes(proc):
        try:
            descriptors = os.listdir(directory / "fd")
        except OSError:  # it ended, or belongs to another user
            continue
        for descriptor in descriptors:
            try:
                target = os.readlink(directory / "fd" / descriptor)
            except OSError:
                continue
            if target in inodes:
                return int(directory.name)
    return None


def _processes(proc: Path) -> Iterator[Path]:
    try:
        names = os.listdir(proc)
    except OSError:
        return
    yield from (proc / name for name in names if name.isdigit())


def _inodes(host: str, port: int, proc: Path) -> Iterator[str]:
    for table in _TABLES:
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTEN:
                continue
            address, _, hex_port = fields[1].partition(":")
            if int(hex_port, 16) == port and _same(_address(address), host):
                yield fields[9]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # The kernel prints 32-bit words in the machine's byte order.
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _same(address: ipaddress.IPv4Address | ipaddress.IPv6Address, host: str) -> bool:
    try:
        wanted = ipaddress.ip_address(host)
    except ValueError:
        return True
    return address == wanted or address.is_unspecified or wanted.is_unspecified
