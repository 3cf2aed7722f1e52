"""Which ports are free, and on which addresses a port is listened to (Linux's /proc/net)."""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def free_port() -> int:
    """Return a TCP port on loopback that nobody uses; somebody may take it before the caller."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def addresses_of_port(port: int) -> list[Address]:
    """Return the local addresses on which any process of this machine listens to the port."""
    return [address for address, number, _ in _listening() if number == port]


def listening(pid: int) -> set[tuple[Address, int]]:
    """Return the TCP addresses and ports on which a process of ours listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    return {(address, port) for address, port, inode in _listening() if inode in inodes}


def _listening() -> Iterator[tuple[Address, int, str]]:
    """Yield address, port and inode of each socket of this machine that listens."""
    for name in ("tcp", "tcp6"):
        table = Path("/proc/net") / name
        if not table.exists():  # a kernel without IPv6
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == _LISTEN:
                yield _address(address), int(number, 16), fields[9]


def _address(text: str) -> Address:
    """Parse the kernel's notation: 32-bit words in the machine's order, in hexadecimal."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
