"""Read a recorded run from a CSV file.

The first line names the columns. One column counts the seconds since the start and grows from row
to row (`TIME_COLUMNS`); every other column whose values are numbers is a channel. An empty field,
``nan`` and ``null`` are no value. Files of others are read here, so every complaint names its line.
"""

import bisect
import csv
import itertools
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from broker.messages import Quantity

TIME_COLUMNS: Final = ("elapsed_time", "elapsed", "seconds", "t")
"""What the column of seconds may be called; a wall clock jumps and is not used."""
MAX_BYTES: Final = 256 * 1024**2
MAX_CHANNELS: Final = 64
_GAP: Final = 3.0
"""Rows further apart than so many usual periods have a gap between them."""
_NOTHING: Final = frozenset({"", "nan", "null", "none", "na", "n/a"})
_UNITS: Final[Mapping[str, tuple[str, Quantity]]] = MappingProxyType(
    {
        "v": ("V", Quantity.OTHER),
        "c": ("°C", Quantity.TEMPERATURE),
        "ppm": ("ppm", Quantity.CO2),
        "duty": ("%", Quantity.POWER),
        "ml": ("mL", Quantity.VOLUME),
        "rpm": ("rpm", Quantity.SPEED),
        "od": ("OD", Quantity.OPTICAL_DENSITY),
        "ph": ("pH", Quantity.PH),
        "do": ("%", Quantity.DISSOLVED_OXYGEN),
    }
)
"""By the last word of a column's name."""


class RecordingError(ValueError):
    """The file is no recorded run; one sentence that names the file and the line."""


@dataclass(frozen=True, slots=True)
class Column:
    """One channel of a recording.

    Attributes:
        name: As a channel is called.
        heading: As the file calls it.
        unit: Guessed from the heading; empty where it says none.
        lowest, highest: Of its values.
    """

    name: str
    heading: str
    unit: str
    quantity: Quantity
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded run.

    Attributes:
        columns: Its channels, as in the file.
        times: Seconds since the start, growing; the first is 0.
        rows: The values of each time, in the columns' order; None where there was none.
        period: The usual time between rows, s.
    """

    columns: tuple[Column, ...]
    times: Sequence[float]
    rows: Sequence[tuple[float | None, ...]]
    period: float

    @property
    def duration(self) -> float:
        """Seconds until the last row is over."""
        return self.times[-1] + self.period

    def at(self, seconds: float) -> Mapping[str, float | None]:
        """Return what the sensors showed at a time; nothing in a gap or outside the run."""
        index = bisect.bisect_right(self.times, seconds) - 1
        if index < 0 or seconds - self.times[index] >= self._lasts(index):
            return {column.name: None for column in self.columns}
        return {
            column.name: value for column, value in zip(self.columns, self.rows[index], strict=True)
        }

    def _lasts(self, index: int) -> float:
        """Return for how long a row is what the sensors show."""
        if index + 1 == len(self.times):
            return self.period
        until = self.times[index + 1] - self.times[index]
        return until if until <= _GAP * self.period else self.period


def read_recording(path: Path) -> Recording:
    """Read a recorded run.

    Raises:
        RecordingError: It cannot be read, or is no recorded run.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordingError(f"{path}: larger than {MAX_BYTES // 1024**2} MiB")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(path, csv.reader(file, strict=True))
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: not a CSV file in UTF-8: {error}") from error


def _read(path: Path, lines: Iterable[list[str]]) -> Recording:
    numbered = enumerate(lines, 1)
    _, headings = next(numbered, (0, []))
    clock = next((headings.index(name) for name in TIME_COLUMNS if name in headings), None)
    if clock is None:
        raise RecordingError(
            f"{path}: line 1: no column of seconds; call one {' or '.join(TIME_COLUMNS)}"
        )
    times: list[float] = []
    table: list[list[str]] = []
    for line, fields in numbered:
        if not fields:
            continue
        if len(fields) != len(headings):
            raise RecordingError(
                f"{path}: line {line}: {len(fields)} fields, the first line names {len(headings)}"
            )
        at = _number(fields[clock])
        if at is None or (times and at <= times[-1]):
            raise RecordingError(
                f"{path}: line {line}: {headings[clock]} is {fields[clock]!r}; "
                "it must be a number that grows from row to row"
            )
        times.append(at)
        table.append(fields)
    if len(times) < 2:  # noqa: PLR2004 - a period takes two
        raise RecordingError(f"{path}: a recorded run has two rows at least")
    return _columns(path, headings, clock, times, table)


def _columns(
    path: Path, headings: list[str], clock: int, times: list[float], table: list[list[str]]
) -> Recording:
    columns: list[Column] = []
    values: list[list[float | None]] = []
    for index, heading in enumerate(headings):
        if index == clock or not _is_numeric(row[index] for row in table):
            continue
        numbers = [_number(row[index]) for row in table]
        sound = [number for number in numbers if number is not None]
        columns.append(_column(path, heading, min(sound), max(sound)))
        values.append(numbers)
    names = [column.name for column in columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecordingError(f"{path}: line 1: two columns are called {twice}")
    if not 0 < len(columns) <= MAX_CHANNELS:
        raise RecordingError(
            f"{path}: {len(columns)} columns of numbers; 1 to {MAX_CHANNELS} can be"
        )
    first = times[0]
    return Recording(
        tuple(columns),
        [at - first for at in times],
        list(zip(*values, strict=True)),
        statistics.median(b - a for a, b in itertools.pairwise(times)),
    )


def _column(path: Path, heading: str, lowest: float, highest: float) -> Column:
    words = re.findall(r"[a-z0-9]+", heading.lower())
    unit, quantity = _UNITS.get(words[-1] if words else "", ("", Quantity.OTHER))
    if len(words) > 1 and words[-1] in _UNITS and unit not in {"OD", "pH"} and words[-1] != "duty":
        words = words[:-1]  # the unit is told beside the name
    name = "-".join(words)[:48]
    if not name:
        raise RecordingError(f"{path}: line 1: {heading!r} cannot be a channel's name")
    return Column(name, heading, unit, quantity, lowest, highest)


def _is_numeric(fields: Iterable[str]) -> bool:
    """Say whether there are numbers, and nothing but numbers and missing values."""
    some = False
    for field in fields:
        if _number(field) is not None:
            some = True
        elif field.strip().lower() not in _NOTHING:
            return False
    return some


def _number(field: str) -> float | None:
    try:
        value = float(field)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
