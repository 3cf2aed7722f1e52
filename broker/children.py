"""Child processes that die with their parent, even if it is killed, and are started again.

The kernel sends the signal (PR_SET_PDEATHSIG) when the *thread* that started the child ends, so
children are started from the event loop's thread, which lives as long as the process. The kernel
forgets the wish when a process changes its user: a child that shall run as somebody else is given
that user before it is tethered, and must not change it.
"""

import asyncio
import logging
import os
import random
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, Self

log = logging.getLogger(__name__)

_TETHER: Final = Path(__file__).with_name("tether.py")
_LONGEST_LINE: Final = 16 * 1024
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 5.0
_STEADY_AFTER: Final = 10.0
_ROUTINE: Final = re.compile(r"(?:\S+ )?(?:INFO|DEBUG) ")
"""How a line of a log begins that says nothing of an end."""


class RefusedError(Exception):
    """A child said that starting it again would not help; the message is its last line."""


class Child:
    """A running child process; made by `start`, ended by `stop`.

    Attributes:
        last_lines: The last lines of its output, where it is read.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], on_line: Callable[[str], None] | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._on_line = on_line
        self._partial = b""
        self.last_lines: deque[str] = deque(maxlen=20)
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
            self._loop.add_reader(process.stdout.fileno(), self._read)

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: tuple[int, int] | None = None,
        death_signal: signal.Signals | None = signal.SIGKILL,
        pass_fds: Collection[int] = (),
        on_line: Callable[[str], None] | None = None,
    ) -> Self:
        """Start a program.

        It gets a session of its own, so Ctrl-C in the terminal reaches the parent alone.

        Args:
            command: Program and arguments.
            env: Its whole environment; None: ours.
            cwd: Entered before the user changes, so its parents need not be open to that user.
            user: User and group id to run as; needs root.
            death_signal: Sent when this process dies, however it dies; None: it lives on.
            pass_fds: Descriptors that it inherits, by the same numbers.
            on_line: Given each line of its output (both streams); None: it inherits ours.

        Raises:
            OSError: It could not be started. (A program that does not exist shows only in the
                exit status: 1, and a line that says so.)
        """
        who = "-" if user is None else f"{user[0]}:{user[1]}"
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(_TETHER)),
                *(str(os.getpid()), str(int(death_signal or 0)), who, *command),
            ],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=None if on_line is None else subprocess.PIPE,
            stderr=None if on_line is None else subprocess.STDOUT,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
        return cls(process, on_line)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if not self._ended.done():
            signal.pidfd_send_signal(self._pidfd, number)

    async def wait(self) -> int:
        """Wait until it ended; return its exit status, negative for a signal."""
        return await asyncio.shield(self._ended)

    async def stop(self, grace: float = 10.0) -> int:
        """Ask it to end (SIGTERM), kill it after `grace` seconds; return its exit status.

        If the caller is cancelled meanwhile, the child is killed and gone before this returns.
        """
        self.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            log.warning("process %d did not end within %g s: killed", self.pid, grace)
        finally:
            self.kill()
        return await self.wait()

    def kill(self) -> None:
        """Kill it at once, and collect it."""
        if not self._ended.done():
            self.send_signal(signal.SIGKILL)
            self._process.wait()  # SIGKILL cannot be refused: this is a matter of microseconds
            self._reap()

    def _reap(self) -> None:
        status = self._process.poll()
        if status is None or self._ended.done():
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._read()
        self._close_output()
        self._ended.set_result(status)

    def _read(self) -> None:
        output = self._process.stdout
        if output is None or output.closed:
            return
        for _ in range(16):
            try:
                data = os.read(output.fileno(), 65536)
            except BlockingIOError:
                return
            if not data:
                self._close_output()
                return
            *lines, self._partial = (self._partial + data).split(b"\n")
            for line in lines:
                self._tell(line)
            if len(self._partial) > _LONGEST_LINE:
                self._tell(self._partial)
                self._partial = b""

    def _close_output(self) -> None:
        output = self._process.stdout
        if output is None or output.closed:
            return
        self._loop.remove_reader(output.fileno())
        output.close()
        if self._partial:
            self._tell(self._partial)
            self._partial = b""

    def _tell(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode(errors="replace").rstrip()
        self.last_lines.append(text)
        if self._on_line is not None:
            self._on_line(text)


async def keep_running(
    name: str,
    start: Callable[[], Child],
    *,
    first: Child | None = None,
    started: Callable[[Child], Awaitable[None]] | None = None,
    grace: float = 10.0,
    refused: int | None = None,
) -> NoReturn:
    """Start a child, and again whenever it ends; when cancelled, stop it.

    Args:
        name: For the log.
        start: Starts the child.
        first: A child that runs already, to begin with.
        started: Awaited after each start, for example until it is ready; an OSError from it is
            logged and the child stopped and started again.
        grace: Seconds it gets to end by itself.
        refused: Exit status by which it says that starting it again would not help.

    Raises:
        RefusedError: It ended with that status.
    """
    loop = asyncio.get_running_loop()
    delay = _FIRST_DELAY
    while True:
        began = loop.time()
        child, first = first, None
        try:
            child = child or start()
            if started is not None:
                await started(child)
            status = await child.wait()
            if status == refused:
                raise RefusedError("".join(list(child.last_lines)[-1:]) or f"{name} refused")
            why = _ending(status)
        except OSError as error:
            why = f"is no good: {error}"
        finally:
            if child is not None and child.returncode is None:
                await child.stop(grace)
        if loop.time() - began > _STEADY_AFTER:
            delay = _FIRST_DELAY
        lines = child.last_lines if child else ()
        said = "".join(f"\n    {line}" for line in lines if not _ROUTINE.match(line))
        log.error("%s %s, starting it again%s", name, why, said)
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  no secret
        delay = min(2 * delay, _LONGEST_DELAY)


def _ending(status: int) -> str:
    """Return how a child ended, in words."""
    if status == -signal.SIGKILL:
        return "was killed"
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
