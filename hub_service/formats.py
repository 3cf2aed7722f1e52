"""How tables are written to files: CSV and text, streaming, measured as they are written."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING

import orjson

from broker.messages import EventRecord
from hub_service.archive.wide import WideTable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

RESERVED = ("elapsed", "time")
"""The first two columns of every table."""


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
    """Return the channels' names, told apart from the first two columns."""
    return [f"{name}.value" if name in RESERVED else name for name in channels]


def write_csv(table: WideTable, sink: io.RawIOBase) -> None:
    """Write a table in wide form; what is missing is left empty."""
    _write_rows(
        sink,
        [*RESERVED, *map(_harmless, column_names(table.columns))],
        ([row.elapsed, _iso(row.time), *row.values] for row in table.rows()),
    )


def write_events(events: Iterable[EventRecord], sink: io.RawIOBase) -> None:
    """Write events, what belongs to each as JSON."""
    _write_rows(
        sink,
        [*RESERVED, "event", "channel", "value", "data"],
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


def _harmless(name: str) -> str:
    """Return the name of a column so that no spreadsheet takes it for a formula.

    Scripts name their series; "'" before the text is how https://owasp.org/www-community/attacks/
    CSV_Injection advises it. Parquet keeps the name as it is.
    """
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


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
