"""What the pumps have moved, kept on the disk: a restart of the node gives no volume back.

Nor does it empty the vessel: what that holds is kept as well.
"""

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from hardware.budget import HOUR, Budget
from hardware.channels import Equipment
from hardware.clock import Clock, machine_boot, uptime
from hardware.files import parse_json, rewrite_file, set_aside
from hardware.safety import State, fullest

log = logging.getLogger(__name__)

_SCHEMA: Final = 1
_ROOM: Final = 16 * 1024
"""Bytes, more than the hours of eight pumps take."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known from before.

    Attributes:
        moved: By each pump.
        volume: In the vessel, at most, mL; None: not known.
    """

    moved: Mapping[str, Budget] = field(default_factory=dict)
    volume: float | None = None


class DoseBook:
    """Keeps the volumes of a reactor's pumps and vessel.

    Args:
        path: The file; None keeps nothing.
        equipment: The reactor.
        clock: Of the reactor. While the node is away the hour goes on by the machine's time since
            its boot: a wall clock that is set forward must not give volumes free. Only over a boot
            the wall clock counts.
    """

    def __init__(self, path: Path | None, equipment: Equipment, clock: Clock) -> None:
        self._path = path
        self._equipment = equipment
        self._clock = clock
        self._line = asyncio.Lock()
        self._kept = ""

    def load(self) -> Kept:
        """Return what was kept. Blocks. Without a sound file nothing was moved."""
        if self._path is None:
            return Kept()
        try:
            return self._parse(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return Kept()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged (%s): volumes count from zero", self._path.name, error)
            set_aside(self._path)
            return Kept()

    async def keep(self, state: State) -> None:
        """Keep the volumes, those of doses under way in full; durable when it returns.

        A disk that cannot be written is logged: the limits hold as long as the node runs.
        """
        if self._path is None:
            return
        volumes = self._encode(state)
        async with self._line:
            if volumes == self._kept:
                return
            text = f'{{"schema": {_SCHEMA}, {self._time()}, {volumes}}}'
            try:
                await asyncio.to_thread(rewrite_file, self._path, text, _ROOM)
            except OSError as error:
                log.warning("the pumps' volumes could not be kept: %s", error)
            else:
                self._kept = volumes

    def _encode(self, state: State) -> str:
        pumps = {
            name: {
                "total": pump.budget.total + pump.pending,
                "hour": [[age, ml] for age, ml in pump.budget.ages(state.now)]
                + ([[0.0, pump.pending]] if pump.pending else []),
            }
            for name, pump in state.pumps.items()
        }
        volume = json.dumps(fullest(self._equipment, state))
        return f'"volume": {volume}, "pumps": {json.dumps(pumps)}'

    def _time(self) -> str:
        at = self._clock.now().isoformat()
        return f'"at": "{at}", "boot": "{machine_boot()}", "uptime": {uptime()}'

    def _away(self, data: Mapping[str, Any]) -> float:
        """Return the reactor seconds since it was kept."""
        if data.get("boot") == machine_boot():  # earlier versions kept none
            away = uptime() - float(data["uptime"])
        else:
            away = (self._clock.now() - datetime.fromisoformat(data["at"])).total_seconds()
        if not math.isfinite(away):
            raise ValueError("it cannot have been kept then")
        return max(0.0, away) * self._clock.speed

    def _parse(self, text: str) -> Kept:
        data = parse_json(text)
        if data["schema"] != _SCHEMA:
            raise ValueError(f"unknown schema {data['schema']}")
        away = self._away(data)
        now = self._clock.monotonic()
        budgets = {}
        for name, pump in data["pumps"].items():
            moved = [(float(age) + away, float(ml)) for age, ml in pump["hour"]]
            total = float(pump["total"])
            if not all(
                math.isfinite(n) and n >= 0 for n in (total, *(x for p in moved for x in p))
            ):
                raise ValueError(f"{name} cannot have moved that")
            budget = Budget()
            for age, ml in sorted(moved, reverse=True):
                if age <= HOUR:
                    budget = budget.moved(now - age, ml)
            budgets[name] = Budget(total, budget.slots)
        volume = data.get("volume")  # earlier versions kept none
        if volume is not None and not math.isfinite(volume):
            raise ValueError("the vessel cannot hold that")
        return Kept(budgets, None if volume is None else float(volume))
