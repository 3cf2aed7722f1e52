"""Entries of a journal that make no sense: kept as they came, so that nothing is lost unseen."""

import json
import logging
import sqlite3
import time

from pydantic import JsonValue

from hub_service.archive.names import Epoch

_log = logging.getLogger(__name__)


def put_aside(
    connection: sqlite3.Connection, epoch: Epoch, number: int, entry: JsonValue, error: str
) -> None:
    """Keep an entry with what is wrong with it."""
    _log.error("entry %d of a journal cannot be read and is put aside: %s", number, error)
    connection.execute(
        "INSERT INTO quarantine (epoch, n, at, error, body) VALUES (?, ?, ?, ?, ?)",
        (epoch.id, number, time.time_ns() // 1000, error, json.dumps(entry)),
    )
