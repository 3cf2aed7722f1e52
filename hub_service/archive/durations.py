"""How long runs took, from what the archive has of their steps."""

import sqlite3
from typing import Final

from broker.messages import ErrorCode, Status
from hub_service.queue.durations import Taken

NEWEST: Final = 5000
"""Of how many finished experiments the lengths are looked up at a start."""

_QUERY: Final = f"""
    SELECT f.experiment_id, json_extract(f.body, '$.script_sha256'), f.user,
           max(json_extract(p.body, '$.elapsed'))
    FROM (SELECT experiment_id, user, status, body FROM finished WHERE {{which}}
          ORDER BY experiment_id DESC LIMIT {NEWEST}) f
    JOIN runs r ON r.experiment_id = f.experiment_id
        AND r.attempt = json_extract(f.body, '$.attempt')
    JOIN phases p ON p.run = r.id AND json_extract(p.body, '$.phase') = 'released'
    WHERE f.status = '{Status.COMPLETED}'
        OR json_extract(f.body, '$.error.code') = '{ErrorCode.LIMIT}'
    GROUP BY f.experiment_id ORDER BY f.experiment_id
"""  # noqa: S608  constants


def taken(connection: sqlite3.Connection, experiment_id: str | None = None) -> list[Taken]:
    """Return the length of one run, or of the newest ones, the earliest first.

    Only those count that ended by themselves or ran into their limit: what failed or was cancelled
    says nothing of how long the script runs. An attempt counts from when its script began.
    """
    if experiment_id is None:
        rows = connection.execute(_QUERY.format(which="TRUE"))
    else:
        rows = connection.execute(_QUERY.format(which="experiment_id = ?"), (experiment_id,))
    return [Taken(i, sha256, user, float(s)) for i, sha256, user, s in rows if s is not None]
