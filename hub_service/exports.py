"""Files made for people to fetch: one process makes each, others read pieces of it.

Files are made by a short-lived child process, so that the hub never holds what it reads, nor the
libraries that write Parquet. Their names are random: who knows one was allowed to export it.
"""

import asyncio
import base64
import hashlib
import json
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import JsonValue, ValidationError

from broker.children import Child
from broker.messages import (
    MAX_FETCH_BYTES,
    ContractError,
    ErrorCode,
    Experiment,
    Exported,
    ExportKind,
    Fetched,
)
from broker.migration import free_bytes
from hub_service.archive import Archive
from hub_service.archive.results import StoredFile
from hub_service.archive.wide import Selection
from hub_service.room import LOW

_log = logging.getLogger(__name__)

KEEP: Final = 2 * 3600.0
"""Seconds after its last use that a file stays, while the disk has room."""
IN_USE: Final = 60.0
"""Seconds after its last use that it stays in any case: somebody may be fetching it."""
AT_ONCE: Final = 2
"""Child processes at most."""
LONGEST: Final = 1800.0
"""Seconds that making one file may take."""

_NAMES: Final = {
    ExportKind.RESULTS: ("{name}.zip", "application/zip"),
    ExportKind.TELEMETRY_CSV: ("{name}-telemetry.csv", "text/csv"),
    ExportKind.TELEMETRY_PARQUET: (
        "{name}-telemetry.parquet",
        "application/vnd.apache.parquet",
    ),
    ExportKind.LOG: ("{name}-log.txt", "text/plain"),
    ExportKind.SCRIPT: ("{name}.py", "text/x-python"),
}


@dataclass(frozen=True, slots=True)
class _Made:
    """A file that can be fetched.

    Attributes:
        key: What it was made of; the same again needs no work.
        used: By the clock that only grows.
    """

    key: str
    told: Exported
    used: float


