"""What can go wrong on a serial line, switched on and off while a device is emulated."""

import random
from enum import StrEnum


class Fault(StrEnum):
    """A fault; each device says which of them it knows."""

    SILENCE = "silence"
    """It hears and does not answer."""
    GARBAGE = "garbage"
    """Bytes of noise come before what it says."""
    PARTIAL = "partial"
    """The second half of what it says is lost."""
    CORRUPT = "corrupt"
    """One bit of what it says is wrong, so its check sum is too."""
    SLOW = "slow"
    """It answers some seconds late."""
    REBOOT = "reboot"
    """It starts anew instead of doing what it was told."""
    UNSOLICITED = "unsolicited"
    """It says something that nobody asked for first."""
    STUCK = "stuck"
    """What it measures does not change any more."""
    UNPLUG = "unplug"
    """Its port is gone."""


ANYWHERE = frozenset(Fault) - {Fault.CORRUPT, Fault.UNSOLICITED}
"""Faults that any device on a line can have; without a check sum a wrong bit is a wrong value."""

SLOW_SECONDS = 3.0
"""Of the device's time, that a slow answer comes late if nothing else is said."""
_NOISE = bytes(range(1, 9)) + bytes(range(14, 32)) + bytes(range(128, 256))
"""Line noise; no digits, as no protocol without a check sum could tell those from an answer."""


class Faults:
    """Which faults there are now, and how often each still strikes.

    Args:
        seed: Of the noise.
    """

    def __init__(self, seed: int = 1) -> None:
        self.slow_seconds = SLOW_SECONDS
        self._left: dict[Fault, float] = {}
        self._random = random.Random(seed)  # noqa: S311 - noise, no secret

    def __contains__(self, fault: Fault) -> bool:
        return self._left.get(fault, 0) > 0

    def inject(self, fault: Fault, times: int | None = None) -> None:
        """Switch a fault on, for good or for so many times."""
        self._left[fault] = float("inf") if times is None else times

    def clear(self, fault: Fault | None = None) -> None:
        """Switch a fault off, or all of them."""
        if fault is None:
            self._left.clear()
        else:
            self._left.pop(fault, None)

    def strikes(self, fault: Fault) -> bool:
        """Whether the fault is there; counts it as having struck."""
        if fault not in self:
            return False
        self._left[fault] -= 1
        return True

    def on_the_line(self, data: bytes, chatter: bytes) -> bytes:
        """Return what becomes of what a device says, except for when.

        Args:
            data: What it says.
            chatter: What it may say unasked.
        """
        if self.strikes(Fault.SILENCE):
            return b""
        if self.strikes(Fault.UNSOLICITED):
            data = chatter + data
        if data and self.strikes(Fault.CORRUPT):
            at, bit = self._random.randrange(len(data)), self._random.randrange(7)
            data = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
        if self.strikes(Fault.PARTIAL):
            data = data[: len(data) // 2]
        if self.strikes(Fault.GARBAGE):
            data = bytes(self._random.choices(_NOISE, k=self._random.randint(1, 40))) + data
        return data
