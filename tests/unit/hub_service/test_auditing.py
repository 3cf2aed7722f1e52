"""Pages of the audit."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
from hub_service.archive.audits import page, put, row_of
from hub_service.archive.schema import MIGRATIONS
from hub_service.exports import Exports
from hub_service.queue.durations import Durations
from hub_service.queue.state import QueueState
from hub_service.reading import Reading
from hub_service.scripts import Checker
from tests.unit.hub_service.archive_entries import note
from tests.unit.hub_service.builders import STORE, T0, ulid

PEOPLE = ("ada", "bob", "mqtt:ada")
VERBS = ("submit", "cancel", "create-token")
IDS = (None, ulid(1), ulid(2))


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


@given(
    done=st.lists(st.tuples(*map(st.sampled_from, (PEOPLE, PEOPLE, VERBS, IDS))), max_size=20),
    wanted=st.fixed_dictionaries(
        {
            "who": st.sampled_from((None, *PEOPLE)),
            "verb": st.sampled_from((None, *VERBS)),
            "experiment_id": st.sampled_from(IDS),
            "before": st.none() | st.integers(1, 20),
            "hidden": st.sets(st.sampled_from(VERBS), max_size=2),
            "limit": st.integers(1, 5),
        }
    ),
)
def test_a_page_has_the_newest_of_what_is_wanted(
    done: list[tuple[str, str, str, str | None]], wanted: Mapping[str, Any]
) -> None:
    with closing(an_audit()) as connection:
        for user, by, verb, experiment_id in done:
            row = row_of(Audit("p", user, verb, experiment_id, "done", {"by": by}))
            put(connection, row)
        expected = [
            n
            for n, (user, by, verb, experiment_id) in reversed([*enumerate(done, start=1)])
            if wanted["who"] in {None, user, by}
            and wanted["verb"] in {None, verb}
            and wanted["experiment_id"] in {None, experiment_id}
            and verb not in wanted["hidden"]
            and (wanted["before"] is None or n < wanted["before"])
        ]
        assert [row.n for row in page(connection, **wanted)] == expected[: wanted["limit"]]


@pytest.mark.parametrize("verb", [None, "submit"])
@pytest.mark.parametrize(("who", "experiment_id"), [(None, ulid(1)), ("ada", None), (None, None)])
def test_no_page_reads_the_whole_audit(
    verb: str | None, who: str | None, experiment_id: str | None
) -> None:
    with closing(an_audit()) as connection:
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        page(
            connection,
            experiment_id=experiment_id,
            before=None,
            limit=5,
            hidden=(),
            verb=verb,
            who=who,
        )
        connection.set_trace_callback(None)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    searched = [step for step in plan if "audit" in step]
    if (verb, who, experiment_id) == (None, None, None):
        assert searched[1].startswith("SCAN audit")  # its newest, by number
    else:
        assert all(step.startswith("SEARCH audit") for step in searched), plan
        assert not any("TEMP B-TREE FOR ORDER BY" in step for step in plan), plan


def an_audit() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(MIGRATIONS[0])
    connection.executescript(MIGRATIONS[6])  # its indexes
    return connection


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
