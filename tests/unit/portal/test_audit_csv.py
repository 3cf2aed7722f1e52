"""The audit as a file: whole, or it says that it is not."""

import csv
import io
from datetime import UTC, datetime

import pytest

from broker.messages import Audited, AuditEntry
from portal.audit_csv import rows

CUT = "entries before number 2 are left out: filter by who, what or experiment"


def entry(n: int) -> AuditEntry:
    return AuditEntry.model_validate(
        {
            "n": n,
            "at": datetime(2026, 2, 17, tzinfo=UTC),
            "by": "=teal",
            "verb": "cancel",
            "outcome": "done",
            "message": f"number {n}",
        }
    )


async def three(before: int | None) -> Audited:
    """Return pages of one, numbers 3 to 1."""
    n = (before or 4) - 1
    return Audited(entries=(entry(n),), next=n if n > 1 else None)


@pytest.mark.parametrize(
    ("most", "messages"),
    [
        (3, ["number 3", "number 2", "number 1"]),
        (2, ["number 3", "number 2", CUT]),
    ],
)
async def test_a_file_that_is_cut_says_so(most: int, messages: list[str]) -> None:
    text = b"".join([piece async for piece in rows(three, most)]).decode()
    read = list(csv.DictReader(io.StringIO(text)))
    assert [row["message"] for row in read] == messages
    assert read[0]["who"] == "'=teal"
