"""A node's journal in a process of its own, to be killed: appends, promises, sends.

`python -m tests.faults.journal_node_main DIRECTORY NAME {run|drain}`: what is durable is written
to DIRECTORY/promises, a line each; with `drain`, nothing is appended and the process ends when the
hub has everything.
"""

import asyncio
import base64
import hashlib
import os
import sys
from pathlib import Path

from ulid import ULID

from broker.connection import Connection
from broker.journal import Journal, JournalSender
from broker.messages import FileChunk, LogRecord, PhaseRecord, utc_now
from broker.settings import BrokerSettings

EXPERIMENT = "01JNE5X6T3M9Y2Q8R4V7W0ZEX1"
PIECE = 20_000


class Promises:
    """Appends lines to a file that survives a kill; the promise follows what it promises."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


async def append_records(journal: Journal, promises: Promises, life: str) -> None:
    n = 0
    while True:
        size = n % 7 + 1
        entries: list[LogRecord | PhaseRecord] = [
            LogRecord(
                t=utc_now(),
                experiment_id=EXPERIMENT,
                attempt=1,
                n=n + place,
                source="stdout",
                text=life,
            )
            for place in range(size)
        ]
        if n % 10 == 0:
            phase = PhaseRecord(
                t=utc_now(),
                experiment_id=EXPERIMENT,
                attempt=1,
                phase="paused",
                image=f"{life}-{n}",
            )
            entries.append(phase)
        await journal.append("records", entries)
        for place in range(size):
            promises.add("line", life, n + place)
        if n % 10 == 0:
            promises.add("phase", f"{life}-{n}")
        n += size
        await asyncio.sleep(0.001)


async def append_files(journal: Journal, promises: Promises, life: str) -> None:
    number = 0
    while True:
        content = f"{life} {number} ".encode() * 3000
        name = f"{life}/{number}"
        for offset in range(0, len(content), PIECE):
            last = offset + PIECE >= len(content)
            chunk = FileChunk(
                experiment_id=EXPERIMENT,
                attempt=1,
                name=name,
                offset=offset,
                data=base64.b64encode(content[offset : offset + PIECE]).decode(),
                last=last,
                size=len(content) if last else None,
                sha256=hashlib.sha256(content).hexdigest() if last else None,
            )
            await journal.append("files", [chunk])
        promises.add("file", name, hashlib.sha256(content).hexdigest())
        number += 1
        await asyncio.sleep(0.02)


async def drained(journal: Journal) -> None:
    while journal.pending("records") or journal.pending("files"):  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0.05)


async def main(directory: Path, name: str, mode: str) -> None:
    journal = Journal.open(directory / "journal")
    promises = Promises(directory / "promises")
    life = str(ULID()).lower()
    connection = Connection(BrokerSettings(), client_id=f"{name}-{life}")
    try:
        async with connection, asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(JournalSender(journal, connection, name).run())
            if mode == "drain":
                await drained(journal)
                sending.cancel()
            else:
                tasks.create_task(append_records(journal, promises, life))
                tasks.create_task(append_files(journal, promises, life))
    finally:
        journal.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
