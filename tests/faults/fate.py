"""Watches a process take its durable and its public steps, and kills it before a chosen one.

Nothing is listed by hand: SQLite commits and changes to files are heard of through Python's audit
hooks, publishes through the connection. What becomes durable or public anew is a step as well. A
kill after a step is the kill before the next one: nothing else in between outlives the process.
"""

import os
import re
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from broker.connection import Connection, Message
from broker.settings import BrokerSettings

_WRITES: Final = re.compile(
    r"\s*(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM|REPLACE\s+INTO)"
    r"\s+\"?(\w+)",
    re.IGNORECASE,
)
_MOVES: Final = frozenset({"os.rename", "os.link", "os.remove"})
_VOLATILE: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}|\w*[0-9a-f]{8,}\w*|\d+|tmp\w+")


class Fate:
    """Notes each step in a file that outlives the process, and ends it before one of them.

    Args:
        at: Name and count of the step, for example ``publish nodes/{node}/report#2``; empty: it
            lives.
        notes: A line is appended for each step.
    """

    def __init__(self, at: str, notes: Path) -> None:
        self._at = at
        self._notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def step(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1
            one = f"{name}#{self._counts[name]}"
            os.write(self._notes, f"{one}\n".encode())
        if one == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(
        self,
        broker: BrokerSettings,
        *,
        client_id: str,
        clean_session: bool = True,
        stop_if_refused: bool = False,
    ) -> Connection:
        """Return a connection whose publishes are steps."""
        connection = _PublishesStepwise(
            broker,
            client_id=client_id,
            clean_session=clean_session,
            stop_if_refused=stop_if_refused,
        )
        connection.fate = self
        return connection

    def watch(self, directory: Path) -> None:
        """Hear of everything that becomes durable below a directory from now on; for good."""
        place = str(directory.resolve())
        opened = threading.local()

        def hear(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "sqlite3.connect":
                opened.path = str(arguments[0])
            elif event == "sqlite3.connect/handle":
                if "mode=ro" not in opened.path:
                    _Commits(self, arguments[0], Path(opened.path).name)
            elif event in _MOVES and isinstance(arguments[0], str | os.PathLike):
                name = os.fspath(arguments[0])
                if name.startswith(place):
                    self.step(f"{event} {_plain(name[len(place) :])}")

        sys.addaudithook(hear)


class _PublishesStepwise(Connection):
    fate: Fate

    async def publish_message(self, message: Message, *, timeout: float = 10.0) -> None:  # noqa: ASYNC109  as the base's
        address = self.topics.parse(message.topic)
        kind = message.topic if address is None else address.topic.value
        if address is not None and "stream" in address.levels:
            kind = kind.replace("{stream}", address["stream"])
        self.fate.step(f"publish {kind}")
        await super().publish_message(message, timeout=timeout)
        self.fate.step(f"published {kind}")


class _Commits:
    """Makes each commit of a database a step, named by the tables that it changes."""

    def __init__(self, fate: Fate, connection: sqlite3.Connection, name: str) -> None:
        self._fate = fate
        self._name = name
        self._tables: set[str] = set()

        def begin(_frame: FrameType, _event: str, _argument: object) -> None:
            # Told of while it is being made, it can be used from the next call on.
            with suppress(sqlite3.ProgrammingError):
                connection.set_trace_callback(self._hear)
                sys.setprofile(None)

        sys.setprofile(begin)

    def _hear(self, statement: str) -> None:
        written = _WRITES.match(statement)
        if written is not None:
            self._tables.add(written[1].lower())
        elif statement.strip().upper().startswith("COMMIT") and self._tables:
            tables, self._tables = self._tables, set()
            self._fate.step(f"commit {self._name}: {_shortly(tables)}")


def _shortly(tables: Iterable[str]) -> str:
    """Name what is changed; of many tables the first ones: which come along varies."""
    return "+".join(sorted(tables)[:3])


def _plain(path: str) -> str:
    """Leave out of a path what is another each time."""
    return _VOLATILE.sub("*", path)
