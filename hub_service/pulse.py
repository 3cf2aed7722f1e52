"""Whether every part of the hub makes progress: what the watchdog and health checks go by."""

import time
from collections.abc import Callable, Mapping
from typing import Final

PATIENCE: Final[Mapping[str, float]] = {"store": 30.0, "archive": 60.0, "broker": 60.0}
"""Seconds without a sign of life after which a part is taken to hang.

The store is written to (or would be) each second, archive and broker are tried every ten; a full
disk answers with an error, which is a sign of life.
"""


class Pulse:
    """Remembers the last sign of life of each part.

    Args:
        clock: Seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        now = clock()
        self._last = dict.fromkeys(PATIENCE, now)

    def beat(self, *parts: str) -> None:
        """Note that these parts did something."""
        self._last.update(dict.fromkeys(parts, self._clock()))

    def stuck(self) -> str | None:
        """Return a sentence on the part that hangs, None if none does."""
        now = self._clock()
        for part, patience in PATIENCE.items():
            silent = now - self._last[part]
            if silent > patience:
                return f"the {part} has made no progress for {silent:.0f} s"
        return None
