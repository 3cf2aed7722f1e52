"""The sampler's schedule holds, whatever a reading costs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from broker.messages import EventRecord, Record, SampleRecord
from hardware.clock import ManualClock
from node_service.runclock import RunClock
from node_service.runs import RunKey
from node_service.sampler import Sampler
from tests.unit.node_service.conftest import KEY, Shown


@dataclass
class SlowReactor:
    """Readings take as long as it is told."""

    clock: ManualClock
    takes: float = 0.0
    value: float | None = 1.0

    async def read(self) -> Mapping[str, float | None]:
        await self.clock.sleep(self.takes)
        return {"od": self.value}


@dataclass
class Executing:
    key: RunKey
    clock: RunClock


class Bench:
    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.reactor = SlowReactor(clock)
        self.records: list[Record] = []
        self.shown = Shown()
        self.current: Executing | None = None
        self.sampler = Sampler(
            self.reactor, clock, interval=1.0, record=self.records.append, live=self.shown,
            current=lambda: self.current,
        )  # fmt: skip

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.sampler.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def samples(self) -> list[SampleRecord]:
        return [record for record in self.records if isinstance(record, SampleRecord)]

    @property
    def events(self) -> list[EventRecord]:
        return [record for record in self.records if isinstance(record, EventRecord)]


async def test_the_schedule_never_drifts(clock: ManualClock) -> None:
    bench = Bench(clock)
    bench.reactor.takes = 0.3
    async with bench.sampling():
        await clock.advance(100.5)
    times = [sample.mono for sample in bench.samples]
    assert len(times) == 101
    assert max(abs(time - (i + 0.3)) for i, time in enumerate(times)) < 1e-6
    assert bench.events == []
    assert bench.samples[0].experiment_id is None
    assert [reading.values for reading in bench.shown.readings[:1]] == [{"od": 1.0}]


async def test_late_samples_are_said_to_be_late_and_the_schedule_holds(clock: ManualClock) -> None:
    bench = Bench(clock)
    async with bench.sampling():
        await clock.advance(2.1)
        bench.reactor.takes = 3.4
        await clock.advance(4)  # the sample due at 3 is there at 6.4; 4, 5 and 6 are late
        bench.reactor.takes = 0.0
        await clock.advance(4.4)
    assert [round(sample.mono, 1) for sample in bench.samples] == [0, 1, 2, 6.4, 6.4, 7, 8, 9, 10]
    (late,) = bench.events
    assert (late.event, late.value, late.data) == ("late", 2.4, {"late": 1, "missed": 2})


async def test_a_sample_belongs_to_the_attempt_that_executes(clock: ManualClock) -> None:
    bench = Bench(clock)
    run_clock = RunClock(clock)
    async with bench.sampling():
        await clock.advance(1.5)
        run_clock.begin()
        bench.current = Executing(KEY, run_clock)
        await clock.advance(1)
        bench.current = None
        await clock.advance(1)
    owners = [(sample.experiment_id, sample.attempt, sample.elapsed) for sample in bench.samples]
    assert owners == [(None, None, None)] * 2 + [(*KEY, 0.5)] + [(None, None, None)]


async def test_what_is_no_number_is_null(clock: ManualClock) -> None:
    bench = Bench(clock)
    async with bench.sampling():
        for value in (float("nan"), float("inf"), None):
            bench.reactor.value = value
            await clock.advance(1)
    assert [sample.values["od"] for sample in bench.samples] == [None] * len(bench.samples)
    assert all(b"null" in sample.encode() for sample in bench.samples)
