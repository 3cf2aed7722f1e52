"""What time does to the vial's devices: pumps wear and draw bubbles, probes drift.

Seeded: the same seed gives the same bubbles and the same drift at the same times.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

_TUBE: Final = 0.02
"""Part of its flow that a pump's tube loses with each litre."""
_WORN_OUT: Final = 0.7
"""Flow of a tube that is worn out, over that of a new one."""
_BUBBLE: Final = 1 / 300
"""Chance that a piece of a dose has a bubble in it."""
_BUBBLE_FLOW: Final = (0.5, 0.9)
"""Part of a piece that is still liquid then."""
_SPREAD: Final = 0.01
"""Standard deviation of how exactly pumps were calibrated."""
_GRID: Final = 60.0
"""Reactor seconds between two steps of a probe's drift."""
_DRIFTS: Final[Mapping[str, tuple[float, float]]] = {
    # Standard deviation in the end, and hours to get there. The recorded reference photodiode
    # wandered by 3 % within 40 h; pH 0.03 and oxygen 2 % within days are common values.
    "od": (0.02, 40.0),
    "ph": (0.03, 120.0),
    "do": (0.02, 120.0),
}


@dataclass(frozen=True, slots=True)
class Wear:
    """What the devices have been through; kept with the culture.

    Attributes:
        pumped: What each pump has moved since its tube was new, mL.
        drift: How far each probe is off: od and do by a part of the value, ph in pH.
    """

    pumped: Mapping[str, float] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)

    def moved(self, pump: str, ml: float) -> "Wear":
        """Return it after a pump has moved some more."""
        return replace(self, pumped={**self.pumped, pump: self.pumped.get(pump, 0.0) + ml})


class Ageing:
    """Lets devices age.

    Args:
        seed: Of everything that is left to chance.
        pumps: Their names.
    """

    def __init__(self, seed: int, pumps: tuple[str, ...]) -> None:
        calibration = random.Random(f"{seed}:pumps")  # noqa: S311 - a simulation, no secret
        self._error = {pump: calibration.gauss(1.0, _SPREAD) for pump in pumps}
        self._bubbles = random.Random(f"{seed}:bubbles")  # noqa: S311 - a simulation, no secret
        self._drift = random.Random(f"{seed}:drift")  # noqa: S311 - a simulation, no secret
        self._waited = 0.0

    def flow(self, wear: Wear, pump: str) -> float:
        """Return what a pump moves of what it believes to move, during one piece of a dose."""
        tube = max(1.0 - _TUBE * wear.pumped.get(pump, 0.0) / 1000.0, _WORN_OUT)
        bubble = self._bubbles.random() < _BUBBLE
        return self._error[pump] * tube * (self._bubbles.uniform(*_BUBBLE_FLOW) if bubble else 1.0)

    def drift(self, wear: Wear, seconds: float) -> Wear:
        """Return the probes after some time, in steps that do not depend on who looks when.

        A random walk that is drawn back (Ornstein-Uhlenbeck), solved exactly.
        """
        self._waited += seconds
        steps, self._waited = divmod(self._waited, _GRID)
        drift = dict(wear.drift)
        for _ in range(int(steps)):
            for probe, (spread, hours) in _DRIFTS.items():
                kept = math.exp(-_GRID / 3600.0 / hours)
                step = self._drift.gauss(0.0, spread * math.sqrt(1.0 - kept * kept))
                drift[probe] = drift.get(probe, 0.0) * kept + step
        return replace(wear, drift=drift) if steps else wear
