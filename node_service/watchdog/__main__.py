"""The watchdog's process: ``python -m node_service.watchdog``, started by the node.

It listens to the node's signs of life. When the node's process is gone it makes every device safe;
when the process is there but gives no sign it is killed first, so that there is never more than
one who speaks to a device. Small on purpose: the standard library and what drivers need to switch
something off. All of it is loaded before it is needed.
"""

import argparse
import fcntl
import json
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hardware.drivers.interface import Rescue
from node_service.watchdog.account import Account
from node_service.watchdog.rescuing import Outcome, rescue
from node_service.watchdog.vigil import Vigil

DONE: Final = b"done"
READY: Final = b"ready"
HERE: Final = b"here"
LONGEST: Final = 256
"""Bytes of a message."""

_TICK: Final = 0.1
_DYING_SECONDS: Final = 0.05
"""A process that dies closes its files a moment before it is gone."""
_DEATH_SECONDS: Final = 1.0
_PREDECESSOR_SECONDS: Final = 5.0
_NICE: Final = -10
_WANTED: Final = signal.SIGUSR1
"""Sent by the watchdog of a node that has started again, which wants the devices."""


class _Asked:
    """Who wants the watchdog to end; it does so only when each device was tried.

    A node that has started again wants the devices. A service manager waits for the last process
    of a service before it starts it again. What it asked for while the node lived means nothing:
    it asks the node as well.
    """

    def __init__(self) -> None:
        self._wanted = False
        self._at = -math.inf
        signal.signal(_WANTED, self._note)
        signal.signal(signal.SIGTERM, self._note)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def since(self, noticed: float) -> bool:
        """Say whether somebody asked once the node was dead, which was noticed at that time."""
        return self._wanted or self._at >= noticed - _TICK

    def _note(self, number: int, _frame: object) -> None:
        if number == _WANTED:
            self._wanted = True
        else:
            self._at = time.monotonic()


def main() -> None:
    """Watch until dismissed by the node, or until the devices of a dead one are safe."""
    options = _parser().parse_args()
    asked = _Asked()
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    devices = {name: Rescue(**what).load() for name, what in json.loads(options.rescues).items()}
    lock = _own(options.lock)
    node = socket.socket(fileno=options.socket)
    node.setblocking(False)
    node.send(READY)
    why = _watch(node, options.node)
    if why is not None:
        noticed = time.monotonic()
        _rescue(devices, why, options.account, lambda: asked.since(noticed))
    os.close(lock)
    os._exit(0)  # a thread that hangs in a device must not hold it any longer


def _watch(node: socket.socket, process: int) -> str | None:
    """Return why the devices must be made safe; None: the node needs no watchdog any more."""
    vigil = Vigil()
    poll = select.poll()
    poll.register(node, select.POLLIN)
    poll.register(process, select.POLLIN)
    before = time.monotonic()
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(_TICK * 1000)}
        if node.fileno() in ready and (said := _hear(node, vigil)) is not None:
            return None if said == DONE else _end(process, "The node has closed its line")
        if process in ready:
            return "The node's process is gone"
        now = time.monotonic()
        overdue = vigil.passed(now - before)
        before = now
        if overdue is not None:
            return _end(process, f"The node's {overdue} gives no sign of life")


def _hear(node: socket.socket, vigil: Vigil) -> bytes | None:
    """Take everything that was said; return the last word if it was one."""
    try:
        while (message := node.recv(LONGEST)) not in {b"", DONE}:
            name, _, within = message.decode("ascii").rpartition(" ")
            vigil.heard(name, float(within))
    except BlockingIOError:
        with suppress(OSError):
            node.send(HERE)
        return None
    except ConnectionError:
        return b""
    return message


def _end(process: int, why: str) -> str:
    """See to it that the node's process is gone; return what there is to say."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    if poll.poll(_DYING_SECONDS * 1000):
        return "The node's process is gone"
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    gone = poll.poll(_DEATH_SECONDS * 1000)
    return f"{why}; it was killed" if gone else f"{why}; it could not be killed"


def _rescue(
    devices: Mapping[str, Callable[[], None]],
    why: str,
    account: Path,
    taken_over: Callable[[], bool],
) -> None:
    at = datetime.now(UTC).isoformat()
    _say(f"{why}: making {', '.join(devices) or 'nothing'} safe")

    def changed(outcome: Outcome) -> None:
        _say(f"safe: {outcome.safe}, not known to be safe: {outcome.unsafe}")
        with suppress(OSError):
            Account(at, why, outcome.safe, outcome.unsafe).save(account)

    rescue(devices, taken_over=taken_over, changed=changed)


def _own(path: Path) -> int:
    """Be the only watchdog of this node; one before us ends as soon as it has done its work."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    patience = time.monotonic() + _PREDECESSOR_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell(os.pread(lock, 32, 0), _WANTED if time.monotonic() < patience else signal.SIGKILL)
            time.sleep(_TICK / 2)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            return lock


def _tell(pid: bytes, number: signal.Signals) -> None:
    """Send a signal to a process if it is a watchdog."""
    with suppress(OSError, ValueError):
        process = os.pidfd_open(int(pid))
        try:
            if b"node_service.watchdog" in Path(f"/proc/{int(pid)}/cmdline").read_bytes():
                signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)


def _say(text: str) -> None:
    with suppress(OSError):  # whoever read it may be dead, too
        os.write(sys.stderr.fileno(), f"CRITICAL node_service.watchdog: {text}\n".encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("node_service.watchdog", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the node's line")
    parser.add_argument("--node", type=int, required=True, help="pidfd of the node's process")
    parser.add_argument("--lock", type=Path, required=True, help="held by the only watchdog")
    parser.add_argument("--account", type=Path, required=True, help="where to say what was done")
    parser.add_argument("--rescues", required=True, help="JSON, device → function and arguments")
    return parser


if __name__ == "__main__":
    main()
