"""The simulated vial as a driver: the culture, what acts on it, and its time."""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hardware.clock import Clock
from hardware.drivers.interface import DriverError, Rescue
from hardware.simulation.actuators import Actuators, Outputs
from hardware.simulation.actuators import load as load_outputs
from hardware.simulation.culture import Culture, Drive, Plant, inoculated, step
from hardware.simulation.equipment import CAPACITY_ML, DRIVER, EQUIPMENT, VESSEL
from hardware.simulation.memory import Saved, load, save
from hardware.simulation.organism import PRESETS, Preset
from hardware.simulation.sensors import observe
from hardware.simulation.wear import Ageing, Wear

log = logging.getLogger(__name__)

_STEP: Final = 5.0
_IDLE_STEP: Final = 60.0
_DEAD_TIME: Final = 39.0
"""Seconds until the thermometer feels what the heater does, as fitted to the recorded runs."""
_SAVE_EVERY: Final = 5.0
"""Real seconds between two saves."""
_LONGEST_ABSENCE: Final = 7 * 86400.0
"""Reactor seconds that are caught up after a restart; nothing changes any more by then."""
_OUTPUTS: Final = {"heater": "duty", "stirring": "stirring", "light": "light"}


class SimulatedVial:
    """A stirred, heated, lit 20 mL vial with four pumps and a growing culture.

    Args:
        clock: Its seconds are those of the culture.
        seed: Of the noise, of how exactly each pump pumps, of bubbles and of the probes' drift.
        state_file: Where the culture is kept; written whole or not at all, every few seconds. What
            the outputs are is kept beside it, in ``outputs.json``: they outlive the process.
        preset: What grows in it, and in what; the media pump brings the same.
        plant: The vial around it; that of the preset if left out.
        culture: What is in the vial when nothing was saved; a fresh one if left out.
    """

    name = DRIVER

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int,
        state_file: Path | None = None,
        preset: Preset = PRESETS["e-coli"],
        plant: Plant | None = None,
        culture: Culture | None = None,
    ) -> None:
        self._clock = clock
        self._organism = preset.organism
        self._medium = preset.medium
        self._plant = (
            Plant(
                gas=preset.gas,
                humidity=preset.humidity,
                straw=VESSEL.straw,
                capacity=CAPACITY_ML,
            )
            if plant is None
            else plant
        )
        self._noise = random.Random(f"{seed}:noise")  # noqa: S311 - a simulation, no secret
        self._ageing = Ageing(seed, EQUIPMENT.pumps())
        self._wear = Wear()
        self._state_file = state_file
        self._outputs_file = None if state_file is None else state_file.with_name("outputs.json")
        self._actuators = Actuators(None)
        self._drive = Drive()
        self._time = clock.monotonic()
        self._duties: deque[tuple[float, float]] = deque([(-math.inf, 0.0)])
        self._stopped: dict[str, float] = {}
        self._moved = dict.fromkeys(EQUIPMENT.pumps(), 0.0)
        self._saving: asyncio.Task[None] | None = None
        self._culture = self._fresh() if culture is None else culture

    @property
    def rescue(self) -> Rescue | None:
        """Switches the outputs off in their file."""
        if self._outputs_file is None:
            return None
        path = str(self._outputs_file.absolute())
        return Rescue("hardware.simulation.actuators:make_safe", {"path": path})

    @property
    def culture(self) -> Culture:
        """The vial as it truly is now; only tests and figures may look."""
        self._advance()
        return self._culture

    def actual(self, channel: str) -> float:
        """Return what an output is, or what a pump has truly moved, mL; for tests, as `culture`."""
        self._advance()
        if channel in self._moved:
            return self._moved[channel]
        return self._duties[-1][1] if channel == "heater" else float(getattr(self._drive, channel))

    async def __aenter__(self) -> Self:
        """Take up the saved culture, or a fresh one."""
        if self._state_file is not None:
            await asyncio.to_thread(self._reopen, self._state_file)
        self._actuators = Actuators(self._outputs_file)
        self._set(Drive())
        self._time = self._clock.monotonic()
        self._saving = asyncio.create_task(self._keep_saving(), name="simulation-saving")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Save the culture."""
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.wait([self._saving])
            self._saving = None
        await self._save()
        self._actuators.close()

    async def read(self) -> Mapping[str, float | None]:
        """Return one noisy reading of each sensor."""
        return dict(self.sense())

    async def write(self, channel: str, value: float) -> None:
        """Set heater duty, stirring or light."""
        if channel not in _OUTPUTS:
            raise DriverError(f"there is no output {channel}")
        self.act(channel, value)

    async def dose(self, channel: str, ml: float) -> float:
        """Pump one piece."""
        self._check_pump(channel)
        flow = EQUIPMENT.channels[channel].flow
        self._advance()
        started = self._time
        self._drive = replace(
            self._drive, **{channel: flow * self._ageing.flow(self._wear, channel)}
        )
        self._stopped.pop(channel, None)
        try:
            await self._clock.sleep(ml / flow)
        finally:
            self._advance()
            self._drive = replace(self._drive, **{channel: 0.0})
        ended = self._stopped.pop(channel, self._time)
        return min(ml, (ended - started) * flow)

    async def stop(self, channel: str) -> None:
        """Stop a pump; the dose under way returns what was delivered until now."""
        self._check_pump(channel)
        self._advance()
        self._drive = replace(self._drive, **{channel: 0.0})
        self._stopped.setdefault(channel, self._time)

    async def begin_run(self) -> None:
        """Put in a fresh vial; the block keeps its temperature."""
        self._advance()
        self._culture = replace(self._fresh(), temperature=self._culture.temperature)

    # The same vial below emulated devices: they sense it and act on it.

    def sense(self) -> Mapping[str, float]:
        """Return one noisy reading of each sensor."""
        self._advance()
        return observe(self._culture, self._medium, self._wear, self._noise)

    def act(self, output: str, value: float) -> None:
        """Have heater duty, stirring or light be so from now on."""
        self._advance()
        self._set(replace(self._drive, **{_OUTPUTS[output]: value}))

    def live(self, moved: Mapping[str, float]) -> bool:
        """Let the time since the last look pass, while pumps outside moved these volumes, mL.

        Returns:
            Whether any time has passed; if not, nothing was moved either.
        """
        now = self._clock.monotonic()
        seconds = now - self._time
        if seconds <= 0:
            return False
        flows = {pump: ml / seconds for pump, ml in moved.items()}
        self._drive = replace(self._drive, **flows)
        self._advance(now)
        self._drive = replace(self._drive, **dict.fromkeys(flows, 0.0))
        return True

    def _set(self, drive: Drive) -> None:
        """Have the outputs be so; the heater is felt later."""
        if drive.duty != self._drive.duty:
            self._duties.append((self._time, drive.duty))
        self._drive = drive
        off = None if drive.duty or drive.stirring or drive.light else self._clock.now()
        self._actuators.write(Outputs(drive.duty, drive.stirring, drive.light, off))

    def _check_pump(self, channel: str) -> None:
        if channel not in self._moved:
            raise DriverError(f"there is no pump {channel}")

    def _fresh(self) -> Culture:
        return inoculated(self._organism, self._medium, self._plant, VESSEL.filled)

    def _advance(self, until: float | None = None) -> None:
        """Let the culture live up to the clock's time, or to an earlier one."""
        now = self._clock.monotonic() if until is None else until
        while self._time < now:
            seconds = min(_STEP, now - self._time)
            felt = self._felt_duty(self._time + seconds / 2 - _DEAD_TIME)
            self._culture = step(
                self._culture,
                self._organism,
                self._medium,
                self._plant,
                replace(self._drive, duty=felt),
                seconds,
            )
            self._time += seconds
            self._wear = self._ageing.drift(self._wear, seconds)
            for pump in self._moved:
                if flow := float(getattr(self._drive, pump)):
                    self._moved[pump] += seconds * flow
                    self._wear = self._wear.moved(pump, seconds * flow)
        self._time = now

    def _felt_duty(self, at: float) -> float:
        while len(self._duties) > 1 and self._duties[1][0] <= at:
            self._duties.popleft()
        return self._duties[0][1]

    def _reopen(self, path: Path) -> None:
        """Take up what was saved, and live through what was missed."""
        saved = load(path)
        if saved is None:
            return
        culture, wear = saved.culture, saved.wear
        for drive, seconds in self._absence(saved.at):
            left = seconds
            while left > 0:
                taken = min(_IDLE_STEP, left)
                culture = step(culture, self._organism, self._medium, self._plant, drive, taken)
                wear = self._ageing.drift(wear, taken)
                left -= taken
        self._culture, self._wear = culture, wear

    def _absence(self, saved_at: datetime) -> tuple[tuple[Drive, float], tuple[Drive, float]]:
        """Return what acted on the culture since it was saved and for how long, then what did."""
        now = self._clock.now()
        outputs = None if self._outputs_file is None else load_outputs(self._outputs_file)
        if outputs is None:
            outputs = Outputs(off_since=saved_at)
        off = now if outputs.off_since is None else min(max(outputs.off_since, saved_at), now)
        spans = ((off - saved_at).total_seconds(), (now - off).total_seconds())
        on, idle = (min(max(s * self._clock.speed, 0.0), _LONGEST_ABSENCE) for s in spans)
        drive = Drive(duty=outputs.duty, stirring=outputs.stirring, light=outputs.light)
        return (drive, on), (Drive(), idle)

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_EVERY)
            await self._save()

    async def _save(self) -> None:
        if self._state_file is None:
            return
        self._advance()
        try:
            saved = Saved(self._culture, self._wear, self._clock.now())
            await asyncio.to_thread(save, self._state_file, saved)
        except OSError as error:
            log.warning("the simulated culture could not be saved: %s", error)
