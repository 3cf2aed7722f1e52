"""The end of the journal, read at a start: what a crash left of the last writes.

The journal is the truth. What the ledger says of it lags behind by one write at most and is
completed from here, so that nothing is recorded twice and nothing is left out.
"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, Literal, Protocol

from broker.journal.window import Want
from broker.messages import RECORD, EventRecord, LogRecord, Record, SeriesRecord
from node_service.runs import LogPosition, Recorded, RunKey

_END: Final = 1 << 39


class ReadableJournal(Protocol):
    """The part of the journal that is needed here."""

    @property
    def order(self) -> int:
        """Order number of the present epoch."""
        ...

    def floor(self, stream: Literal["records", "files"], order: int) -> int:
        """Return the number of an epoch's oldest entry that is still there."""
        ...

    async def read(self, stream: Literal["records", "files"], want: Want) -> list[bytes]:
        """Return encoded entries from ``want.first`` on, as many as one batch holds."""
        ...


async def records_after(journal: ReadableJournal, order: int, number: int) -> AsyncIterator[Record]:
    """Give the records of an epoch after a number, and those of all later epochs.

    Those that the hub has, and whose room was needed, are left out.
    """
    while 0 < order <= journal.order:
        number = max(number, journal.floor("records", order) - 1)
        want = Want(epoch="", order=order, floor=1, first=number + 1, last=_END)
        entries = await journal.read("records", want)
        for entry in entries:
            number += 1
            yield RECORD.validate_json(entry)
        if not entries and number >= journal.floor("records", order) - 1:
            order, number = order + 1, 0


async def recover_log(journal: ReadableJournal, key: RunKey, position: LogPosition) -> LogPosition:
    """Return where the log of an attempt really stands."""
    if position.writing is None:
        return position
    last = position.n
    async for record in records_after(journal, position.order, position.after):
        if isinstance(record, LogRecord) and _key(record) == key:
            last = max(last, record.n)
    return position.recovered(last)


async def recorded_calls(
    journal: ReadableJournal, earlier: Recorded, order: int, number: int
) -> Recorded:
    """Return what of the attempts' calls is in the journal.

    Args:
        journal: Is read after a number of an epoch.
        earlier: What is known from before that; names the attempts.
        order: Of the epoch.
        number: Of the last record that `earlier` tells of.
    """
    found = {key: Counter(calls) for key, calls in earlier.items()}
    async for record in records_after(journal, order, number):
        id_, key = _call(record), _key(record)
        if id_ is not None and key is not None and key in found:
            found[key][id_] += 1
    return found


def _call(record: Record) -> str | None:
    """Return which call of a script a record is of, if any."""
    match record:
        case SeriesRecord() | LogRecord():
            return record.id
        case EventRecord(event="dose", data={"id": str(id_)}):
            return id_
        case _:
            return None


def _key(record: Record) -> RunKey | None:
    if record.experiment_id is None or record.attempt is None:
        return None
    return RunKey(record.experiment_id, record.attempt)
