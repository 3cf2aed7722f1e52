"""The life of an experiment as stretches of time: what it did from when until when. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from broker.messages import Experiment, Milestone

Kind = Literal["waiting", "preparing", "running", "paused", "stopping", "collecting"]

_BEGINS: Final[Mapping[str, Kind]] = {
    "accepted": "preparing",
    "executing": "running",
    "paused": "paused",
    "resumed": "running",
    "stopping": "stopping",
    "released": "collecting",
    "interrupted": "waiting",
}
WORDS: Final[Mapping[str, str]] = {
    "accepted": "Taken by the reactor",
    "executing": "The script began",
    "paused": "Paused",
    "resumed": "Resumed",
    "stopping": "Asked to stop",
    "released": "The script ended, the reactor is free",
    "finished": "Results complete",
    "interrupted": "Interrupted",
    "adopted": "The reactor's service restarted; the script ran on",
    "parameters": "Parameters changed",
    "parameters-seen": "The script saw the parameters",
    "gap": "Gap in the record",
}
TICKS: Final = frozenset({"adopted", "parameters", "gap"})
"""What is a moment rather than the beginning of a stretch."""
_SCALE: Final = 1000.0
_LEAST: Final = 4.0
"""A stretch as short as it may be is seen all the same; of `_SCALE`."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What an experiment did for a while; `end` is None while it does so."""

    kind: Kind
    start: datetime
    end: datetime | None

    def seconds(self, now: datetime) -> float:
        """Return how long it is."""
        return max(0.0, ((self.end or now) - self.start).total_seconds())


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch as it is drawn: place and width of a thousand."""

    stretch: Stretch
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Life:
    """What the page of an experiment tells of its life.

    Attributes:
        kinds: Of the stretches, each once.
        ticks: Where single moments stand among the bars.
        words: What milestones are called.
    """

    now: datetime
    bars: tuple[Bar, ...]
    kinds: tuple[Kind, ...]
    ticks: tuple[tuple[float, Milestone], ...]
    words: Mapping[str, str] = field(default_factory=lambda: WORDS)


def life_of(experiment: Experiment, milestones: Sequence[Milestone], now: datetime) -> Life:
    """Return the life of an experiment up to now."""
    drawn = bars(stretches(experiment, milestones), now)
    kinds = tuple(dict.fromkeys(bar.stretch.kind for bar in drawn))
    return Life(now, drawn, kinds, ticks(drawn, milestones, now))


def stretches(experiment: Experiment, milestones: Sequence[Milestone]) -> tuple[Stretch, ...]:
    """Return what the experiment did, without holes from its submission on."""
    return tuple(_stretches(experiment, milestones))


def bars(parts: Sequence[Stretch], now: datetime) -> tuple[Bar, ...]:
    """Return the stretches side by side: as wide as they are long, the shortest still visible."""
    lengths = [part.seconds(now) for part in parts]
    whole = sum(lengths) or 1.0
    room = max(0.0, _SCALE - _LEAST * len(parts))
    found: list[Bar] = []
    x = 0.0
    for part, length in zip(parts, lengths, strict=True):
        width = _LEAST + room * length / whole
        found.append(Bar(part, round(x, 1), round(width, 1)))
        x += width
    return tuple(found)


def ticks(
    drawn: Sequence[Bar], milestones: Sequence[Milestone], now: datetime
) -> tuple[tuple[float, Milestone], ...]:
    """Return where single moments stand among the bars."""
    return tuple(
        (place, milestone)
        for milestone in milestones
        if milestone.what in TICKS and (place := _place(drawn, milestone.t, now)) is not None
    )


def _place(drawn: Sequence[Bar], t: datetime, now: datetime) -> float | None:
    for bar in drawn:
        end = bar.stretch.end or now
        if bar.stretch.start <= t <= end:
            length = bar.stretch.seconds(now) or 1.0
            part = (t - bar.stretch.start).total_seconds() / length
            return round(bar.x + part * bar.width, 1)
    return None


def _stretches(experiment: Experiment, milestones: Sequence[Milestone]) -> Iterator[Stretch]:
    kind: Kind = "waiting"
    start = experiment.created_at
    last = experiment.completed_at
    for milestone in milestones:
        following = _BEGINS.get(milestone.what)
        # clocks of different machines: nothing ends before it began
        t = max(start, milestone.t)
        if following is None or following == kind or (last is not None and t > last):
            continue
        yield Stretch(kind, start, t)
        kind, start = following, t
    if last is None or last > start:
        yield Stretch(kind, start, last)
