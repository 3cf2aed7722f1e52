"""Whether queue and archive tell the same story."""

import sqlite3
from collections.abc import Iterator

from hub_service.checking.findings import Finding, Severity
from hub_service.queue.state import NO_SCRIPT, Stage
from hub_service.snapshot import Contents


def check_agreement(connection: sqlite3.Connection, held: Contents) -> Iterator[Finding]:
    """Compare a queue with the archive beside it."""
    (newest,) = connection.execute("SELECT ifnull(max(seq), 0) FROM phases").fetchone()
    if held.cursor > newest:
        yield Finding(
            Severity.DAMAGE,
            "queue and archive",
            f"the queue has applied phase record {held.cursor}, the archive ends at {newest}: it "
            "is older than the queue",
            "restore both from the same backup; started like this the hub begins in recovery",
        )
    for entry in held.state.entries.values():
        if any(_has(connection, f"{t} WHERE experiment_id = ?", entry.id) for t in _ENDED):
            yield Finding(
                Severity.NOTE,
                f"experiment {entry.id}",
                "it is in the archive and still in the queue: a crash came between",
                "the next start takes it from the queue; the archive is right",
            )
            continue
        wanted = entry.plan.script_sha256
        if (
            entry.stage is Stage.WAITING
            and wanted != NO_SCRIPT
            and not _has(connection, "scripts WHERE sha256 = ?", wanted)
        ):
            yield Finding(
                Severity.DAMAGE,
                f"experiment {entry.id}",
                f"{entry.plan.name} waits, but its script is not in the archive: it cannot start",
                "cancel it and have it submitted again",
            )
    yield from _lost(connection, held)


_ENDED = ("finished", "trash")
"""Where the archive has what is over; in the latter, what was deleted and can be restored."""
_SUBMITTED = (
    "SELECT DISTINCT experiment_id, user FROM audit a"
    " WHERE verb = 'submit' AND outcome = 'done' AND experiment_id IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM finished f WHERE f.experiment_id = a.experiment_id)"
    " AND NOT EXISTS (SELECT 1 FROM trash t WHERE t.experiment_id = a.experiment_id)"
    " AND NOT EXISTS (SELECT 1 FROM audit d WHERE d.experiment_id = a.experiment_id AND ("
    "  d.verb = 'retention' AND d.outcome = 'deleted' OR d.verb = 'delete' AND d.outcome = 'done'"
    "  OR d.verb = 'delete' AND d.outcome = 'accepted' AND 'NOT_FOUND' IS NOT ("
    "   SELECT n.outcome FROM audit n WHERE n.experiment_id = d.experiment_id AND n.id > d.id"
    "   AND n.verb = 'delete' ORDER BY n.id LIMIT 1)))"
)
"""Earlier versions noted a deletion as accepted, then, where there was nothing, as NOT_FOUND."""


def _lost(connection: sqlite3.Connection, held: Contents) -> Iterator[Finding]:
    """Find submissions that are nowhere any more: the queue was lost or restored."""
    for experiment_id, user in connection.execute(_SUBMITTED):
        if experiment_id not in held.state.entries:
            yield Finding(
                Severity.WARNING,
                f"experiment {experiment_id}",
                f"{user} submitted it, and it is neither in the queue nor finished: the queue "
                "went back to an earlier state, or the disk failed in that moment",
                "its script is in the archive; tell its owner to submit it again",
            )


def _has(connection: sqlite3.Connection, what: str, value: str) -> bool:
    query = f"SELECT 1 FROM {what}"  # noqa: S608  constants
    return connection.execute(query, (value,)).fetchone() is not None
