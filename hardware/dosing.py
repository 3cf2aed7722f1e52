"""Doses: asked of the rules, kept on the disk, pumped in pieces that end by themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from broker.messages import ContractError, Error, ErrorCode
from hardware.announcements import Announcements
from hardware.channels import Equipment
from hardware.clock import Clock
from hardware.devices import Devices
from hardware.dosebook import DoseBook
from hardware.drivers.interface import MAX_PIECE_SECONDS, DriverError, NotDosedError, TooLittleError
from hardware.events import DoseAsked, DoseEnded, DosePiece, Event, PieceEnded, check, refuse
from hardware.pieces import TINY, pieces
from hardware.safety import Decision


@dataclass(frozen=True, slots=True)
class Dose:
    """What a pump did: volumes in mL, `seconds` of the reactor's clock from start to end."""

    requested_ml: float
    delivered_ml: float
    seconds: float


class Dosing:
    """Doses with the pumps of a reactor, one dose of a pump after another.

    Args:
        apply: Asks the rules and remembers what follows.
        admitted: Returns when it may be dosed, or raises `ContractError`.
        stopped: Returns when a pump that was to stop has stopped, or raises `DriverError`.
    """

    def __init__(  # noqa: PLR0917 - the parts of a reactor
        self,
        equipment: Equipment,
        devices: Devices,
        clock: Clock,
        announcements: Announcements,
        book: DoseBook,
        apply: Callable[[Event], Decision],
        *,
        admitted: Callable[[], Awaitable[None]],
        stopped: Callable[[str], Awaitable[None]],
    ) -> None:
        self._equipment = equipment
        self._devices = devices
        self._clock = clock
        self._announcements = announcements
        self._book = book
        self._apply = apply
        self._admitted = admitted
        self._stopped = stopped
        self._lines = {name: asyncio.Lock() for name in equipment.pumps()}

    async def dose(
        self,
        channel: str,
        ml: float,
        *,
        stops: int,
        by_controller: bool = False,
        begin: Callable[[], Awaitable[None]] | None = None,
        call: str | None = None,
    ) -> Dose:
        """Pump a volume; see `Reactor.dose`.

        Args:
            channel: A pump.
            ml: mL.
            stops: `State.stops` when the dose was asked for. One that waits for its pump while
                everything is stopped is refused: whoever asked may have no say any more.
            by_controller: As in `DoseAsked`.
            begin: Is awaited before anything moves; not for a dose that is refused.
            call: As in `Reactor.dose`.

        Raises:
            ContractError: It was refused, or a limit or a fault struck on the way.
        """
        if channel not in self._lines:
            check(self._apply(DoseAsked(channel, ml)).refusal)
        async with self._lines[channel]:
            try:
                await self._admitted()
            except ContractError as error:
                raise _told(error.error, 0.0) from error
            granted = self._apply(DoseAsked(channel, ml, by_controller, stops))
            if granted.refusal is not None:
                raise _told(granted.refusal, 0.0)
            delivered: float | None = None
            vessel = self._equipment.vessel
            started = self._clock.monotonic()
            try:
                # In full and before anything moves: a crash on the way gives nothing back.
                await self._book.keep(granted.state)
                if begin is not None:
                    await begin()
                started = self._clock.monotonic()
                delivered, refusal = await self._pump(channel, ml)
            finally:
                seconds = self._clock.monotonic() - started
                ended = self._apply(DoseEnded(channel, delivered))
                self._announcements.emit(
                    "dose",
                    channel,
                    ml if delivered is None else delivered,
                    {"requested_ml": ml, "seconds": seconds, **({"id": call} if call else {})},
                )
                if vessel is not None and vessel.sensor is None:
                    # Nobody else knows what is in there, and more was kept than has come to be.
                    await self._book.keep(ended.state)
        if refusal is not None and refusal.details.get("limit") != "stopped":
            raise _told(refusal, delivered)
        return Dose(ml, delivered, seconds)

    async def _pump(self, channel: str, ml: float) -> tuple[float, Error | None]:
        """Pump piece after piece; while a device is silent, wait, and then pump what is left."""
        delivered, left, cut = 0.0, ml, False
        most = self._equipment.channels[channel].flow * MAX_PIECE_SECONDS
        while (piece := next(pieces(left, most), None)) is not None:
            if (refusal := await self._grant(channel, piece)) is not None:
                return delivered, refusal
            try:
                pumped = await self._devices.dose(channel, piece)
            except NotDosedError as error:
                # What is left of a piece that was cut may be less than the pump can dose.
                little = cut and isinstance(error, TooLittleError)
                return delivered, None if little else _refuse_fault(channel, error)
            except DriverError as error:
                fault = _refuse_fault(channel, error)
                raise ContractError(fault.code, fault.message, fault.hint) from error
            delivered += pumped
            left -= piece
            allowed = self._apply(PieceEnded(channel, pumped)).state.pumps[channel].left
            cut = allowed > left + TINY
            left = max(left, allowed)
        return delivered, None

    async def _grant(self, channel: str, piece: float) -> Error | None:
        """Return when a piece may be pumped, or why it may not."""
        while True:
            try:
                await self._stopped(channel)
            except DriverError as error:
                return _refuse_fault(channel, error)
            refusal = self._apply(DosePiece(channel, piece)).refusal
            if refusal is None or refusal.details.get("limit") != "silence":
                return refusal
            try:
                await self._admitted()
            except ContractError as error:
                return error.error


def _refuse_fault(channel: str, error: DriverError) -> Error:
    return refuse(ErrorCode.HARDWARE, f"{channel}: {error}", "look at the device and its cable")


def _told(refusal: Error, delivered: float) -> ContractError:
    details = {**refusal.details, "delivered_ml": delivered}
    return ContractError(refusal.code, refusal.message, refusal.hint, **details)
