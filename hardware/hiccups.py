"""How long outputs rest for a device that falls silent and answers again. Pure.

They rest from the first answer that is missed until the next that comes. A device that does so
again and again would have them go on and off with it, so the more often it fell silent lately, the
longer it must have answered before they go on.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

WINDOW: Final = 60.0
"""Seconds for which it is remembered that a device fell silent."""
LONGEST: Final = 30.0
"""Seconds after which a device that answers is always trusted again."""
_REMEMBERED: Final = 16


@dataclass(frozen=True, slots=True)
class Hiccups:
    """Of one device.

    Attributes:
        fell: When it fell silent lately, oldest first.
        silent: It is silent now.
        until: Until when outputs rest although it answers.
    """

    fell: tuple[float, ...] = ()
    silent: bool = False
    until: float = -math.inf

    @property
    def count(self) -> int:
        """How often it fell silent lately."""
        return len(self.fell)

    def rests(self, now: float) -> bool:
        """Whether outputs rest because of it."""
        return self.silent or now < self.until


def follow(before: Hiccups, now: float, *, silent: bool) -> Hiccups:
    """Take in whether the device is silent now.

    Args:
        before: What is remembered.
        now: Seconds of a clock that never goes back.
        silent: Whether an answer is overdue, or its last reading failed.
    """
    fell = tuple(at for at in before.fell if now - at < WINDOW)
    if silent and not before.silent:
        return replace(before, fell=(*fell, now)[-_REMEMBERED:], silent=True)
    if before.silent and not silent:
        return Hiccups(fell, silent=False, until=now + steady(len(fell)))
    return replace(before, fell=fell)


def steady(count: int) -> float:
    """Return for how many seconds a device must have answered that fell silent so often lately."""
    return 0.0 if count < 2 else min(2.0 ** (min(count, _REMEMBERED) - 2), LONGEST)  # noqa: PLR2004
