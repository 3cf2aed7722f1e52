"""Tells systemd how a service is: ready, stopping, and alive while it makes progress.

The protocol is one datagram of ``NAME=value`` lines to the socket named in ``NOTIFY_SOCKET``
(sd_notify(3), https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html). Without that
variable nothing is said, so services call it always.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self

log = logging.getLogger(__name__)

_PARTS: Final = 3
"""The watchdog is fed so often within its patience: one late turn must not kill a service."""


class Systemd:
    """The service manager.

    Args:
        address: Path of its socket; one that begins with ``@`` is abstract. None: there is none.
        patience: Seconds after which it restarts a service that says nothing; None: never.
    """

    def __init__(self, address: str | None = None, patience: float | None = None) -> None:
        self._address = None if address is None else address.replace("@", "\0", 1)
        self._patience = patience
        self._status = ""

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the manager that started this process, if one did."""
        patience = None
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "")
        if meant and microseconds.isdecimal() and int(microseconds) > 0:
            patience = int(microseconds) / 1e6
        return cls(environment.get("NOTIFY_SOCKET") or None, patience)

    @property
    def there(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """Say that the service serves, feed the watchdog, and say at the end that it stops."""
        self.ready()
        feeding = asyncio.create_task(self.watch(lambda: None), name="systemd watchdog")
        try:
            yield
        finally:
            self.stopping()
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    def starting(self, seconds: float) -> None:
        """Ask for so many seconds more to be ready: what it waits for is no fault of its own."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def ready(self) -> None:
        """Say that the service serves."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that it stops by itself."""
        self._send("STOPPING=1", "STATUS=stopping")

    def status(self, sentence: str) -> None:
        """Say in a sentence how it is, for `systemctl status`; a repeat says nothing."""
        if sentence != self._status:
            self._status = sentence
            self._send(f"STATUS={sentence}".replace("\n", " "))

    async def watch(self, judge: Callable[[], str | None]) -> None:
        """Feed the watchdog while all is well, until cancelled.

        Args:
            judge: Returns what makes no progress, None if everything does.
        """
        if self._address is None or self._patience is None:
            return
        while True:
            stuck = judge()
            if stuck is None:
                self._send("WATCHDOG=1")
            else:
                log.error("the watchdog is not fed: %s", stuck)
                self.status(stuck)
            await asyncio.sleep(self._patience / _PARTS)

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                log.warning("systemd was not told %s: %s", lines[0], error)
