"""What a node that comes back finds at the end of its journal."""

from pathlib import Path

from ulid import ULID

from broker.journal import Journal
from broker.messages import JournalAck, LogRecord, SeriesRecord, utc_now
from node_service.runs import Recorded, RunKey
from node_service.tail import recorded_calls, records_after
from tests.unit.node_service.conftest import KEY

OTHER = RunKey(str(ULID()), 1)


def line(n: int, text: str = "") -> LogRecord:
    return LogRecord(t=utc_now(), n=n, source="stdout", text=text)


def series(id_: str, key: RunKey = KEY) -> SeriesRecord:
    return SeriesRecord(
        t=utc_now(), experiment_id=key.experiment_id, attempt=key.attempt, values={"i": 1}, id=id_
    )


def logged(id_: str) -> LogRecord:
    return LogRecord(
        t=utc_now(), experiment_id=KEY.experiment_id, attempt=KEY.attempt, n=1, source="stdout",
        text="", id=id_,
    )  # fmt: skip


async def test_what_follows_a_record_is_found_though_the_next_ones_gave_way(
    tmp_path: Path,
) -> None:
    journal = Journal.open(tmp_path, budget_bytes=100_000)
    for n in range(1, 400):
        await journal.append("records", [line(n, "x" * 1000)])
        await journal.acknowledge("records", JournalAck(epochs={journal.epoch: n - 1}))
    earlier = journal.order
    journal.close()
    journal = Journal.open(tmp_path, budget_bytes=100_000)
    await journal.append("records", [line(400)])
    assert journal.floor("records", earlier) > 100
    found = [record async for record in records_after(journal, earlier, 10)]
    assert [record.n for record in found if isinstance(record, LogRecord)] == list(
        range(journal.floor("records", earlier), 401)
    )
    assert journal.floor("records", journal.order + 1) == 1
    journal.close()


async def test_the_calls_of_an_attempt_are_found_in_all_epochs_after_a_record(
    tmp_path: Path,
) -> None:
    orders = []
    found: Recorded = {}
    for epoch in ("a", "b", "c"):
        journal = Journal.open(tmp_path)
        orders.append(journal.order)
        for call in ("1", "2"):
            await journal.append("records", [series(epoch + call), series(epoch + call, OTHER)])
        await journal.append("records", [logged(epoch), logged(epoch)])
        found = await recorded_calls(journal, {KEY: {"0": 1, "a": 1}}, orders[0], 2)
        journal.close()
    counts = {"0": 1, "a": 3, "b": 2, "c": 2} | dict.fromkeys(("a2", "b1", "b2", "c1", "c2"), 1)
    assert found == {KEY: counts}
