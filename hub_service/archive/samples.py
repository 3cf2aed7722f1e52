"""Samples on their way into the archive: packed row by row; rolled up by one minute and by ten."""

import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Final

from hub_service.archive.names import Layout, Names
from hub_service.archive.schema import NO_CLOCK, TEN, WIDEN

_MINUTE: Final = 60_000_000
_LARGEST: Final = sys.float_info.max


@dataclass(slots=True)
class _Rows:
    """Samples of one run and layout within one minute."""

    layout: Layout
    x: list[float] = field(default_factory=list)
    t: list[int] = field(default_factory=list)
    values: list[tuple[float | None, ...]] = field(default_factory=list)


class Samples:
    """Collects the samples of one commit, then writes them. Costs do not grow with history."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._rows: list[tuple[int, int, float, int, int, int, bytes]] = []
        self._groups: dict[tuple[int, int, int, int, bool], _Rows] = {}

    def add(
        self,
        connection: sqlite3.Connection,
        run: int,
        kind: int,
        *,
        x: float,
        t: int,
        tie: int,
        values: Mapping[str, float | None],
    ) -> None:
        """Add one reading; null is kept as such."""
        layout = self._names.layout(connection, kind, tuple(values))
        row = tuple(values.values())
        packed = layout.packer.pack(*[nan if v is None else v for v in row])
        self._rows.append((run, kind, x, tie, t, layout.id, packed))
        clocked = x > NO_CLOCK
        key = (run, kind, t // _MINUTE, layout.id, clocked)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Rows(layout)
        group.x.append(x)
        group.t.append(t)
        group.values.append(row)

    def write(self, connection: sqlite3.Connection) -> None:
        """Insert what was collected and bring the rollups up to date."""
        connection.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)", self._rows)
        rollups, tens = [], []
        for (run, kind, minute, layout, clocked), group in self._groups.items():
            self._names.once(connection, "run_layouts", (run, layout))
            connection.execute(
                "INSERT INTO minutes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " n = n + excluded.n,"
                " x_first = min(x_first, excluded.x_first),"
                " x_last = max(x_last, excluded.x_last)",
                (run, kind, minute, len(group.x), min(group.x), max(group.x)),
            )
            if not clocked:
                continue  # it stands nowhere on the experiment's axis
            columns = zip(*group.values, strict=True)
            for channel, column in zip(group.layout.channels, columns, strict=True):
                n, total, *extremes = roll_up(column, group.x, group.t)
                rollups.append((run, channel, minute, n, total, *extremes))
                tens.append((run, channel, minute // TEN, *extremes))
        connection.executemany(_ROLL_UP, rollups)
        connection.executemany(_ROLL_UP_TENS, tens)


def roll_up(
    values: Sequence[float | None], x: Sequence[float], t: Sequence[int]
) -> tuple[int, float, float | None, float | None, float, float, int, int]:
    """Return count, sum, minimum and maximum of the values, and where the last two stood."""
    there = [v for v in values if v is not None]
    if not there:
        return 0, 0.0, None, None, x[0], x[0], t[0], t[0]
    lo, hi = min(there), max(there)
    at_lo, at_hi = values.index(lo), values.index(hi)
    # A script may record what overflows: infinities of both signs would add up to no number.
    total = min(max(sum(there), -_LARGEST), _LARGEST)
    return len(there), total, lo, hi, x[at_lo], x[at_hi], t[at_lo], t[at_hi]


_ROLL_UP: Final = f"""
    INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        n = n + excluded.n,
        total = min(max(total + excluded.total, -1.7976931348623157e308), 1.7976931348623157e308),
        {WIDEN}
"""  # noqa: S608  constants
_ROLL_UP_TENS: Final = (
    f"INSERT INTO tens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {WIDEN}"  # noqa: S608  constants
)
