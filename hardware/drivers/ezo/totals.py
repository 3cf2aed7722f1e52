"""What an EZO-PMP says that it has moved in all, compared with what its doses added up to.

The pump counts by itself. Where its count is higher than the last that was noted, it has moved
something that no dose told of: the node died under way, or somebody pressed a button. Where it is
lower, the pump has lost its count (power) and has moved at least what it counts since then.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from hardware.files import parse_json, replace_file

_SMALLEST = 0.015
"""mL that are more than the rounding of two counts."""


@dataclass(frozen=True, slots=True)
class Totals:
    """mL.

    Attributes:
        counted: The pump's own count when it was last looked at.
        moved: In all, over losses of power.
        untold: The part of it that no dose told of.
    """

    counted: float = 0.0
    moved: float = 0.0
    untold: float = 0.0

    def dosed(self, ml: float) -> "Totals":
        """A dose told that it has moved this."""
        return Totals(self.counted + ml, self.moved + ml, self.untold)

    def seen(self, count: float) -> "Totals":
        """The pump says this count now."""
        more = count - self.counted if count >= self.counted - _SMALLEST else count
        more = more if more > _SMALLEST else 0.0
        return Totals(count, self.moved + more, self.untold + more)


def load(path: Path) -> Totals | None:
    """Return what was noted; None if nothing was, or nothing that can be. Blocks."""
    try:
        data = parse_json(path.read_text("utf-8"))
        totals = Totals(float(data["counted"]), float(data["moved"]), float(data["untold"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return totals if all(map(math.isfinite, (totals.counted, totals.moved))) else None


def save(path: Path, totals: Totals) -> None:
    """Note it; durable when it returns. Blocks.

    Raises:
        OSError: It could not be written.
    """
    replace_file(
        path,
        json.dumps({"counted": totals.counted, "moved": totals.moved, "untold": totals.untold}),
    )
