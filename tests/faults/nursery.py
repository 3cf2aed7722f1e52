"""Lives of one program, one after another, forked from a parent that has imported it already.

To import a service takes longer than most of its lives here last. The parent stays single-threaded
and opens nothing, so a life begins as a new process does, but for the imports.
"""

import ctypes
import os
import select
import signal
import socket
import traceback
from asyncio import get_running_loop
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import NoReturn, Self

from broker.children import Child
from broker.tether import PR_SET_PDEATHSIG

_END = b"end"
_LONGEST = 4096


class Life:
    """A forked process; use `Nursery.life`."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._status: int | None = None

    async def wait(self) -> int:
        """Return the exit status, negative for a signal."""
        if self._status is None:
            told = await get_running_loop().sock_recv(self._orders, _LONGEST)
            assert told, "the nursery ended"
            self._status = int(told)
        return self._status

    async def stop(self) -> None:
        """Kill it, unless it is dead; return when it is."""
        if self._status is None:
            self._orders.send(_END)
            await self.wait()


class Nursery:
    """The parent, as the test sees it; made by `start`."""

    def __init__(self, child: Child, orders: socket.socket) -> None:
        self._child = child
        self._orders = orders

    @classmethod
    def start(cls, command: Sequence[str], *, cwd: Path, on_line: Callable[[str], None]) -> Self:
        """Start a program that calls `serve` with the descriptor that is its last argument."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with closing(theirs):
            number = theirs.fileno()
            child = Child.start(
                [*command, str(number)], cwd=cwd, pass_fds=[number], on_line=on_line
            )
        return cls(child, ours)

    @property
    def last_lines(self) -> Sequence[str]:
        """What was said last, whichever life said it."""
        return list(self._child.last_lines)

    @asynccontextmanager
    async def life(self, order: str) -> AsyncIterator[Life]:
        """Have one life lived; only one at a time."""
        self._orders.send(f"live {order}".encode())
        life = Life(self._orders)
        try:
            yield life
        finally:
            await life.stop()

    async def stop(self) -> None:
        """End it."""
        await self._child.stop(0.0)
        self._orders.close()


def serve(number: int, live: Callable[[str], object]) -> None:
    """Fork a life for each order that comes, until the test is gone.

    Args:
        number: Descriptor of the socket by which orders come.
        live: Called in the forked process with the order.
    """
    ours = os.getpid()
    with socket.socket(fileno=number) as orders:
        while order := orders.recv(_LONGEST):
            verb, _, rest = order.decode().partition(" ")
            if verb != "live":
                continue  # the order to end came when it had ended
            pid = os.fork()
            if pid == 0:
                orders.close()
                _live(ours, live, rest)
            orders.send(str(_end_of(pid, orders)).encode())


def _live(parent: int, live: Callable[[str], object], order: str) -> NoReturn:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    try:
        live(order)
        status = 0
    except BaseException:  # noqa: BLE001  this process must not go on as its parent, whatever it is
        traceback.print_exc()
        status = 1
    os._exit(status)


def _end_of(pid: int, orders: socket.socket) -> int:
    """Return how a process ended; kill it if anything comes in, or nobody listens any more."""
    descriptor = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([descriptor, orders.fileno()], [], [])
        if descriptor not in ready:
            orders.recv(_LONGEST)
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
