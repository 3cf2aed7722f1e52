"""Records reach the journal in order; what a full disk leaves out is counted and told."""

import asyncio
from collections.abc import Sequence
from typing import Literal

import pytest

from broker.journal import MAX_ENTRY_BYTES
from broker.messages import (
    ContractError,
    ErrorCode,
    EventRecord,
    LogRecord,
    Payload,
    PhaseRecord,
    SampleRecord,
    SeriesRecord,
)
from hardware.clock import ManualClock
from node_service import recorder as module
from node_service.recorder import Recorder
from node_service.storage import alarm, keeps_sample, refusal
from tests.unit.node_service.conftest import MemoryJournal

T = ManualClock().now()


def sample(n: int) -> SampleRecord:
    return SampleRecord(t=T, mono=n, values={"od": n})


def series(n: int) -> SeriesRecord:
    return SeriesRecord(t=T, mono=n, values={"x": n})


def log(n: int) -> LogRecord:
    return LogRecord(t=T, mono=n, n=n, source="stdout", text="x")


def event(n: int) -> EventRecord:
    return EventRecord(t=T, mono=n, event="set")


def phase(n: int) -> PhaseRecord:
    return PhaseRecord(t=T, mono=n, phase="accepted")


async def test_records_keep_their_order_and_share_commits(
    recorder: Recorder, journal: MemoryJournal
) -> None:
    for n in range(100):
        recorder.post(sample(n))
    await recorder.write([series(100), log(101)])
    assert [record.mono for record in journal.of("sample")] == list(range(100))
    assert len(journal.records) == 102
    assert journal.appends < 5
    assert recorder.last == 102


async def test_everything_is_written_before_it_ends(
    journal: MemoryJournal, clock: ManualClock
) -> None:
    recorder = Recorder(journal, clock)
    recorder.post(sample(1))
    recorder.close()
    await recorder.run()
    assert len(journal.records) == 1


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        (0.5, {"sample": 100, "log": 100, "series": 100, "event": 100, "phase": 1}),
        (0.975, {"sample": 100, "log": 0, "series": 0, "event": 100, "phase": 1}),
        (0.985, {"sample": 10, "log": 0, "series": 0, "event": 100, "phase": 1}),
        (0.995, {"sample": 0, "log": 0, "series": 0, "event": 100, "phase": 1}),
    ],
)
async def test_a_disk_that_fills_up_takes_less_and_less(
    recorder: Recorder, journal: MemoryJournal, level: float, kept: dict[str, int]
) -> None:
    journal.level = level
    for n in range(100):
        for record in (sample(n), log(n), series(n), event(n)):
            recorder.post(record)
    await recorder.write([phase(0)])
    assert {kind: len(journal.of(kind)) for kind in kept} == kept
    journal.level = 0.5
    recorder.post(sample(1))
    await recorder.write([phase(1)])
    told = {
        record.data["kind"]: record.data["count"]
        for record in journal.of("event")
        if record.event == "dropped"
    }
    assert told == {
        kind: 100 - count for kind, count in kept.items() if kind != "phase" and count < 100
    }


async def test_what_must_not_be_lost_waits_for_room(
    recorder: Recorder, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    journal.full = True
    writing = asyncio.create_task(recorder.write([phase(1)]))
    recorder.post(event(1))
    with pytest.raises(ContractError):
        await recorder.write([series(1)])
    assert not writing.done()
    journal.full = False
    await writing
    assert len(journal.of("phase")) == 1
    assert [record.event for record in journal.of("event")] == ["set", "dropped"]


async def test_an_oversize_record_is_left_out_alone(
    recorder: Recorder, journal: MemoryJournal
) -> None:
    recorder.post(sample(1))
    big = LogRecord(t=T, n=1, source="stdout", text="x" * MAX_ENTRY_BYTES)
    with pytest.raises(ContractError) as error:
        await recorder.write([big])
    assert error.value.error.code is ErrorCode.TOO_LARGE
    await recorder.write([phase(1)])
    assert len(journal.of("sample")) == 1
    assert [record.data["kind"] for record in journal.of("event")] == ["log"]


async def test_a_stalled_disk_costs_bounded_memory(
    journal: MemoryJournal, clock: ManualClock
) -> None:
    recorder = Recorder(journal, clock)
    for n in range(module.MAX_PENDING + 10):
        recorder.post(sample(n))
    recorder.close()
    await recorder.run()
    assert len(journal.of("sample")) == module.MAX_PENDING
    (told,) = journal.of("event")
    assert told.data["count"] == 10


async def test_what_is_left_out_while_that_is_being_told_is_told_too(clock: ManualClock) -> None:
    class Stalling(MemoryJournal):
        async def append(
            self, stream: Literal["records", "files"], entries: Sequence[Payload]
        ) -> tuple[str, int]:
            if self.appends == 0:  # which tells of the first ones
                for n in range(module.MAX_PENDING + 10):
                    recorder.post(sample(n))
            return await super().append(stream, entries)

    journal = Stalling()
    recorder = Recorder(journal, clock)
    running = asyncio.create_task(recorder.run())
    for n in range(module.MAX_PENDING + 5):
        recorder.post(sample(n))
    recorder.close()
    await running
    told = sum(event.data["count"] for event in journal.of("event"))
    assert told + len(journal.of("sample")) == 2 * module.MAX_PENDING + 15


def test_the_rules_of_a_full_disk() -> None:
    assert refusal(0.89) is None
    error = refusal(0.9)
    assert error is not None
    assert "90" in error.message
    assert [alarm(level)[0] for level in (0.8, 0.9, 0.99)] == ["warning", "critical", "critical"]
    assert [keeps_sample(0.985, n) for n in range(3)] == [True, False, False]


async def test_what_was_posted_is_waited_for(recorder: Recorder, journal: MemoryJournal) -> None:
    assert await recorder.settled()  # there is nothing
    journal.disk.clear()
    recorder.post(event(0))
    await journal.appended.wait()
    recorder.post(event(1))  # while the disk is at work on the one before
    waiting = asyncio.ensure_future(recorder.settled())
    recorder.post(sample(2))
    await asyncio.sleep(0.01)  # a wrong answer would come at once
    assert not waiting.done()
    journal.disk.set()
    assert await waiting
    assert [record.mono for record in journal.of("event")] == [0, 1]


async def test_what_has_no_room_is_not_waited_for(
    recorder: Recorder, journal: MemoryJournal
) -> None:
    """It is written when there is room; meanwhile an experiment goes on."""
    journal.full = True
    recorder.post(event(0))
    assert not await recorder.settled()
    assert not await recorder.settled()
    assert journal.records == []
