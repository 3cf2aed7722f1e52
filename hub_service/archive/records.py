"""What the records stream brings, into the archive's tables."""

import sqlite3
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue, ValidationError

from broker.messages import (
    RECORD,
    ContainerRecord,
    EventRecord,
    LogRecord,
    PhaseRecord,
    Record,
    SampleRecord,
    SeriesRecord,
)
from hub_service.archive.names import Epoch, Names
from hub_service.archive.quarantine import put_aside
from hub_service.archive.runs import micros
from hub_service.archive.samples import Samples
from hub_service.archive.schema import CONTAINER, SAMPLE, SERIES, SOURCES, axis

STATES: Final = ("created", "running", "paused", "exited")
"""Of a container, as numbered among its samples."""
_MAX_INTEGER: Final = 2**62


def tie(epoch: Epoch, number: int) -> int:
    """Return what tells an entry apart from all others."""
    return (epoch.id << 40) | number


@dataclass(slots=True)
class _Seen:
    """What a commit holds of one run."""

    entries: int
    first: int
    last: int
    started: int | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record and where it belongs."""

    epoch: Epoch
    number: int
    run: int
    t: int
    x: float


class Records:
    """Writes the records of one commit; one that is none is put aside with what is wrong with it.

    Args:
        connection: In a transaction.
        names: Of the archive.
        node: Whose records.
        tell: Called with each event and phase and its number: people may be to be told of it.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        names: Names,
        node: int,
        tell: Callable[[EventRecord | PhaseRecord, int], None],
    ) -> None:
        self._connection = connection
        self._names = names
        self._node = node
        self._tell = tell
        self._samples = Samples(names)
        self._logs: list[tuple[object, ...]] = []
        self._runs: dict[int, _Seen] = {}

    def write(self, epoch: Epoch, first: int, entries: Sequence[JsonValue]) -> None:
        """Write entries numbered from `first`."""
        for number, entry in enumerate(entries, first):
            try:
                self._collect(epoch, number, RECORD.validate_python(entry))
            except (ValidationError, ValueError, OverflowError, struct.error) as error:
                put_aside(self._connection, epoch, number, entry, str(error))
        self._samples.write(self._connection)
        self._connection.executemany("INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?)", self._logs)
        self._connection.executemany(
            "UPDATE runs SET entries = entries + ?, first_t = min(ifnull(first_t, ?2), ?2),"
            " last_t = max(ifnull(last_t, ?3), ?3), started_t = ifnull(started_t, ?4)"
            " WHERE id = ?5",
            [(s.entries, s.first, s.last, s.started, run) for run, s in self._runs.items()],
        )

    def runs(self) -> list[int]:
        """Return the runs that had entries, in the order of their first ones."""
        return list(self._runs)

    def _collect(self, epoch: Epoch, number: int, record: Record) -> None:
        if (record.attempt or 0) > _MAX_INTEGER:
            raise ValueError("the attempt's number is too large")
        t = micros(record.t)
        run = self._names.run(self._connection, record.experiment_id, record.attempt, self._node)
        x = axis(t, record.elapsed, idle=record.experiment_id is None)
        entry = _Entry(epoch, number, run, t, x)
        match record:
            case SampleRecord():
                self._sample(entry, SAMPLE, record.values)
            case SeriesRecord():
                self._sample(entry, SERIES, record.values)
            case ContainerRecord():
                self._container(entry, record)
            case LogRecord():
                self._log(entry, record)
            case EventRecord():
                self._connection.execute(
                    "INSERT INTO events (run, x, t, body) VALUES (?, ?, ?, ?)",
                    (run, x, t, record.encode().decode()),
                )
                self._tell(record, number)
            case PhaseRecord():
                self._connection.execute(
                    "INSERT INTO phases (epoch, n, run, body) VALUES (?, ?, ?, ?)",
                    (epoch.id, number, run, record.encode().decode()),
                )
                self._tell(record, number)
        epoch.last_run = run
        seen = self._runs.setdefault(run, _Seen(0, t, t))
        seen.entries += 1
        seen.first, seen.last = min(seen.first, t), max(seen.last, t)
        if isinstance(record, PhaseRecord) and record.phase == "executing":
            seen.started = t

    def _sample(self, entry: _Entry, kind: int, values: Mapping[str, float | None]) -> None:
        if not values:
            return
        self._samples.add(
            self._connection,
            entry.run,
            kind,
            x=entry.x,
            t=entry.t,
            tie=tie(entry.epoch, entry.number),
            values=values,
        )

    def _container(self, entry: _Entry, record: ContainerRecord) -> None:
        status = record.status
        row = (entry.run, status.container_id, status.image)
        self._names.once(self._connection, "containers", row)
        self._sample(
            entry,
            CONTAINER,
            {
                "cpu_percent": status.cpu_percent,
                "memory": float(status.memory),
                "memory_limit": float(status.memory_limit),
                "pids": float(status.pids),
                "results_bytes": float(status.results_bytes),
                "log_bytes": float(status.log_bytes),
                "uptime": status.uptime,
                "state": float(STATES.index(status.state)),
            },
        )

    def _log(self, entry: _Entry, record: LogRecord) -> None:
        if abs(record.n) > _MAX_INTEGER:
            raise ValueError("the line's number is too large")
        source = SOURCES.index(record.source)
        place = tie(entry.epoch, entry.number)
        self._logs.append((entry.run, record.n, place, entry.t, entry.x, source, record.text))
