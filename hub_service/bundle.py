"""All of an experiment in one ZIP, with a manifest. Imported only by the exporting process."""

import json
import platform
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
from pydantic import JsonValue

from broker import VERSION
from hub_service.archive.milestones import milestones
from hub_service.archive.results import files_of_run
from hub_service.archive.schema import CONTAINER, MIGRATIONS, SAMPLE, SERIES
from hub_service.archive.wide import events, log_lines
from hub_service.formats import (
    Measured,
    write_calibrations,
    write_csv,
    write_events,
    write_log,
)
from hub_service.parquet import write_parquet
from hub_service.recorded import Recorded

_FORBIDDEN: Final = frozenset('\\:*?"<>|')
"""In names of files on Windows, and reserved by some tools elsewhere."""
_EARLIEST: Final = datetime(1980, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2107, 12, 31, tzinfo=UTC)
"""What the date of a file in a ZIP can be."""
_BLOCK: Final = 256 * 1024
_WORTH_IT: Final = 0.9
"""What a file's first block shrinks to at most, if the whole is compressed."""


class Bundle:
    """A ZIP under construction.

    Attributes:
        manifest: Name, size and SHA-256 of each file in it so far.
    """

    def __init__(self, file: zipfile.ZipFile, date: tuple[int, int, int, int, int, int]) -> None:
        self._file = file
        self._date = date
        self.manifest: list[JsonValue] = []

    @contextmanager
    def member(
        self, name: str, *, problem: str = "", compressed: bool = True
    ) -> Iterator[Measured]:
        """Write one file into it.

        Args:
            name: Its path in the ZIP.
            problem: Told in the manifest: why it is not what it should be.
            compressed: Make it smaller; left out where that only takes time.
        """
        info = zipfile.ZipInfo(name, self._date)
        info.external_attr = 0o644 << 16
        info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with self._file.open(info, "w", force_zip64=True) as sink:
            measured = Measured(sink)
            yield measured
        entry: dict[str, JsonValue] = {
            "name": name,
            "size": measured.size,
            "sha256": measured.sha256,
        }
        self.manifest.append({**entry, "problem": problem} if problem else entry)

    def free_name(self, name: str) -> str:
        """Return the name, made longer until no file has it."""
        while name in self._file.NameToInfo:
            name += "_"
        return name

    def add_json(self, name: str, content: JsonValue) -> None:
        """Write a JSON file, for people too."""
        with self.member(name) as sink:
            sink.write(json.dumps(content, indent=2, ensure_ascii=False).encode())

    def copy(self, name: str, path: Path, *, problem: str = "") -> None:
        """Copy a file; one that is gone is told in the manifest alone."""
        if not path.exists():
            lost: JsonValue = {"name": name, "problem": problem or "it is gone from the hub's disk"}
            self.manifest.append(lost)
            return
        with path.open("rb") as file:
            data = file.read(_BLOCK)
            # Measured, not told by the name: to deflate gigabytes in vain takes minutes.
            compressed = len(zlib.compress(data, 1)) <= _WORTH_IT * len(data)
            with self.member(name, problem=problem, compressed=compressed) as sink:
                while data:
                    sink.write(data)
                    data = file.read(_BLOCK)


def portable(name: str) -> str:
    """Return a result's name as every system can store it, and shows it for what it is.

    On some a backslash leads out of the folder and a colon to another drive; marks that turn the
    direction of writing let one kind of file pass for another.
    """
    return "".join(ch if ch.isprintable() and ch not in _FORBIDDEN else "_" for ch in name)


def write_bundle(recorded: Recorded, to: Path) -> None:
    """Make the ZIP: the latest attempt at its top, earlier ones in folders of their own."""
    date = _zip_date(recorded.experiment.created_at)
    part = to.with_name(f"{to.name}.part")
    with zipfile.ZipFile(to, "w", compresslevel=6) as file:
        bundle = Bundle(file, date)
        bundle.add_json("experiment.json", _describe(recorded))
        if (script := recorded.script()) is not None:
            with bundle.member("script.py") as sink:
                sink.write(script.encode())
        _add_run(bundle, recorded, recorded.latest, "", part)
        for run in recorded.runs[:-1]:
            _add_run(bundle, recorded, run.id, f"attempts/{run.attempt}/", part)
        bundle.add_json("manifest.json", _manifest(bundle, recorded))


def _zip_date(at: datetime) -> tuple[int, int, int, int, int, int]:
    """Return a time as a ZIP can hold it: a clock that was wrong must not keep anybody's results.

    The true one stands in ``experiment.json``.
    """
    at = min(max(at, _EARLIEST), _LATEST)
    return (at.year, at.month, at.day, at.hour, at.minute, at.second)


def _add_run(bundle: Bundle, recorded: Recorded, run: int, folder: str, part: Path) -> None:
    with bundle.member(f"{folder}log.txt") as sink:
        write_log(log_lines(recorded.connection, run), sink)
    with bundle.member(f"{folder}events.csv") as sink:
        write_events(events(recorded.connection, run), sink)
    for name, kind in (("telemetry", SAMPLE), ("series", SERIES), ("container", CONTAINER)):
        table = recorded.table(run, kind)
        with bundle.member(f"{folder}{name}.csv") as sink:
            write_csv(table, sink)
        if table.calibrations:
            with bundle.member(f"{folder}calibrations.csv") as sink:
                write_calibrations(table.calibrations, sink)
        if kind == CONTAINER:
            continue
        try:
            write_parquet(table, part)
            bundle.copy(f"{folder}{name}.parquet", part)
        finally:
            part.unlink(missing_ok=True)
    for file in files_of_run(recorded.connection, recorded.blobs, run):
        name = bundle.free_name(f"{folder}files/{portable(file.name)}")
        bundle.copy(name, file.path, problem=file.problem)


def _describe(recorded: Recorded) -> JsonValue:
    began = {
        milestone.attempt: milestone
        for milestone in milestones(recorded.connection, recorded.experiment.experiment_id)
        if milestone.what == "executing"
    }
    attempts: list[JsonValue] = [
        {
            "attempt": run.attempt,
            "simulated": began[run.attempt].simulated if run.attempt in began else None,
            "speed": began[run.attempt].speed if run.attempt in began else None,
            "node": run.node,
            "started": run.started.isoformat() if run.started else None,
            "last_record": run.last.isoformat() if run.last else None,
        }
        for run in recorded.runs
    ]
    return {
        **recorded.experiment.model_dump(mode="json", exclude_none=True),
        "attempts": attempts,
        "versions": {
            "bioreactor": VERSION,
            "archive": len(MIGRATIONS),
            "python": platform.python_version(),
            "pyarrow": pa.__version__,
        },
    }


def _manifest(bundle: Bundle, recorded: Recorded) -> JsonValue:
    return {
        "experiment_id": recorded.experiment.experiment_id,
        "name": recorded.experiment.name,
        "status": recorded.experiment.status.value,
        "gaps": recorded.experiment.gaps,
        "image": recorded.experiment.image,
        "isolation": recorded.experiment.isolation,
        "files": list(bundle.manifest),
    }
