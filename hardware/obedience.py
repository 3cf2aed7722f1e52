"""What the devices were told and have not obeyed yet: it is told them again until they do."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from hardware.channels import Equipment
from hardware.devices import Devices
from hardware.drivers.interface import DriverError

log = logging.getLogger(__name__)


class Obedience:
    """Outputs and pumps of a reactor, told until they obey.

    Until they were told for the first time it is not known what they do: an earlier process may
    have left them on.

    Args:
        equipment: The reactor.
        devices: They are told.
        value: What is in force for an output now.
        alive: Called before each thing that may take as long as the devices' patience.
    """

    def __init__(
        self,
        equipment: Equipment,
        devices: Devices,
        value: Callable[[str], float],
        alive: Callable[[], None],
    ) -> None:
        self._devices = devices
        self._value = value
        self._alive = alive
        self._wired = {n for n in equipment.outputs() if equipment.channels[n].wired}
        self._unwritten = set(self._wired)
        self._unstopped = dict.fromkeys(equipment.pumps(), 0)
        self._told = 0
        self._complaints: dict[str, str] = {}
        self._lines: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def complete(self) -> bool:
        """Whether every output has the value that it was told, and what was stopped stands."""
        return not self.pending

    @property
    def pending(self) -> frozenset[str]:
        """Outputs and pumps of which it is not known that they do what they were told."""
        return frozenset(self._unwritten | self._unstopped.keys())

    def owe(self, outputs: Iterable[str], pumps: Iterable[str]) -> None:
        """Note what is about to be written and stopped: from now on it is not known to be done."""
        self._unwritten |= self._wired.intersection(outputs)
        for pump in pumps:
            self._told += 1
            self._unstopped[pump] = self._told

    async def write(self, channel: str) -> None:
        """Tell a device the value that is in force now, not the one when this was asked for.

        Raises:
            DriverError: It is not known to be in force there.
        """
        if channel not in self._wired:
            return
        self._unwritten.add(channel)
        written = await self._devices.write(channel, lambda: self._value(channel))
        if self._value(channel) == written:
            self._unwritten.discard(channel)
            self._complaints.pop(channel, None)

    async def write_quietly(self, channels: Iterable[str]) -> None:
        """Write, leaving what fails to `again`."""
        for channel in channels:
            self._alive()
            try:
                await self.write(channel)
            except DriverError as error:
                self._complain(channel, f"is not known to be set: {error}")

    async def stop(self, pump: str) -> None:
        """Stop a pump, at once.

        Raises:
            DriverError: It is not known to have stopped.
        """
        self.owe((), (pump,))
        told = self._unstopped[pump]
        await self._devices.stop(pump)
        if self._unstopped.get(pump) == told:  # if not, it was told once more meanwhile
            del self._unstopped[pump]
            self._complaints.pop(pump, None)

    async def stopped(self, pump: str) -> None:
        """Return when a pump that was to stop has stopped; it is told again if need be.

        Whoever doses waits for this first: a late stop must not end what was begun after it.

        Raises:
            DriverError: It is still not known to have stopped.
        """
        async with self._lines[pump]:
            while pump in self._unstopped:
                await self.stop(pump)

    async def again(self, changed: Iterable[str]) -> None:
        """Tell what was not obeyed, and outputs that have changed; what fails stays."""
        await self.write_quietly(self._unwritten | set(changed))
        self._alive()
        await asyncio.gather(*(self._stop_quietly(pump) for pump in tuple(self._unstopped)))

    async def _stop_quietly(self, pump: str) -> None:
        try:
            async with self._lines[pump]:
                if pump in self._unstopped:
                    await self.stop(pump)
        except DriverError as error:
            self._complain(pump, f"is not known to have stopped: {error}")

    def _complain(self, channel: str, why: str) -> None:
        """Log why a channel does not obey: once, as long as it stays so."""
        if self._complaints.get(channel) != why:
            self._complaints[channel] = why
            log.warning("%s %s", channel, why)
