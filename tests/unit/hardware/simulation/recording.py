"""The recorded run that the simulation is compared with."""

import csv
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[4]
CSV = _ROOT.parent / "shared" / "recordings" / "bioreactor_20260217_142556.csv"


@dataclass(frozen=True)
class StartUp:
    """A warm-up to 30 °C, sampled every 20 s, in the terms of the hardware facts.

    Attributes:
        seconds_to_90: Until 90 % of the way.
        peak: Highest of the first 400 s, °C.
        trough: Lowest between the peak and 900 s, °C.
        settled: Last time beyond ±0.19 °C, s.
        duty: Mean from 30 to 60 min, %.
        steady: Standard deviation of the temperature after an hour, °C.
        inside: Part of those within ±0.125 °C.
    """

    seconds_to_90: float
    peak: float
    trough: float
    settled: float
    duty: float
    steady: float
    inside: float


def start_up(
    times: Sequence[float], temperatures: Sequence[float], duties: Sequence[float]
) -> StartUp:
    """Describe a run of two hours or more that begins with the thermostat switched on."""
    rows = list(zip(times, temperatures, duties, strict=True))
    begin = temperatures[0]
    peak_at, peak = max(((t, c) for t, c, _ in rows if t <= 400), key=lambda row: (row[1], -row[0]))
    steady = [c for t, c, _ in rows if 3600 <= t <= 7200]
    return StartUp(
        seconds_to_90=next(t for t, c, _ in rows if c >= begin + 0.9 * (30 - begin)),
        peak=peak,
        trough=min(c for t, c, _ in rows if peak_at < t <= 900),
        settled=max(t for t, c, _ in rows if abs(c - 30) > 0.19),
        duty=statistics.fmean(d for t, _, d in rows if 1800 <= t <= 3600),
        steady=statistics.pstdev(steady),
        inside=sum(abs(c - 30) <= 0.125 for c in steady) / len(steady),
    )


def columns(*names: str, rows: int | None = None) -> list[list[float]]:
    """Return columns of the recording."""
    with CSV.open(newline="") as file:
        table = list(csv.DictReader(file))[:rows]
    return [[float(row[name]) for row in table] for name in names]


def noise(values: Sequence[float]) -> float:
    """Return the standard deviation of what changes from one sample to the next."""
    steps = [after - before for before, after in itertools.pairwise(values)]
    return statistics.pstdev(steps) / 2**0.5
