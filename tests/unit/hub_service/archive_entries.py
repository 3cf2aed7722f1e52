"""Entries of journals, and an archive they go into."""

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import orjson
from pydantic import JsonValue

from broker.journal.reception import Commit
from broker.messages import (
    ContainerRecord,
    ContainerStatus,
    EventRecord,
    Experiment,
    FileChunk,
    LogRecord,
    Payload,
    PhaseRecord,
    SampleRecord,
    SeriesRecord,
    Status,
)
from hub_service.archive import Archive, Audit

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
NODE = "reactor-1"
EPOCH = "01JNE5X6T3M9Y2Q8R4V7W0ZABC"
EPOCH_2 = "01JNE5X6T3M9Y2Q8R4V7W0ZABD"
EXPERIMENT = "01JNE5X6T3M9Y2Q8R4V7W0ZEX1"
OTHER = "01JNE5X6T3M9Y2Q8R4V7W0ZEX2"

RESULT = b"a result"
SCRIPT = "print(1)\n"
SCRIPT_SHA = hashlib.sha256(SCRIPT.encode()).hexdigest()

CANCELLED = Audit("portal", "web:abcdefgh", "cancel", EXPERIMENT, "done", {"why": "x"})


async def note(
    archive: Archive, audit: Audit = CANCELLED, script: tuple[str, str] | None = None
) -> None:
    await asyncio.wrap_future(archive.record(audit, script))


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def sample(
    elapsed: float | None,
    values: Mapping[str, float | None],
    *,
    experiment: str | None = EXPERIMENT,
    attempt: int | None = 1,
    t: float | None = None,
) -> SampleRecord:
    return SampleRecord(
        t=at((elapsed or 0.0) if t is None else t),
        experiment_id=experiment,
        attempt=attempt if experiment else None,
        elapsed=elapsed,
        values=values,
    )


def series(elapsed: float, values: Mapping[str, float | None], attempt: int = 1) -> SeriesRecord:
    return SeriesRecord(
        t=at(elapsed), experiment_id=EXPERIMENT, attempt=attempt, elapsed=elapsed, values=values
    )


def log(
    n: int, text: str = "hello", *, attempt: int = 1, experiment: str = EXPERIMENT
) -> LogRecord:
    return LogRecord(
        t=at(n), experiment_id=experiment, attempt=attempt, n=n, source="stdout", text=text
    )


def event(elapsed: float, name: str, **data: JsonValue) -> EventRecord:
    return EventRecord(
        t=at(elapsed), experiment_id=EXPERIMENT, attempt=1, elapsed=elapsed, event=name, data=data
    )


def phase(name: str, elapsed: float = 0.0, *, attempt: int = 1) -> PhaseRecord:
    return PhaseRecord.model_validate(
        {"t": at(elapsed), "experiment_id": EXPERIMENT, "attempt": attempt, "phase": name}
    )


def container(elapsed: float, cpu: float) -> ContainerRecord:
    status = ContainerStatus(
        container_id="c0ffee",
        image="sha256:1",
        state="running",
        cpu_percent=cpu,
        memory=10,
        memory_limit=20,
        pids=3,
        uptime=elapsed,
    )
    return ContainerRecord(
        t=at(elapsed), experiment_id=EXPERIMENT, attempt=1, elapsed=elapsed, status=status
    )


def chunks(
    name: str, content: bytes, *, size: int = 1000, attempt: int = 1, experiment: str = EXPERIMENT
) -> list[FileChunk]:
    offsets = range(0, max(1, len(content)), size)
    return [
        FileChunk(
            experiment_id=experiment,
            attempt=attempt,
            name=name,
            offset=offset,
            data=base64.b64encode(content[offset : offset + size]).decode(),
            last=offset == offsets[-1],
            size=len(content) if offset == offsets[-1] else None,
            sha256=hashlib.sha256(content).hexdigest() if offset == offsets[-1] else None,
        )
        for offset in offsets
    ]


def plain(entries: Sequence[Payload]) -> list[JsonValue]:
    return [orjson.loads(entry.encode()) for entry in entries]


class Node:
    """Feeds an archive as a journal would."""

    def __init__(self, archive: Archive, name: str = NODE) -> None:
        self.archive = archive
        self.name = name

    async def record(self, *entries: Payload, epoch: str = EPOCH, order: int = 1) -> None:
        await self.take("records", plain(entries), epoch, order)

    async def save(self, *entries: Payload, epoch: str = EPOCH, order: int = 1) -> None:
        await self.take("files", plain(entries), epoch, order)

    async def take(
        self,
        stream: str,
        entries: Sequence[JsonValue],
        epoch: str = EPOCH,
        order: int = 1,
        *,
        lost: int = 0,
    ) -> None:
        """Take the next entries of an epoch, after so many that were lost."""
        upto = (await self.archive.cursors(self.name, stream)).get(epoch, 0)
        gap = (upto + 1, upto + lost) if lost else None
        commit = Commit(epoch, order, upto + lost + 1, entries, gap)
        await self.archive.commit(self.name, stream, commit)


def experiment(number: int = 1, **changes: object) -> Experiment:
    return Experiment.model_validate(
        {
            "experiment_id": f"01JNE5X6T3M9Y2Q8R4V7W{number:05d}",
            "name": f"Growth {number}",
            "user": "mqtt:alice",
            "owner": "alice",
            "status": Status.COMPLETED,
            "revision": 7,
            "created_at": T0,
            "script_sha256": "0" * 64,
            **changes,
        }
    )
