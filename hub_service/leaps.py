"""Where the wall clock leaps: set by hand, or by a time server after a start without one."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

NONE: Final = timedelta(0)
_LEAST: Final = timedelta(seconds=2)
"""Less is the clock being slewed, or two readings that are not quite of one moment."""


class Leaps:
    """Compares the wall clock with one that only grows.

    Args:
        clock: The wall clock, in UTC.
        monotonic: Seconds that only grow.
    """

    def __init__(
        self, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._last = clock(), monotonic()

    def since_last(self) -> timedelta:
        """Return by how much the wall clock leapt since the last call, forward or back."""
        now, counted = self._clock(), self._monotonic()
        then, before = self._last
        self._last = now, counted
        leap = now - then - timedelta(seconds=counted - before)
        return leap if abs(leap) >= _LEAST else NONE
