"""Samples row by row in wide form, and log lines and events one after another: for exports.

Nothing here holds more than a few rows, however long the run was.
"""

import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf, isnan

import orjson

from broker.messages import EventRecord
from hub_service.archive.calibrated import Calibrated
from hub_service.archive.curves import channel_name
from hub_service.archive.runs import moment
from hub_service.archive.schema import NO_CLOCK, SAMPLE, SOURCES


@dataclass(frozen=True, slots=True)
class WideRow:
    """All values of one entry; None where it has none.

    Attributes:
        elapsed: Seconds of the experiment's clock; None before it started.
        calibrations: The set of `WideTable.calibrations` that it was brought to truth with.
    """

    elapsed: float | None
    time: datetime
    values: Sequence[float | None]
    calibrations: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows and columns of a table are wanted; what is absent leaves nothing out.

    Attributes:
        channels: Names; those that were never recorded are left out.
        start: With end, seconds of the experiment's clock, both included.
    """

    channels: Sequence[str] | None = None
    start: float | None = None
    end: float | None = None


class WideTable:
    """What one run recorded of one kind.

    Args:
        connection: Of a reader; a transaction keeps what is seen the same throughout.
        run: Which run.
        kind: Of the kinds of samples.
        wanted: Which of it.

    Attributes:
        columns: Names of the channels, sorted.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        run: int,
        kind: int,
        wanted: Selection = Selection(),
    ) -> None:
        self._connection = connection
        self._run = run
        self._kind = kind
        self._wanted = wanted
        self._calibrated = Calibrated(connection, run) if kind == SAMPLE else None
        layouts: dict[int, list[int]] = {
            layout: orjson.loads(channels)
            for layout, channels in connection.execute(
                "SELECT id, channels FROM run_layouts JOIN layouts ON id = layout"
                " WHERE run = ? AND kind = ?",
                (run, kind),
            )
        }
        names = {c: channel_name(connection, c) for each in layouts.values() for c in each}
        if wanted.channels is not None:
            names = {c: name for c, name in names.items() if name in wanted.channels}
        self.columns = sorted(names.values())
        places = {name: place for place, name in enumerate(self.columns)}
        self._layouts = {
            layout: (
                struct.Struct(f"<{len(channels)}d"),
                [
                    (place, places[names[channel]])
                    for place, channel in enumerate(channels)
                    if channel in names
                ],
            )
            for layout, channels in layouts.items()
        }

    @property
    def calibrations(self) -> Mapping[str, Mapping[str, str]]:
        """Sets of calibrations by name, channel → calibration; empty where none was recorded."""
        return {} if self._calibrated is None else self._calibrated.sets

    def rows(self) -> Iterator[WideRow]:
        """Yield all wanted rows in order."""
        width = len(self.columns)
        wanted = self._wanted
        start = -inf if wanted.start is None else wanted.start
        end = inf if wanted.end is None else wanted.end
        for x, t, layout, packed in self._connection.execute(
            "SELECT x, t, layout, v FROM samples WHERE run = ? AND kind = ? AND x BETWEEN ? AND ?"
            " ORDER BY x, tie",
            (self._run, self._kind, start, end),
        ):
            packer, places = self._layouts[layout]
            if not places and wanted.channels is not None:
                continue
            given = packer.unpack(packed)
            values: list[float | None] = [None] * width
            for source, place in places:
                values[place] = None if isnan(given[source]) else given[source]
            used = None if self._calibrated is None else self._calibrated.at(x)
            yield WideRow(x if x > NO_CLOCK else None, moment(t), values, used)


def log_lines(connection: sqlite3.Connection, run: int) -> Iterator[tuple[datetime, str, str]]:
    """Yield time, source and text of all log lines of a run."""
    for t, source, text in connection.execute(
        "SELECT t, source, text FROM logs WHERE run = ? ORDER BY n, tie", (run,)
    ):
        yield moment(t), SOURCES[source], text


def events(connection: sqlite3.Connection, run: int) -> Iterator[EventRecord]:
    """Yield all events of a run."""
    for (body,) in connection.execute(
        "SELECT body FROM events WHERE run = ? ORDER BY x, id", (run,)
    ):
        yield EventRecord.model_validate_json(body)
