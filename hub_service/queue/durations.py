"""How long runs took: what is known of a script, and of a user."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal, Self

from hub_service.queue.state import NO_SCRIPT, Plan

MAX_KEYS: Final = 2000
"""Of how many scripts, and of how many users, runs are remembered; the earliest go first."""
PER_KEY: Final = 20
"""How many runs of each; habits change, so the newest count."""
SPREAD_FROM: Final = 2
"""So many runs show a spread; one alone does not say how different the next may be."""

Basis = Literal["free", "declared", "script", "user"]
BASES: Final[tuple[Basis, ...]] = ("free", "declared", "script", "user")
"""Grounds of a forecast, the firmest first."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How long a run took, in seconds of the experiment's clock: pauses do not count."""

    experiment_id: str
    script_sha256: str
    user: str
    seconds: float


class Durations:
    """Remembers runs; in memory only, the archive has them for good."""

    def __init__(self, runs: Sequence[Taken] = ()) -> None:
        self._scripts: dict[str, dict[str, float]] = {}
        self._users: dict[str, dict[str, float]] = {}
        for run in runs:
            self.add(run)

    def add(self, run: Taken) -> None:
        """Learn of a run that ended, the earliest first; told again, it is one run still."""
        if run.script_sha256 != NO_SCRIPT:
            _add(self._scripts, run.script_sha256, run)
        _add(self._users, run.user, run)

    def of(self, plan: Plan) -> tuple[Basis, Sequence[float]]:
        """Return the runs that come nearest to a planned one, and why they do."""
        runs = self._scripts.get(plan.script_sha256)
        if runs is not None:
            return "script", tuple(runs.values())
        return "user", tuple(self._users.get(plan.user, {}).values())


@dataclass(frozen=True, slots=True)
class Length:
    """How long a run takes from its start, in seconds of its clock; None is not known."""

    least: float | None = None
    likely: float | None = None
    most: float | None = None
    basis: Basis | None = None

    @classmethod
    def of(cls, plan: Plan, durations: Durations, ran: float = 0.0) -> Self:
        """Return what is to be expected of a run.

        The author's word comes first, then earlier runs. Of those only the ones that took longer
        than it has run already tell how it goes on: their median is the likely one, the spread of
        all is the range. `max_duration` bounds it from above and says nothing of the likely length.

        Args:
            plan: Of the experiment.
            durations: What is known of others.
            ran: Seconds that it has run.
        """
        basis, runs = durations.of(plan)
        if plan.duration is not None and basis == "user":
            runs = ()  # other scripts say less of this one than its author
        longer = [seconds for seconds in runs if seconds > ran]
        spread = len(runs) >= SPREAD_FROM
        least = min(runs) if spread else None
        most = max(runs) if spread and longer else plan.max_duration
        likely = median(longer) if longer else None
        if plan.duration is not None and plan.duration > ran:
            basis, likely = "declared", plan.duration
            least = None if least is None else min(least, likely)
            most = None if most is None else max(most, likely)
        if plan.max_duration is not None and most is not None:
            most = min(most, plan.max_duration)
        if most is not None and most <= ran:
            most = None  # it has outlived it
        if likely is not None and most is not None:
            likely = min(likely, most)
        return cls(least, likely, most, None if likely is None else basis)


def _add(known: dict[str, dict[str, float]], key: str, run: Taken) -> None:
    runs = known.pop(key, {})
    runs[run.experiment_id] = max(run.seconds, 0.0)
    if len(runs) > PER_KEY:
        del runs[next(iter(runs))]
    known[key] = runs
    if len(known) > MAX_KEYS:
        del known[next(iter(known))]
