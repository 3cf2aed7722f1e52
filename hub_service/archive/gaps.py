"""Holes in the record: entries that a node no longer had when the hub asked for them."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from broker.messages import Gap
from hub_service.archive.names import Epoch, insert
from hub_service.archive.runs import moment

_GAPS: Final = (
    "SELECT n.name, e.stream, e.epoch, g.first, g.upto, g.noticed_at"
    " FROM gaps g JOIN epochs e ON e.id = g.epoch JOIN nodes n ON n.id = e.node"
)


def record_gap(
    connection: sqlite3.Connection, epoch: Epoch, gap: tuple[int, int], noticed_at: int
) -> int:
    """Note a gap after what came last; returns its number, for `close_gap`."""
    return insert(
        connection,
        "gaps",
        {
            "epoch": epoch.id,
            "first": gap[0],
            "upto": gap[1],
            "noticed_at": noticed_at,
            "run_before": epoch.last_run,
        },
    )


def close_gap(connection: sqlite3.Connection, number: int, run: int) -> None:
    """Note to which run the first entry after a gap belongs."""
    connection.execute("UPDATE gaps SET run_after = ? WHERE id = ?", (run, number))


def gaps_of_runs(connection: sqlite3.Connection, runs: Sequence[int]) -> list[Gap]:
    """Return the gaps next to entries of these runs: what is missing may be theirs."""
    marks = ", ".join("?" * len(runs))
    return _gaps(
        connection,
        f"{_GAPS} WHERE g.id IN (SELECT id FROM gaps WHERE run_before IN ({marks})"  # noqa: S608  constants
        f" UNION SELECT id FROM gaps WHERE run_after IN ({marks})) ORDER BY g.id",
        (*runs, *runs),
    )


def gaps_of_node(connection: sqlite3.Connection, node: str) -> list[Gap]:
    """Return all gaps of a node."""
    return _gaps(connection, f"{_GAPS} WHERE n.name = ? ORDER BY g.id", (node,))


def _gaps(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> list[Gap]:
    return [
        Gap.model_validate(
            {
                "node": node,
                "stream": stream,
                "epoch": epoch,
                "first": first,
                "upto": upto,
                "noticed_at": moment(noticed_at),
            }
        )
        for node, stream, epoch, first, upto, noticed_at in connection.execute(query, values)
    ]
