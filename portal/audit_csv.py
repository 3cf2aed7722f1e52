"""The audit as a file for a spreadsheet."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import orjson

from broker.messages import Audited, AuditEntry
from broker.spreadsheets import harmless

_HEAD: Final = (
    "number", "time", "who", "what", "outcome", "experiment", "name", "message", "principal",
    "user", "details",
)  # fmt: skip


async def rows(page: Callable[[int | None], Awaitable[Audited]], most: int) -> AsyncIterator[bytes]:
    """Yield the file in pieces, newest first.

    Args:
        page: Returns the page before a number.
        most: Entries at most; where there are more, a last line says so.
    """
    yield _line(_HEAD)
    before: int | None = None
    while most > 0:
        found = await page(before)
        yield b"".join(_line(_cells(entry)) for entry in found.entries[:most])
        most -= len(found.entries)
        before = found.next
        if before is None:
            return
    told = f"entries before number {before} are left out: filter by who, what or experiment"
    yield _line(tuple(told if column == "message" else "" for column in _HEAD))


def _cells(entry: AuditEntry) -> tuple[str, ...]:
    return (
        str(entry.n),
        entry.at.isoformat(),
        entry.by,
        entry.verb,
        entry.outcome,
        entry.experiment_id or "",
        entry.name or "",
        entry.message,
        entry.principal or "",
        entry.user or "",
        orjson.dumps(dict(entry.details)).decode() if entry.details else "",
    )


def _line(cells: tuple[str, ...]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow([harmless(cell) for cell in cells])
    return out.getvalue().encode("utf-8", "replace")
