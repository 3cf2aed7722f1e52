"""What is done about devices that fail and sensors that lie, as `reactor.toml` wants it.

A device is lost when its cable is out, or when it fails twice in a row: one garbled answer ends no
experiment. What it does then depends on its policy; the others go safe at once where that is
``stop``, without waiting for the lost one, and whatever comes back stays as it is until commanded.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Final, NoReturn

from broker.messages import ContractError, ErrorCode
from hardware.announcements import Announcements
from hardware.devices import Devices
from hardware.events import Event, Hold, MakeSafe
from hardware.polling import Polled

_LOOK: Final = 1.0
"""Real seconds between two looks at a device that must not be lost, whoever reads the reactor."""

log = logging.getLogger(__name__)


class Guard:
    """Of one reactor.

    Args:
        devices: They say what is wrong with them.
        announcements: People are told.
        stop_all: Brings outputs and pumps to rest, and announces that.
        look: Takes in what one device reads now.
        begin: Begins what is not waited for; does nothing while the reactor is not open.
    """

    def __init__(
        self,
        devices: Devices,
        announcements: Announcements,
        *,
        stop_all: Callable[[Event, str], Awaitable[None]],
        look: Callable[[Polled], Awaitable[None]],
        begin: Callable[[Coroutine[None, None, None], str], None],
    ) -> None:
        self._devices = devices
        self._announcements = announcements
        self._stop_all = stop_all
        self._look = look
        self._begin = begin
        self._lost: frozenset[str] = frozenset()
        self._stopping: frozenset[str] = frozenset()
        self._holding: tuple[str, ...] = ()
        self._broken: tuple[str, ...] = ()
        self._lying: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether pumps and direct outputs are refused."""
        return bool(self._holding)

    @property
    def given_up(self) -> frozenset[str]:
        """Devices that are lost, and without which no run begins."""
        return self._stopping

    @property
    def unfit(self) -> str | None:
        """Why no run should begin: it would be ended at once; None: it may."""
        return next(iter(self._broken + self._lying), None)

    def heed(self) -> None:
        """Tell what the devices say of themselves, and act when it is new."""
        faults, doubts = self._devices.faults, self._devices.doubts
        self._announcements.devices({name: fault.message for name, fault in faults.items()})
        self._announcements.doubts(doubts)
        held = self.holds
        lost = {n: f for n, f in faults.items() if f.lost and f.policy != "continue"}
        self._stopping = frozenset(n for n, f in lost.items() if f.policy == "stop")
        self._broken = tuple(f"{n}: {f.message}" for n, f in lost.items() if n in self._stopping)
        self._lying = tuple(d.why for d in doubts.values() if d.rule.policy == "stop")
        self._holding = (
            *(f"{n}: {f.message}" for n, f in lost.items()),
            *(d.why for d in doubts.values() if d.rule.policy != "continue"),
        )
        new = lost.keys() - self._lost
        self._lost = frozenset(lost)
        if new & self._stopping:
            self._begin(self._rest(MakeSafe(), "safe"), "reactor-make-safe")
        elif self.holds and not held:
            # No pause: that is for people to begin and to end.
            self._begin(self._rest(Hold(pause=False), "hold"), "reactor-hold")
        for name in sorted(new):
            self._announcements.fault(name, lost[name])

    def check(self, *, setpoint: bool = False) -> None:
        """Return if a command is allowed. Setpoints are, unless everything was made safe.

        Raises:
            ContractError: INTERLOCK.
        """
        why = next(iter(self._broken if setpoint else self._holding), None)
        if why is not None:
            raise ContractError(
                ErrorCode.INTERLOCK,
                why,
                "commands wait until the device answers, or the sensor can be believed, again",
                limit="fault" if self._lost else "doubt",
            )

    def watches(self) -> Iterator[Coroutine[None, None, NoReturn]]:
        """Return what looks after the devices that must not be lost, each for itself."""
        return (self._watch(polled) for polled in self._devices.watched)

    async def _watch(self, polled: Polled) -> NoReturn:
        while True:
            if polled.lost:
                await asyncio.sleep(_LOOK)
            elif polled.fault is None:
                await polled.trouble(_LOOK)
            if polled.wanted(_LOOK):
                await self._look(polled)

    async def _rest(self, event: Event, name: str) -> None:
        try:
            await self._stop_all(event, name)
        except ExceptionGroup as group:
            log.warning("not everything is known to stand still: %s", group.exceptions[0])
