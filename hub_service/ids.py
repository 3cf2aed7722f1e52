"""Ids that sort in the order in which they were made, whatever the clock does."""

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final

from ulid import ULID

_RANDOM_BITS: Final = 80
_STEP_BITS: Final = 32


class GrowingIds:
    """Makes ULIDs that are greater than every one it made or was told of.

    A clock that jumps back would otherwise put a new experiment between old ones, and pages of a
    list would show it twice or never.

    Args:
        clock: The wall clock, in UTC.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._last = 0

    def seen(self, identity: str) -> None:
        """Make only greater ones from now on."""
        self._last = max(self._last, int(ULID.from_str(identity)))

    def __call__(self) -> str:
        """Return a new ULID in its 26 characters."""
        milliseconds = int(self._clock().timestamp() * 1000)
        fresh = (milliseconds << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
        if fresh <= self._last:
            fresh = self._last + 1 + secrets.randbits(_STEP_BITS)
        self._last = fresh
        return str(ULID.from_int(fresh))
