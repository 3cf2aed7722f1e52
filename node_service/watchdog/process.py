"""The node's side of the watchdog: starts it, gives it signs of life, starts it again."""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from types import TracebackType
from typing import Final, NoReturn, Self

from broker.children import Child
from hardware.drivers.interface import Rescue
from node_service.datadir import DataDir
from node_service.watchdog.__main__ import DONE, HERE, LONGEST, READY
from node_service.watchdog.account import Account, take
from node_service.watchdog.vigil import Vigil

READY_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 2.0
DISMISSED_SECONDS: Final = 2.0
LEAVING_SECONDS: Final = 5.0
"""In which the process is gone, once the block is left: databases and threads are closed."""
_BEAT: Final = 0.2
_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 5.0

log = logging.getLogger(__name__)


class Watchdog:
    """The watchdog's process, while the block runs; it outlives a node that dies in there.

    Enter it before any device is touched, and have the block hold everything that takes time to
    close: there are signs of life for as long as the block runs. Wait for `ready` in there before
    a device is touched.

    Args:
        directory: The node's own, which this process owns.
        rescues: How the devices are made safe.
        patience: Seconds after which a standstill of the event loop means that the node hangs.
        safe: Whether the devices are safe, asked at the end. If not, the watchdog stays, and acts
            as soon as this process is gone.

    Attributes:
        account: What the one before this one had to do.
        fault: Why nobody watches now, a sentence; None while somebody does.
    """

    def __init__(
        self,
        directory: DataDir,
        rescues: Mapping[str, Rescue],
        *,
        patience: float,
        safe: Callable[[], bool],
    ) -> None:
        self._directory = directory
        self._rescues = json.dumps({name: asdict(rescue) for name, rescue in rescues.items()})
        self._patience = patience
        self._safe = safe
        self._line: socket.socket | None = None
        self._child: Child | None = None
        self._listener: Callable[[], None] = lambda: None
        self._settled = asyncio.Event()
        self._keeping: asyncio.Task[NoReturn] | None = None
        self.account: Account | None = None
        self.fault: str | None = "the watchdog is starting"

    @property
    def pid(self) -> int | None:
        """Process id of the one that was started last."""
        return None if self._child is None else self._child.pid

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` when `fault` has changed."""
        self._listener = listener

    def beat(self, name: str, within: float) -> None:
        """Give a sign of life.

        Args:
            name: Of what lives.
            within: Seconds until the next one; after that this process is killed. Infinity: it
                will give none any more, for it has ended as it should.
        """
        self._say(f"{name} {within:.3f}".encode())

    async def __aenter__(self) -> Self:
        """Start it."""
        # If it fails there are no more signs of life, and the watchdog acts.
        self._keeping = asyncio.create_task(self._keep(), name="watchdog")
        return self

    async def ready(self) -> None:
        """Return when it watches, or after `READY_SECONDS`, with `fault` set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self._settled.wait()
        # What the one before did is known now: it has ended.
        self.account = await asyncio.to_thread(take, self._directory.rescue)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Dismiss it if everything is safe."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        if self._safe():
            await self._dismiss()
        else:
            log.critical("the reactor is not known to be safe: the watchdog takes over")
            self.beat("event loop", max(self._patience, LEAVING_SECONDS))
            if self._line is not None:
                self._line.detach()  # closed by the end of the process alone, which it tells
                self._line = None

    async def _dismiss(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        self._say(DONE)
        try:
            async with asyncio.timeout(DISMISSED_SECONDS):
                await child.wait()
        except TimeoutError:
            log.warning("the watchdog did not end by itself: killed")
        finally:
            child.kill()

    def _say(self, message: bytes) -> None:
        if self._line is not None:
            # Full or closed: it hangs or is dead, which is found out by its silence.
            with suppress(BlockingIOError, ConnectionError):
                self._line.send(message)

    async def _keep(self) -> NoReturn:
        delay = _FIRST_DELAY
        while True:
            why = await self._watch_one()
            self._change(f"the watchdog {why}; it is started again")
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _watch_one(self) -> str:
        """Start one and give it signs of life; return why it is none any more."""
        child: Child | None = None
        with ExitStack() as stack:
            try:
                child = self._start(stack)
                return await self._attend(child)
            except OSError as error:
                return f"cannot be started: {error}"
            except asyncio.CancelledError:
                stack.pop_all()  # it watches on until it is dismissed, or this process is gone
                child = None
                raise
            finally:
                if child is not None:
                    child.kill()

    def _start(self, stack: ExitStack) -> Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        ours.setblocking(False)
        with theirs:
            this = os.pidfd_open(os.getpid())
            try:
                self._child = Child.start(
                    [
                        *(sys.executable, "-m", "node_service.watchdog"),
                        f"--socket={theirs.fileno()}",
                        f"--node={this}",
                        f"--lock={self._directory.watchdog_lock}",
                        f"--account={self._directory.rescue}",
                        f"--rescues={self._rescues}",
                    ],
                    death_signal=None,
                    pass_fds=(theirs.fileno(), this),
                )
            finally:
                os.close(this)
        self._line = ours
        stack.callback(self._hang_up)
        return self._child

    async def _attend(self, child: Child) -> str:
        loop = asyncio.get_running_loop()
        vigil = Vigil()
        vigil.heard("watchdog", READY_SECONDS)
        before = loop.time()
        while child.returncode is None:
            self.beat("event loop", self._patience)
            for message in self._heard():
                vigil.heard("watchdog", SILENT_SECONDS)
                if message == READY:
                    self._change(None)
            now = loop.time()
            if vigil.passed(now - before) is not None:
                return "gives no sign of life"
            before = now
            await asyncio.sleep(_BEAT)
        return f"ended with status {child.returncode}"

    def _heard(self) -> list[bytes]:
        heard: list[bytes] = []
        if self._line is not None:
            with suppress(BlockingIOError, ConnectionError):
                while message := self._line.recv(LONGEST):
                    heard.append(message)
        return [message for message in heard if message in {READY, HERE}]

    def _hang_up(self) -> None:
        self._line = None

    def _change(self, fault: str | None) -> None:
        if fault is None:
            self._settled.set()
        elif fault != self.fault:
            log.critical("%s", fault)
        self.fault = fault
        self._listener()
