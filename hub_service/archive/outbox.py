"""What people are to be told, durable with what it tells of.

A row is written in the transaction that makes the end of an experiment, or the record of an alarm,
durable: so it is there exactly if that is, whatever crashes. It stays until it was told everywhere,
or is too old.
"""

import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar

import orjson

from broker.database import Transaction
from broker.messages import (
    EventRecord,
    Experiment,
    Notification,
    NotificationKind,
    PhaseRecord,
    Status,
)
from hub_service.archive.runs import micros, moment

T = TypeVar("T")

MAX_ROWS: Final = 1000
"""More than that the oldest are given up."""
_TEXT: Final = 1000
_THERE: Final = {Status.RUNNING: "runs", Status.PAUSED: "is paused"}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notification that was not told everywhere yet.

    Attributes:
        noticed: When it came here; it expires a day later.
        told: Names of the targets that have it.
        tries: How often telling the targets failed.
        due: When they are tried next.
    """

    seq: int
    notification: Notification
    noticed: datetime
    published: bool
    told: frozenset[str]
    tries: int
    due: datetime


class Write(Protocol):
    """Runs a job on the archive's writer."""

    def __call__(self, work: Callable[[Transaction], T], /) -> Awaitable[T]:
        """Return what the job returns, durable."""
        ...


class Read(Protocol):
    """Runs a query."""

    def __call__(self, query: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]:
        """Return what the query returns."""
        ...


class Outbox:
    """The rows, for who tells them.

    Args:
        write: Runs a job on the archive's writer.
        read: Runs a query.
    """

    def __init__(self, write: Write, read: Read) -> None:
        self._write = write
        self._read = read

    async def waiting(self, limit: int = MAX_ROWS) -> list[Waiting]:
        """Return what is not told everywhere, the oldest first."""
        return await self._read(
            lambda c: [
                Waiting(
                    seq,
                    Notification.model_validate_json(body),
                    moment(noticed),
                    bool(published),
                    frozenset(orjson.loads(told)),
                    tries,
                    moment(due),
                )
                for seq, body, noticed, published, told, tries, due in c.execute(
                    "SELECT seq, body, noticed, published, told, tries, due FROM outbox"
                    " ORDER BY seq LIMIT ?",
                    (limit,),
                )
            ]
        )

    async def published(self, seq: int) -> None:
        """Note that the broker has one."""
        await self._change("UPDATE outbox SET published = 1 WHERE seq = ?", (seq,))

    async def tried(self, seq: int, told: Collection[str], tries: int, due: datetime) -> None:
        """Note who was told, and when the others are tried again."""
        names = orjson.dumps(sorted(told)).decode()
        await self._change(
            "UPDATE outbox SET told = ?, tries = ?, due = ? WHERE seq = ?",
            (names, tries, micros(due), seq),
        )

    async def done(self, seqs: Sequence[int]) -> None:
        """Let go of what was told everywhere, or is given up."""

        def delete(transaction: Transaction) -> None:
            transaction.connection.executemany(
                "DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in seqs]
            )

        await self._write(delete)

    async def _change(self, statement: str, values: tuple[object, ...]) -> None:
        def change(transaction: Transaction) -> None:
            transaction.connection.execute(statement, values)

        await self._write(change)


