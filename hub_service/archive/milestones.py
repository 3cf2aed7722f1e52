"""What happened rarely in an experiment's life: its phases, parameters sent, gaps."""

import sqlite3
from typing import Final

from broker.messages import EventRecord, Gap, Milestone, PhaseRecord
from hub_service.archive.gaps import gaps_of_runs
from hub_service.archive.runs import Run, runs_of
from hub_service.archive.schema import MENTIONS_RARE, RARE_EVENTS

MAX_MILESTONES: Final = 300
"""In one answer: the last ones."""


def milestones(connection: sqlite3.Connection, experiment_id: str) -> tuple[Milestone, ...]:
    """Return the milestones of all attempts, in order of time."""
    runs = runs_of(connection, experiment_id)
    found = [
        each for run in runs for each in (*_phases(connection, run), *_events(connection, run))
    ]
    found += [_of_gap(gap) for gap in gaps_of_runs(connection, [run.id for run in runs])]
    found.sort(key=lambda milestone: milestone.t)
    return tuple(found[-MAX_MILESTONES:])


def _phases(connection: sqlite3.Connection, run: Run) -> list[Milestone]:
    rows = connection.execute(
        "SELECT json_remove(body, '$.files') FROM phases WHERE run = ? ORDER BY seq DESC LIMIT ?",
        (run.id, MAX_MILESTONES),
    ).fetchall()
    records = [PhaseRecord.model_validate_json(body) for (body,) in reversed(rows)]
    return [
        Milestone(
            attempt=run.attempt,
            node=run.node,
            what=record.phase,
            t=record.t,
            elapsed=record.elapsed,
            detail=record.error.message if record.error else "",
            simulated=record.simulated,
            speed=record.speed,
        )
        for record in records
    ]


def _events(connection: sqlite3.Connection, run: Run) -> list[Milestone]:
    rows = connection.execute(
        "SELECT body FROM events INDEXED BY events_rare"  # noqa: S608  constants
        f" WHERE run = ? AND ({MENTIONS_RARE}) ORDER BY x DESC, id DESC LIMIT ?",
        (run.id, MAX_MILESTONES),
    ).fetchall()
    records = [EventRecord.model_validate_json(body) for (body,) in rows]
    return [
        Milestone.model_validate(
            {
                "attempt": run.attempt,
                "node": run.node,
                "what": record.event,
                "t": record.t,
                "elapsed": record.elapsed,
                "parameters": record.data.get("changed", {}),
                "revision": record.data.get("revision"),
            }
        )
        for record in records
        if record.event in RARE_EVENTS
    ]


def _of_gap(gap: Gap) -> Milestone:
    count = gap.upto - gap.first + 1
    lost = f"{count} {'entry' if count == 1 else 'entries'} of the {gap.stream} are lost"
    return Milestone(attempt=0, node=gap.node, what="gap", t=gap.noticed_at, detail=lost)
