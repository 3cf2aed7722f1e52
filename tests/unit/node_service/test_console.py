"""The log of a run: numbered, rationed, and whole after a crash between any two writes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.messages import ContractError, LogRecord
from hardware.clock import ManualClock
from node_service.console import LOST, Console
from node_service.recorder import Recorder
from node_service.runclock import RunClock
from node_service.runner.interface import LogChunk, LogCursor
from node_service.runs import LogPosition
from node_service.tail import recover_log
from tests.unit.node_service.conftest import KEY, MemoryJournal, Shown

T = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)


def chunks(texts: list[str], after: str | None = None) -> list[LogChunk]:
    """Return the output after a cursor, as a runner gives it again and again."""
    start = 0 if after is None else int(after) + 1
    return [
        LogChunk(T, "stdout", text, partial=False, lost=False, cursor=LogCursor(str(i)))
        for i, text in enumerate(texts)
        if i >= start
    ]


async def stream(items: list[LogChunk]) -> AsyncIterator[LogChunk]:
    for item in items:
        yield item


class PowerCutError(Exception):
    pass


class Ground:
    """What survives a power cut: the position in the ledger and the journal."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.position = LogPosition()
        self.left: int | None = None

    def _write(self) -> None:
        """Count a write; the power goes when none are left."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise PowerCutError

    async def keep(self, position: LogPosition) -> None:
        self._write()
        self.position = position

    def console(self, budget: int = 10**6) -> Console:
        clock = ManualClock()
        ground = self

        class Direct(Recorder):
            async def write(self, records: object) -> None:
                assert isinstance(records, list)
                ground._write()
                if records:
                    _, self.last = await ground.journal.append("records", records)

        recorder = Direct(self.journal, clock)
        recorder.last = len(self.journal.records)
        return Console(
            KEY, self.position, budget,
            clock=RunClock(clock), recorder=recorder, live=Shown(), keep=self.keep,
        )  # fmt: skip

    async def recover(self) -> None:
        self.position = await recover_log(self.journal, KEY, self.position)

    @property
    def lines(self) -> list[LogRecord]:
        lines: list[LogRecord] = self.journal.of("log")
        return lines


async def test_lines_are_numbered_and_carry_their_own_time() -> None:
    ground = Ground()
    console = ground.console()
    await console.tell("started")
    await console.follow(stream(chunks(["a", "b"])))
    assert [(line.n, line.source, line.text) for line in ground.lines] == [
        (1, "system", "started"),
        (2, "stdout", "a"),
        (3, "stdout", "b"),
    ]
    assert ground.lines[1].t == T


async def test_what_a_call_had_said_before_a_crash_is_not_said_again() -> None:
    ground = Ground()
    console = ground.console()
    await console.say("a\nb", "stdout", "call")
    await console.say("a\nb\nc", "stdout", "call", done=2)
    await console.say("a\nb\nc", "stdout", "call", done=3)
    assert [(line.n, line.text, line.id) for line in ground.lines] == [
        (1, "a", "call"),
        (2, "b", "call"),
        (3, "c", "call"),
    ]


async def test_the_budget_is_told_once_and_counted() -> None:
    ground = Ground()
    console = ground.console(budget=500)
    await console.follow(stream(chunks(["x" * 40] * 10)))
    await console.say("y", "stdout")
    await console.tell("the node is not counted")
    await console.close()
    await console.close()
    texts = [line.text for line in ground.lines]
    assert texts[:2] == ["x" * 40] * 2
    assert "budget" in texts[2]
    assert texts[3:] == ["the node is not counted"]
    (event,) = ground.journal.of("event")
    assert (event.event, event.data["count"]) == ("dropped", 9)


async def test_short_lines_spend_the_budget_by_what_their_records_take() -> None:
    ground = Ground()
    budget = 64 * 1024
    console = ground.console(budget)
    await console.follow(stream(chunks(["", "x"] * 1000)))
    kept = [line for line in ground.lines if line.source == "stdout"]
    assert budget / 2 < sum(len(line.encode()) for line in kept) <= budget
    assert sum("budget" in line.text for line in ground.lines) == 1


async def test_what_the_engine_lost_is_told_by_the_node_and_not_in_the_scripts_name() -> None:
    ground = Ground()
    chunks = [
        LogChunk(T, "stderr", str(n), partial=False, lost=n in {0, 2}, cursor=LogCursor(str(n)))
        for n in range(4)
    ]
    await ground.console().follow(stream(chunks))
    told = [(line.source, line.text) for line in ground.lines]
    lost = ("system", LOST)
    assert told == [lost, ("stderr", "0"), ("stderr", "1"), lost, ("stderr", "2"), ("stderr", "3")]


@given(
    output=st.lists(st.sampled_from(["a", "bb", "c" * 30_000]), max_size=30),
    cuts=st.lists(st.integers(0, 12), max_size=6),
    said=st.booleans(),
)
@settings(max_examples=300, deadline=None)
async def test_no_power_cut_loses_or_doubles_a_line(
    output: list[str], cuts: list[int], said: bool
) -> None:
    ground = Ground()
    expected = [f"{i} {text}" for i, text in enumerate(output)]
    for cut in [*cuts, None]:
        await ground.recover()
        ground.left = cut
        console = ground.console()
        try:
            if said:
                await console.tell("again")
            await console.follow(stream(chunks(expected, ground.position.cursor)))
        except PowerCutError:
            continue
    assert [line.text for line in ground.lines if line.source == "stdout"] == expected
    numbers = [line.n for line in ground.lines]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_full_disk_leaves_lines_out_and_the_script_is_told(
    recorder: Recorder, journal: MemoryJournal, clock: ManualClock
) -> None:
    async def keep(_: LogPosition) -> None:
        return

    console = Console(
        KEY, LogPosition(), 1000, clock=RunClock(clock), recorder=recorder, live=Shown(), keep=keep
    )
    journal.level = 0.975
    with pytest.raises(ContractError):
        await console.say("lost", "stdout")
    await console.tell("lost, too")
    await console.follow(stream(chunks(["lost as well"])))
    journal.level = 0.5
    await console.say("kept", "stdout")
    assert [line.text for line in journal.of("log")] == ["kept"]
    (event,) = journal.of("event")
    assert (event.event, event.data["kind"], event.data["count"]) == ("dropped", "log", 3)
