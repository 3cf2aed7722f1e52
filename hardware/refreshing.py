"""Takes up what people changed on the disk while nobody holds the reactor."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

from pydantic import JsonValue

from hardware.announcements import Announcements
from hardware.channels import Equipment
from hardware.configuration.document import ConfigurationError
from hardware.dosebook import DoseBook
from hardware.events import Event, VialChanged
from hardware.safety import Decision, State
from hardware.workbench import Workbench

log = logging.getLogger(__name__)


class Refreshing:
    """Of one reactor.

    Args:
        equipment: Its channels are calibrated anew.
        workbench: Where people write; None: nowhere.
        book: Keeps what the vessel holds.
        announcements: People are told.
        apply: Tells the rules.
        state: What the rules remember now.
    """

    def __init__(
        self,
        equipment: Equipment,
        workbench: Workbench | None,
        book: DoseBook,
        announcements: Announcements,
        *,
        apply: Callable[[Event], Decision],
        state: Callable[[], State],
    ) -> None:
        self._equipment = equipment
        self._workbench = workbench
        self._book = book
        self._announcements = announcements
        self._apply = apply
        self._state = state
        self._line = asyncio.Lock()
        self._told: dict[str, str] = {}

    async def refresh(self) -> None:
        """Take up calibrations and a new vial, unless a pump runs.

        What cannot be understood is logged, once, and stays as it was; the other is taken up.
        """
        if self._workbench is None:
            return
        async with self._line:
            if any(pump.busy for pump in self._state().pumps.values()):
                return
            await self._try("calibrations", self._recalibrate(self._workbench))
            await self._try("vial", self._fill(self._workbench))

    async def _try(self, what: str, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (ConfigurationError, ValueError, OSError) as error:
            if self._told.get(what) != str(error):
                log.error("what was changed on the disk is not used: %s", error)  # noqa: TRY400
            self._told[what] = str(error)
        else:
            self._told.pop(what, None)

    async def _recalibrate(self, workbench: Workbench) -> None:
        channels = await asyncio.to_thread(workbench.calibrated)
        known = self._equipment.channels
        changed = [c for c in channels or () if known[c.info.name] != c]
        if changed:
            self._equipment.recalibrate(changed)
            self.tell_calibrations()

    def tell_calibrations(self) -> None:
        """Put on record which calibrations all samples from now on are brought to truth with."""
        used: dict[str, JsonValue] = {
            name: channel.info.calibration
            for name, channel in self._equipment.channels.items()
            if channel.info.calibration is not None
        }
        if used:
            self._announcements.emit("calibrations", data=used)

    async def _fill(self, workbench: Workbench) -> None:
        ml = await asyncio.to_thread(workbench.new_vial)
        if ml is None:
            return
        await self._book.keep(self._apply(VialChanged(ml)).state)
        await asyncio.to_thread(workbench.vial_taken)
        self._announcements.emit("new-vial", value=ml)