class Exports:
    """Makes files and gives them out piece by piece.

    Args:
        archive: Where they come from.
        directory: Of the exports alone; made if missing. What a crash left there is removed.
        clock: Seconds that only grow.
        free: Returns the bytes that a directory's disk has left.
    """

    def __init__(
        self,
        archive: Archive,
        directory: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._archive = archive
        self._directory = directory
        self._clock = clock
        self._free = free
        self._made: dict[str, _Made] = {}
        self._children = asyncio.Semaphore(AT_ONCE)
        self._making: dict[str, asyncio.Lock] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._load()

    async def export(
        self,
        experiment: Experiment,
        kind: ExportKind,
        file: str | None = None,
        wanted: Selection = Selection(),  # noqa: B008  frozen
    ) -> Exported:
        """Make a file of what is committed so far; it can be fetched for an hour at least.

        Where the disk is short of room, for a minute after it was last used.

        Args:
            experiment: As it is now, finished or not.
            kind: What to make.
            file: Which of the results, for `ExportKind.FILE`.
            wanted: Which part of telemetry.

        Raises:
            ContractError: NOT_FOUND: there is no such result file or script. STORAGE_FULL: the
                disk is. INTERNAL: it could not be made; the log says why.
        """
        await self.tidy()
        if kind is ExportKind.FILE:
            return await self._export_file(experiment, file)
        key = await self._key(experiment, kind, wanted)
        lock = self._making.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if (known := self._known(key)) is not None:
                    return known
                filename, media_type = _NAMES[kind]
                filename = filename.format(name=_slug(experiment))
                async with self._children:
                    if self._free(self._directory) < LOW:
                        raise _refusal("full")
                    order: dict[str, JsonValue] = {"kind": kind.value, "selection": asdict(wanted)}
                    return await self._make(experiment, order, key, filename, media_type)
        finally:
            if not lock.locked():
                self._making.pop(key, None)

    async def fetch(self, ref: str, offset: int, length: int) -> Fetched:
        """Return a piece of a file; empty beyond its end.

        Raises:
            ContractError: NOT_FOUND: it was never made, or is too old.
        """
        made = self._made.get(ref)
        if made is None:
            raise ContractError(
                ErrorCode.NOT_FOUND,
                "this export is no longer there",
                "export it again",
            )
        self._made[ref] = replace(made, used=self._clock())
        length = min(length, MAX_FETCH_BYTES)
        data = await asyncio.to_thread(_read, self._directory / ref, offset, length)
        return Fetched(offset=offset, size=made.told.size, data=base64.b64encode(data).decode())

    async def tidy(self) -> None:
        """Remove files that were not used for a while, and those that take others' room."""
        oldest = self._clock() - KEEP
        for ref in [ref for ref, made in self._made.items() if made.used < oldest]:
            await self._remove_unless_used(ref, oldest)
        await self._leave_room()

    async def _leave_room(self) -> None:
        """Hold no more of the disk than it has left: it is for what experiments record."""
        refs = sorted(self._made, key=lambda ref: self._made[ref].used)
        sizes = await asyncio.to_thread(lambda: [self._own_size(ref) for ref in refs])
        surplus = sum(sizes) - self._free(self._directory)
        unused = self._clock() - IN_USE
        for ref, size in zip(refs, sizes, strict=True):
            if surplus <= 0:
                break
            if size and await self._remove_unless_used(ref, unused):
                surplus -= 2 * size

    async def _remove_unless_used(self, ref: str, since: float) -> bool:
        made = self._made.get(ref)
        if made is None or made.used >= since:
            return False  # meanwhile another call removed it, or somebody fetches it
        del self._made[ref]
        await asyncio.to_thread(self._remove, ref)
        return True

    def _own_size(self, ref: str) -> int:
        """Return the bytes that removing a file frees: none of one that has another name."""
        try:
            told = (self._directory / ref).stat()
        except FileNotFoundError:
            return 0
        return told.st_size if told.st_nlink == 1 else 0

    async def _key(self, experiment: Experiment, kind: ExportKind, wanted: Selection) -> str:
        """Return what the file depends on."""
        runs = await self._archive.runs(experiment.experiment_id)
        state = [
            experiment.experiment_id,
            kind.value,
            asdict(wanted),
            experiment.encode().decode() if kind is ExportKind.RESULTS else "",
            [[run.id, run.entries] for run in runs],
        ]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()

    def _known(self, key: str) -> Exported | None:
        for ref, made in self._made.items():
            if made.key == key:
                self._made[ref] = replace(made, used=self._clock())
                return made.told
        return None

    async def _export_file(self, experiment: Experiment, name: str | None) -> Exported:
        files = await self._archive.results(experiment.experiment_id)
        found = next((file for file in files if file.name == name), None)
        if found is None:
            raise ContractError(
                ErrorCode.NOT_FOUND,
                f"the experiment has no result file {name!r}",
                "take a name from its results",
            )
        key = f"{experiment.experiment_id} {found.name} {found.sha256}"
        if (known := self._known(key)) is not None:
            return known
        ref = secrets.token_hex(16)
        await asyncio.to_thread(_link, found, self._directory / ref)
        told = Exported(
            ref=ref,
            filename=found.name.rsplit("/", 1)[-1],
            media_type="application/octet-stream",
            size=found.size,
            sha256=found.sha256,
        )
        return await self._keep(key, told)

    async def _make(
        self,
        experiment: Experiment,
        wanted: Mapping[str, JsonValue],
        key: str,
        filename: str,
        media_type: str,
    ) -> Exported:
        ref = secrets.token_hex(16)
        order = self._directory / f"{ref}.order"
        request: dict[str, JsonValue] = {
            "archive": str(self._archive.directory),
            "experiment": experiment.model_dump(mode="json", exclude_none=True),
            **wanted,
            "to": str(self._directory / ref),
        }
        try:
            await asyncio.to_thread(_write, order, json.dumps(request).encode())
            report = await self._run(order)
            told = Exported.model_validate(
                {**report, "ref": ref, "filename": filename, "media_type": media_type}
            )
        except BaseException:
            for path in self._directory.glob(f"{ref}*"):
                path.unlink(missing_ok=True)
            raise
        finally:
            order.unlink(missing_ok=True)
        return await self._keep(key, told)

    async def _run(self, order: Path) -> Mapping[str, JsonValue]:
        """Have a child process follow an order; return the last line it printed.

        Raises:
            ContractError: It did not succeed.
        """
        lines: list[str] = []
        command = [sys.executable, "-m", "hub_service.exporting", str(order)]
        child = Child.start(command, on_line=lines.append)
        try:
            async with asyncio.timeout(LONGEST):
                status = await child.wait()
        except TimeoutError:
            status = -1
        finally:
            child.kill()
        try:
            report: JsonValue = json.loads(lines[-1]) if lines else None
        except ValueError:
            report = None
        if status == 0 and isinstance(report, dict):
            return report
        if isinstance(report, dict) and "error" in report:
            raise _refusal(report["error"])
        _log.error("an export failed with status %d: %s", status, " | ".join(lines[-20:]))
        raise ContractError(
            ErrorCode.INTERNAL, "the file could not be made", "the hub's log says why; try again"
        )

    async def _keep(self, key: str, told: Exported) -> Exported:
        made = _Made(key, told, self._clock())
        note = {"key": key, "told": told.model_dump(mode="json")}
        path = self._directory / f"{told.ref}.json"
        await asyncio.to_thread(_write, path, json.dumps(note).encode())
        self._made[told.ref] = made
        return told

    def _load(self) -> None:
        """Find what was made before; remove what is not complete."""
        for path in self._directory.glob("*.json"):
            try:
                note = json.loads(path.read_bytes())
                made = _Made(note["key"], Exported.model_validate(note["told"]), self._clock())
                complete = (self._directory / made.told.ref).stat().st_size == made.told.size
            except (OSError, ValueError, KeyError, TypeError, ValidationError):
                continue
            if complete and made.told.ref == path.stem:
                self._made[made.told.ref] = made
        for path in self._directory.iterdir():
            if path.name.split(".")[0] not in self._made:
                path.unlink()

    def _remove(self, ref: str) -> None:
        for name in (f"{ref}.json", ref):
            (self._directory / name).unlink(missing_ok=True)


def _slug(experiment: Experiment) -> str:
    """Return a file name that says what it is, for every system."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", experiment.name).strip("-")[:60]
    return f"{words or 'experiment'}-{experiment.experiment_id[-6:]}"


def _refusal(error: JsonValue) -> ContractError:
    match error:
        case "full":
            return ContractError(
                ErrorCode.STORAGE_FULL,
                "the hub's disk is full",
                "free disk space on the hub's machine, then export again",
            )
        case _:
            return ContractError(
                ErrorCode.NOT_FOUND, f"there is no {error}", "look at what the experiment has"
            )


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _link(file: StoredFile, path: Path) -> None:
    """Give a result file a second name, which stays when the experiment is deleted."""
    path.hardlink_to(file.path)
