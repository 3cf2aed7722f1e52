"""Pages of the audit."""

from pathlib import Path

import pytest
from pydantic import JsonValue

from broker.messages import (
    MAX_PAYLOAD_BYTES,
    Audited,
    ContractError,
    Fetch,
    Logs,
    ReadAudit,
    Reply,
    Request,
    decode,
    dumps,
)
from broker.requests import Asked
from hub_service.archive import Archive, Audit
from hub_service.exports import Exports
from hub_service.queue.durations import Durations
from hub_service.queue.state import QueueState
from hub_service.reading import Reading
from hub_service.scripts import Checker
from tests.unit.hub_service.archive_entries import note
from tests.unit.hub_service.builders import STORE, T0, ulid


async def test_a_page_fits_into_a_reply_whatever_people_wrote(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "archive")
    reading = Reading(
        lambda: QueueState(STORE, 1),
        archive,
        Exports(archive, tmp_path / "exports"),
        checker=Checker(),
        durations=Durations(),
        everybody=True,
        clock=lambda: T0,
    )
    try:
        for n in range(60):
            details: dict[str, JsonValue] = {
                "by": "ada",
                "request": {"note": f"{n:02}" + "🧪" * 4000},
            }
            await note(archive, Audit("ada", "mqtt:ada", "annotate", None, "done", details))
        found: list[int] = []
        before: int | None = None
        while True:
            request = ReadAudit(before=before, limit=50)
            page = await reading.handle(Asked("ada", True, "audit", request, "", T0))
            assert isinstance(page, Audited)
            assert len(Reply(result=page).encode()) <= MAX_PAYLOAD_BYTES
            found += [entry.n for entry in page.entries]
            before = page.next
            if before is None:
                break
        assert found == list(range(60, 0, -1))
    finally:
        archive.close()


@pytest.mark.parametrize(
    ("model", "field"), [(ReadAudit, "before"), (Logs, "after"), (Fetch, "offset")]
)
def test_a_number_that_no_database_holds_is_refused_at_the_door(
    model: type[Request], field: str
) -> None:
    asked = {"experiment_id": ulid(1)} if model is Logs else {}
    asked |= {"ref": "a" * 32} if model is Fetch else {}
    decode(model, dumps({**asked, field: 2**53}))
    with pytest.raises(ContractError, match=field):
        decode(model, dumps({**asked, field: 2**63}))
