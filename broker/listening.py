"""Which ports are free, and on which addresses a port is listened to (Linux's /proc/net)."""

import errno
import ipaddress
import os
import random
import socket
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"
_LOOPBACK: Final = "127.0.0.1"
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST: Final = 20000
_LAST_RESORT: Final = 32768
"""Where our ports end if the kernel gives away nearly all by itself."""
_BLOCK: Final = 200

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def free_port() -> int:
    """Return a TCP port on loopback that nobody uses, for the caller to bind when it likes.

    As long as this process lives, no other is given it by this function, nor does the kernel take
    it for a connection or for a socket that asks for any port.

    Raises:
        OSError: All are in use.
    """
    for port in _share.ports():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers bind
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
        return port
    raise OSError(errno.EADDRINUSE, f"no port is free on {_LOOPBACK}")


class _Share:
    """The ports of this process: blocks that are its own as long as it holds their names."""

    def __init__(self) -> None:
        self._ports: deque[int] = deque()
        self._names: list[socket.socket] = []

    def ports(self) -> Iterator[int]:
        """Yield all, those given last at the end, and then what nobody else has."""
        yield from self._next(len(self._ports))
        firsts = range(_FIRST, _end() - _BLOCK + 1, _BLOCK)
        for first in random.sample(firsts, len(firsts)):
            if self._hold(first):
                self._ports.extendleft(reversed(range(first, first + _BLOCK)))
                yield from self._next(_BLOCK)

    def _next(self, count: int) -> Iterator[int]:
        for _ in range(count):
            self._ports.rotate(-1)
            yield self._ports[-1]

    def give_up(self) -> None:
        """Leave the ports to the process that this one was forked from."""
        self._ports.clear()
        for name in self._names:
            name.close()
        self._names.clear()

    def _hold(self, first: int) -> bool:
        """Take a block by a name of Unix sockets that no file has: it goes with the process."""
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0bioreactor-ports-{first}")
        except OSError:
            name.close()
            return False
        self._names.append(name)
        return True


def _end() -> int:
    """Return where the ports begin that the kernel gives away, unless these are nearly all."""
    low = int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    return low if low >= _FIRST + _BLOCK else _LAST_RESORT


_share = _Share()
os.register_at_fork(after_in_child=_share.give_up)


def listeners(*ports: int) -> list[tuple[Address, int]]:
    """Return where any process of this machine listens to one of the ports: addresses and ports.

    The kernel takes milliseconds to tell, for however many ports.
    """
    return [(address, port) for address, port, _ in _listening() if port in ports]


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
