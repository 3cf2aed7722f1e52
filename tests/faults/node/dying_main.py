"""A node that is killed at a moment of its own choosing, to the instruction.

``DIES_AT=MOMENT python -m tests.faults.node.dying_main --config CONFIG``
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from broker.journal import Journal
from broker.journal.tables import Stream
from broker.messages import Error, EventRecord, Payload, Record, SeriesRecord
from node_service import attempt
from node_service.__main__ import main
from node_service.console import Console, Source
from node_service.doses import Doses
from node_service.gateway_models import DoseAnswer
from node_service.ledger import Ledger
from node_service.recorder import Recorder
from node_service.runner.interface import Found, Runner
from node_service.runs import RunKey

NTH: Final = 5


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after_series() -> None:
    """Die when so many values are on the disk, and the last of them is not answered."""
    written, write = 0, Recorder.write

    async def write_and_die(self: Recorder, records: Sequence[Record]) -> None:
        nonlocal written
        await write(self, records)
        written += sum(isinstance(record, SeriesRecord) for record in records)
        if written == NTH:
            die()

    Recorder.write = write_and_die  # type: ignore[method-assign]


def after_log() -> None:
    """Die when so many calls have written into the log, and the last of them is not answered."""
    said, say = 0, Console.say

    async def say_and_die(
        self: Console, text: str, source: Source, call: str | None = None, *, done: int = 0
    ) -> None:
        nonlocal said
        await say(self, text, source, call, done=done)
        said += 1
        if said == NTH:
            die()

    Console.say = say_and_die  # type: ignore[method-assign]


def before_record(event: str) -> None:
    """Die when so many of these events were posted, and the last cannot get onto the disk."""
    told, post, append = 0, Recorder.post, Journal.append

    def post_and_count(self: Recorder, record: Record) -> None:
        nonlocal told
        post(self, record)
        if isinstance(record, EventRecord) and record.event == event:
            told += 1
            if told == NTH:
                asyncio.get_running_loop().call_later(1.0, die)

    async def hang(self: Journal, stream: Stream, entries: Sequence[Payload]) -> tuple[str, int]:
        if told >= NTH:
            await asyncio.Event().wait()
        return await append(self, stream, entries)

    Recorder.post = post_and_count  # type: ignore[method-assign]
    Journal.append = hang  # type: ignore[method-assign]


def before_pumping() -> None:
    """Die when so many doses were begun, and the last of them is on the disk and nowhere else."""
    begun, begin = 0, Doses.begin

    async def begin_and_die(self: Doses, id_: str, channel: str, ml: float, at: datetime) -> None:
        nonlocal begun
        await begin(self, id_, channel, ml, at)
        begun += 1
        if begun == NTH:
            die()

    Doses.begin = begin_and_die  # type: ignore[method-assign]


def after_dose() -> None:
    """Die when so many doses were given, and the last of them is not answered."""
    ended, end = 0, Doses.end

    async def end_and_die(
        self: Doses, id_: str, *, answer: DoseAnswer | None = None, error: Error | None = None
    ) -> None:
        nonlocal ended
        await end(self, id_, answer=answer, error=error)
        ended += 1
        if ended == NTH:
            die()

    Doses.end = end_and_die  # type: ignore[method-assign]


def after_checkpoint() -> None:
    """Die when the ledger has a checkpoint, and before the script can be answered."""
    put = Ledger._put

    def put_and_die(self: Ledger, pairs: Iterable[tuple[str, str]]) -> None:
        pairs = list(pairs)
        put(self, pairs)
        if any(key == "checkpoint" for key, _ in pairs):
            die()

    async def wait(runner: Runner, key: RunKey) -> Found | None:
        del runner, key
        await asyncio.Event().wait()
        return None

    Ledger._put = put_and_die  # type: ignore[method-assign]
    setattr(attempt, "find", wait)  # noqa: B010 - it is not exported


MOMENTS: Final[Mapping[str, Callable[[], None]]] = {
    "series": after_series,
    "log": after_log,
    "set-posted": partial(before_record, "set"),
    "dose-posted": partial(before_record, "dose"),
    "dosing": before_pumping,
    "dosed": after_dose,
    "checkpoint": after_checkpoint,
}


if __name__ == "__main__":
    MOMENTS[os.environ["DIES_AT"]]()
    main()