def put(connection: sqlite3.Connection, notification: Notification) -> None:
    """Keep a notification to be told; one that waits already stays as it is."""
    connection.execute(
        "INSERT OR IGNORE INTO outbox (id, noticed, body) VALUES (?, ?, ?)",
        (notification.id, time.time_ns() // 1000, notification.encode().decode()),
    )


def put_end(connection: sqlite3.Connection, experiment: Experiment) -> None:
    """Keep to be told that an experiment is over.

    Not of one that failed because it was interrupted, if the node's record told that already: its
    error may be any.
    """
    told = of_end(experiment)
    if told.kind != "failed" or not _was_interrupted(connection, experiment):
        put(connection, told)


def put_record(
    connection: sqlite3.Connection,
    record: EventRecord | PhaseRecord,
    *,
    node: str,
    epoch: str,
    number: int,
) -> bool:
    """Keep to be told what a journal's record says; False if that is nothing.

    An interruption of what is over already, since its reactor was declared dead, was told then.
    """
    told = of_record(record, node, epoch, number)
    if told is None or (told.kind == "interrupted" and _is_over(connection, told)):
        return False
    put(connection, told)
    return True


def of_end(experiment: Experiment) -> Notification:
    """Return what is to be told of an experiment that is over."""
    error = experiment.error
    kind: NotificationKind = "failed" if experiment.status is Status.FAILED else "finished"
    where = f" on {experiment.node}" if experiment.node else ""
    told = "was cancelled" if experiment.status is Status.CANCELLED else str(experiment.status)
    message = f"{experiment.name} of {experiment.owner} {told}{where}."
    if error is not None:
        message += f" {error.message}." + (f" {error.hint}." if error.hint else "")
    if experiment.results:
        message += f" Files saved: {len(experiment.results)}."
    return Notification(
        id=f"{experiment.experiment_id}:{experiment.attempt}:{kind}",
        kind=kind,
        at=experiment.completed_at or experiment.created_at,
        title=f"{experiment.name} {told}",
        message=message[:_TEXT],
        experiment_id=experiment.experiment_id,
        attempt=experiment.attempt,
        name=experiment.name,
        owner=experiment.owner,
        status=experiment.status,
        node=experiment.node,
        error=error,
    )


def of_record(
    record: EventRecord | PhaseRecord, node: str, epoch: str, number: int
) -> Notification | None:
    """Return what is to be told of a journal's record, if anything."""
    if isinstance(record, EventRecord):
        return _of_alarm(record, node, epoch, number) if record.event == "alarm" else None
    if record.phase != "interrupted" or record.experiment_id is None:
        return None
    return Notification(
        id=f"{record.experiment_id}:{record.attempt}:interrupted",
        kind="interrupted",
        at=record.t,
        title=f"An experiment was interrupted on {node}",
        message=f"Attempt {record.attempt} was interrupted on {node}."
        + (f" {record.error.message}." if record.error else ""),
        experiment_id=record.experiment_id,
        attempt=record.attempt,
        node=node,
        error=record.error,
    )


def named(notification: Notification, experiment: Experiment) -> Notification:
    """Add what a node's record does not know: what the experiment is called and whose it is."""
    title, message = notification.title, notification.message
    if notification.kind == "interrupted":
        title = f"{experiment.name} was interrupted"
        message = f"{experiment.name} of {experiment.owner}: {message}"
    else:
        run = notification.node, notification.attempt
        now = (
            _THERE.get(experiment.status) if run == (experiment.node, experiment.attempt) else None
        )
        message += f" {experiment.name} of {experiment.owner} {now or 'ran'} there."
    return notification.model_copy(
        update={
            "name": experiment.name,
            "owner": experiment.owner,
            "status": experiment.status,
            "title": title,
            "message": message,
        }
    )


def outline(told: Notification) -> Notification:
    """Return what everybody may be told where not everybody may see every experiment: not why."""
    if told.kind == "alarm":
        return told
    return told.model_copy(update={"message": f"{told.title}.", "error": None})


def _was_interrupted(connection: sqlite3.Connection, experiment: Experiment) -> bool:
    return _any(
        connection,
        "SELECT 1 FROM phases p JOIN runs r ON r.id = p.run WHERE r.experiment_id = ?"
        " AND r.attempt = ? AND json_extract(p.body, '$.phase') = 'interrupted'",
        experiment.experiment_id,
        experiment.attempt,
    )


def _is_over(connection: sqlite3.Connection, told: Notification) -> bool:
    return _any(
        connection,
        "SELECT 1 FROM finished WHERE experiment_id = ? AND json_extract(body, '$.attempt') = ?",
        told.experiment_id,
        told.attempt,
    )


def _any(connection: sqlite3.Connection, query: str, *values: object) -> bool:
    return connection.execute(f"{query} LIMIT 1", values).fetchone() is not None


def _of_alarm(record: EventRecord, node: str, epoch: str, number: int) -> Notification:
    critical = record.data.get("severity") == "critical"
    said = str(record.data.get("message") or "an alarm was raised")
    return Notification(
        id=f"{epoch}:{number}",
        kind="alarm",
        at=record.t,
        title=f"{node}: {'critical alarm' if critical else 'alarm'}",
        message=said[:_TEXT],
        experiment_id=record.experiment_id,
        attempt=record.attempt,
        node=node,
        channel=record.channel,
        severity="critical" if critical else "warning",
    )
