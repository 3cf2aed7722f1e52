"""How many finished experiments each user has."""

import sqlite3
from typing import NamedTuple

from broker.messages import Status


class Person(NamedTuple):
    """A user with finished experiments.

    Attributes:
        newest: The id of the one that was submitted last.
        owner: The handle that it was submitted under.
    """

    user: str
    newest: str
    owner: str
    finished: dict[Status, int]


def people(connection: sqlite3.Connection, after: str, limit: int) -> list[Person]:
    """Return users in the order of their ids, those that come after one."""
    users = connection.execute(
        "SELECT DISTINCT user FROM tally WHERE n > 0 AND user > ? ORDER BY user LIMIT ?",
        (after, limit),
    ).fetchall()
    return [_person(connection, user) for (user,) in users]


def _person(connection: sqlite3.Connection, user: str) -> Person:
    counts = connection.execute(
        "SELECT status, n FROM tally WHERE n > 0 AND user = ?", (user,)
    ).fetchall()
    newest, owner = connection.execute(
        "SELECT experiment_id, json_extract(body, '$.owner') FROM finished WHERE user = ?"
        " ORDER BY experiment_id DESC LIMIT 1",
        (user,),
    ).fetchone()
    return Person(user, newest, owner, {Status(status): n for status, n in counts})


def file_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes of all result files, each content once."""
    total = connection.execute(
        "SELECT ifnull(sum(size), 0) FROM (SELECT DISTINCT sha256, size FROM files)"
    ).fetchone()[0]
    return int(total)
