"""The experiment's clock: reactor seconds since its script began, standing still while frozen."""

import time
from collections.abc import Callable

from hardware.clock import Clock, machine_boot
from node_service.runs import ClockAnchor


class RunClock:
    """Counts for one attempt; survives restarts of the node through its anchor.

    Args:
        clock: The reactor's clock.
        anchor: Where the experiment's clock stood; the time since then counts, for the script ran
            on while the node was away. None: it stands at zero until `begin`.
        monotonic: The machine's monotonic clock in seconds, the same for all its processes.
        boot: Identity of the machine's boot, without which that clock means nothing.
    """

    def __init__(
        self,
        clock: Clock,
        anchor: ClockAnchor | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        boot: Callable[[], str] = machine_boot,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._boot = boot
        self._begun = anchor is not None and not anchor.stopped
        anchor = anchor or ClockAnchor()
        away = 0.0
        if self._begun and anchor.machine_boot == boot():
            away = max(0.0, monotonic() - anchor.monotonic) * clock.speed
        self._since = clock.monotonic()
        self._frozen = anchor.frozen
        self._elapsed = anchor.elapsed + (0.0 if anchor.frozen else away)
        self._frozen_for = anchor.frozen_for + (away if anchor.frozen else 0.0)

    @property
    def elapsed(self) -> float:
        """Seconds of the experiment's clock."""
        counting = self._begun and not self._frozen
        return self._elapsed + self._passed() if counting else self._elapsed

    @property
    def frozen_for(self) -> float:
        """Seconds that it stood still, in all."""
        counting = self._begun and self._frozen
        return self._frozen_for + self._passed() if counting else self._frozen_for

    @property
    def counting(self) -> bool:
        """Whether it was begun and not stopped; it may be frozen."""
        return self._begun

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._frozen

    @property
    def clock(self) -> Clock:
        """The reactor's clock that it counts by."""
        return self._clock

    def begin(self, elapsed: float = 0.0) -> None:
        """Start counting; nothing happens if it counts.

        Args:
            elapsed: Seconds that passed before anybody counted.
        """
        if not self._begun:
            self._begun = True
            self._elapsed = elapsed
            self._since = self._clock.monotonic()

    def freeze(self) -> None:
        """Stand still; nothing happens if it does."""
        if not self._frozen:
            self._turn(frozen=True)

    def thaw(self) -> None:
        """Go on; nothing happens if it does."""
        if self._frozen:
            self._turn(frozen=False)

    def stop(self) -> None:
        """Stand for good: the experiment has ended."""
        self._elapsed, self._frozen_for = self.elapsed, self.frozen_for
        self._begun = False

    def anchor(self) -> ClockAnchor:
        """Return what a later clock needs to go on from here."""
        return ClockAnchor(
            elapsed=self.elapsed,
            frozen_for=self.frozen_for,
            frozen=self._frozen,
            stopped=not self._begun,
            monotonic=self._monotonic(),
            machine_boot=self._boot(),
        )

    def _passed(self) -> float:
        return self._clock.monotonic() - self._since

    def _turn(self, *, frozen: bool) -> None:
        self._elapsed, self._frozen_for = self.elapsed, self.frozen_for
        self._since = self._clock.monotonic()
        self._frozen = frozen
