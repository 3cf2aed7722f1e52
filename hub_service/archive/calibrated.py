"""Which calibrations the samples of a run were brought to truth with.

The node puts those in force on record before the first sample of a run, and again whenever they may
be others; so each sample has those of the last such event before it.
"""

import hashlib
import sqlite3
from bisect import bisect_right
from collections.abc import Mapping

import orjson

from broker.messages import EventRecord


class Calibrated:
    """Of one run.

    Attributes:
        sets: By a short name that is the same for the same calibrations: channel → calibration.
    """

    def __init__(self, connection: sqlite3.Connection, run: int) -> None:
        self.sets: dict[str, Mapping[str, str]] = {}
        self._begins: list[float] = []
        self._names: list[str] = []
        for x, body in connection.execute(
            "SELECT x, body FROM events WHERE run = ?"
            " AND json_extract(body, '$.event') = 'calibrations' ORDER BY x, id",
            (run,),
        ):
            data = EventRecord.model_validate_json(body).data
            used = {channel: str(calibration) for channel, calibration in sorted(data.items())}
            name = hashlib.sha256(orjson.dumps(used)).hexdigest()[:8]
            self.sets[name] = used
            self._begins.append(x)
            self._names.append(name)

    def at(self, x: float) -> str | None:
        """Return the name of the set that holds for a sample; None: nothing was calibrated."""
        place = bisect_right(self._begins, x)
        return self._names[place - 1] if place else None
