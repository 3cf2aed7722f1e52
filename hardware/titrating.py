"""The doses of the node's own controllers: begun when they are due, waited for by nobody."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

from broker.messages import ContractError
from hardware.announcements import Announcements
from hardware.channels import Equipment
from hardware.controllers import TitrationControl
from hardware.dosing import Dosing
from hardware.safety import State

log = logging.getLogger(__name__)


class Titrating:
    """Of one reactor.

    Args:
        equipment: Says what is held by dosing.
        dosing: Does it.
        announcements: People are told what was refused.
        begin: Begins a task of the reactor.
    """

    def __init__(
        self,
        equipment: Equipment,
        dosing: Dosing,
        announcements: Announcements,
        begin: Callable[[Coroutine[None, None, None], str], asyncio.Task[None]],
    ) -> None:
        self._dosing = dosing
        self._announcements = announcements
        self._begin = begin
        self._controls = {
            rule.setpoint: TitrationControl(equipment, rule) for rule in equipment.titrations
        }
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def follow(self, state: State, now: float) -> None:
        """Begin the doses that are due."""
        for name, control in self._controls.items():
            running = self._under_way.get(name)
            if running is not None and not running.done():
                continue
            order = control.follow(state, now)
            if order is not None:
                dose = self._dose(control, *order, state.stops)
                self._under_way[name] = self._begin(dose, f"titration {name}")

    def end(self) -> None:
        """Cut off what is under way."""
        for dose in self._under_way.values():
            dose.cancel()

    async def _dose(self, control: TitrationControl, pump: str, ml: float, stops: int) -> None:
        """Dose; what is refused is told once, and tried again."""
        try:
            dose = await self._dosing.dose(pump, ml, stops=stops, by_controller=True)
        except ContractError as error:
            # Only where it is known that nothing moved there is nothing to mix.
            moved = error.error.details.get("delivered_ml") != 0.0
            if moved or control.not_dosed(pump, error.error):
                log.warning("a controller's dose with %s was refused: %s", pump, error)
                self._announcements.emit(
                    "dose-refused", pump, ml, {"code": str(error.error.code), "message": str(error)}
                )
        else:
            if dose.delivered_ml > 0.0:
                control.dosed()
            else:
                control.not_dosed(pump)
