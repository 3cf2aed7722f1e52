"""How tables are written to files: CSV and text, streaming, measured as they are written."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING

import orjson

from broker.messages import EventRecord
from broker.spreadsheets import harmless
from hub_service.archive.wide import WideTable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FIRST = ("elapsed", "time")
"""The first two columns of every table."""
CALIBRATIONS = "calibrations"
"""The last column of a table of samples that were calibrated: the name of a set of calibrations."""


class Measured(io.RawIOBase):
    """Passes bytes on; knows how many there were and their hash.

    Args:
        sink: Stays open when this is closed.
    """

    def __init__(self, sink: IO[bytes]) -> None:
        super().__init__()
        self._sink = sink
        self._digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Write all of it."""
        view = memoryview(data).cast("B")
        self._sink.write(view)
        self._digest.update(view)
        self.size += len(view)
        return len(view)

    @property
    def sha256(self) -> str:
        """The hash of what was written so far."""
        return self._digest.hexdigest()


def column_names(channels: Sequence[str]) -> list[str]:
    """Return the channels' names, told apart from the other columns."""
    return [f"{name}.value" if name in {*FIRST, CALIBRATIONS} else name for name in channels]


def write_csv(table: WideTable, sink: io.RawIOBase) -> None:
    """Write a table in wide form; what is missing is left empty."""
    header = [*FIRST, *map(harmless, column_names(table.columns))]
    if not table.calibrations:
        rows = ([row.elapsed, _iso(row.time), *row.values] for row in table.rows())
        _write_rows(sink, header, rows)
        return
    _write_rows(
        sink,
        [*header, CALIBRATIONS],
        ([r.elapsed, _iso(r.time), *r.values, r.calibrations] for r in table.rows()),
    )


def write_calibrations(sets: Mapping[str, Mapping[str, str]], sink: io.RawIOBase) -> None:
    """Write what the sets of calibrations are that a table names."""
    _write_rows(
        sink,
        [CALIBRATIONS, "channel", "calibration"],
        ([name, channel, used] for name, one in sets.items() for channel, used in one.items()),
    )


def write_events(events: Iterable[EventRecord], sink: io.RawIOBase) -> None:
    """Write events, what belongs to each as JSON."""
    _write_rows(
        sink,
        [*FIRST, "event", "channel", "value", "data"],
        (
            [
                event.elapsed,
                _iso(event.t),
                event.event,
                event.channel,
                event.value,
                orjson.dumps(dict(event.data)).decode() if event.data else None,
            ]
            for event in events
        ),
    )


def write_log(lines: Iterable[tuple[datetime, str, str]], sink: io.RawIOBase) -> None:
    """Write log lines with time and source."""
    with _text(sink) as text:
        for time, source, line in lines:
            text.write(f"{_iso(time)} {source:6} {line}\n")


def _write_rows(
    sink: io.RawIOBase, header: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    with _text(sink) as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _text(sink: io.RawIOBase) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(sink, 256 * 1024), "utf-8", errors="replace", newline=""
    )


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")
