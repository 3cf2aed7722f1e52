"""How much a pump has moved: in the last hour and in total."""

from dataclasses import dataclass
from typing import Final

HOUR: Final = 3600.0
_SLOT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Volumes moved, mL. Of bounded size: the last hour is kept in slots of a minute.

    A slot counts until all of it is older than an hour, so that no hour ever gets more than
    allowed; the price is that a volume is given free up to a minute late.
    """

    total: float = 0.0
    slots: tuple[tuple[int, float], ...] = ()

    def hourly(self, now: float) -> float:
        """Return what was moved in the hour before `now`, mL."""
        oldest = (now - HOUR) // _SLOT
        return sum(ml for slot, ml in self.slots if slot >= oldest)

    def free_at(self, now: float, ml: float, hourly: float) -> float:
        """Return when `ml` more will fit into `hourly`."""
        used = self.hourly(now)
        for slot, moved in self.slots:
            if used + ml <= hourly:
                break
            if slot >= (now - HOUR) // _SLOT:
                used -= moved
                now = (slot + 1) * _SLOT + HOUR
        return now

    def moved(self, now: float, ml: float) -> "Budget":
        """Count a volume that was moved at the latest now."""
        oldest, current = (now - HOUR) // _SLOT, int(now // _SLOT)
        slots = [slot for slot in self.slots if slot[0] >= oldest]
        if slots and slots[-1][0] == current:
            slots[-1] = (current, slots[-1][1] + ml)
        else:
            slots.append((current, ml))
        return Budget(self.total + ml, tuple(slots))

    def ages(self, now: float) -> list[tuple[float, float]]:
        """Return the hour's volumes, mL, with the least seconds ago that each may have been."""
        return [(max(0.0, now - (slot + 1) * _SLOT), ml) for slot, ml in self.slots]

    def new_run(self) -> "Budget":
        """Count the total from zero; the hour goes on."""
        return Budget(0.0, self.slots)
