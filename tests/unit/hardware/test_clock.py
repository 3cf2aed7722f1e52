import asyncio
import itertools
import time
from collections.abc import Callable

import pytest

from hardware.clock import Clock, ManualClock, RealClock


async def rounds(clock: Clock, period: float, times: list[float], n: int) -> None:
    for _ in range(n):
        await clock.sleep(period)
        times.append(clock.monotonic())


async def test_a_manual_clock_wakes_sleepers_in_order() -> None:
    clock = ManualClock()
    fast: list[float] = []
    slow: list[float] = []
    tasks = [
        asyncio.create_task(rounds(clock, 5.0, fast, 4)),
        asyncio.create_task(rounds(clock, 12.0, slow, 1)),
    ]
    await clock.advance(11.0)
    assert fast == [5.0, 10.0]
    assert slow == []
    await clock.advance(9.0)
    assert fast == [5.0, 10.0, 15.0, 20.0]
    assert slow == [12.0]
    assert clock.monotonic() == 20.0
    await asyncio.gather(*tasks)


async def test_speed_one_is_the_machines_clock() -> None:
    now = 100.0
    clock = RealClock(real=lambda: now)
    assert clock.monotonic() == 0.0
    now = 103.5
    assert clock.monotonic() == 3.5
    before = time.monotonic()
    await RealClock().sleep(0.02)
    assert time.monotonic() - before >= 0.019


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_must_be_possible(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        RealClock(speed)


async def test_a_fast_clock_is_fast() -> None:
    clock = RealClock(1000.0)
    before = time.monotonic()
    await clock.sleep(50.0)
    assert clock.monotonic() >= 50.0
    assert time.monotonic() - before < 25.0


def stalling(real: list[float], clock: Clock, log: list[float]) -> Callable[[], None]:
    """Return what blocks the loop for 0.2 real seconds, as a busy machine does."""

    def stall() -> None:
        real[0] += 0.2
        log.append(clock.monotonic())

    return stall


async def test_a_fast_clock_waits_for_those_who_fall_behind() -> None:
    """The loop stands still for 200 reactor seconds: no period is missed, each is on time."""
    real = [0.0]
    started = time.monotonic()
    clock = RealClock(1000.0, real=lambda: time.monotonic() - started + real[0])
    times: list[float] = []
    shown: list[float] = []
    task = asyncio.create_task(rounds(clock, 5.0, times, 60))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.02, stalling(real, clock, shown))
    await task
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps == pytest.approx([5.0] * 59)
    assert shown[0] < 200.0  # the stall is not seen before those who slept have been served
    assert clock.monotonic() >= 300.0


async def test_a_fast_clock_gives_up_what_it_cannot_catch_up() -> None:
    real = [0.0]
    clock = RealClock(1000.0, real=lambda: real[0])
    times: list[float] = []
    task = asyncio.create_task(rounds(clock, 100.0, times, 1))
    await asyncio.sleep(0)
    real[0] = 60.0  # a minute of standstill would be 60 000 reactor seconds
    await task
    await asyncio.sleep(0)
    assert times == [100.0]
    assert clock.monotonic() <= 100.0 + 251.0


async def test_a_cancelled_sleeper_holds_nobody_up() -> None:
    clock = RealClock(1000.0)
    sleeper = asyncio.create_task(clock.sleep(1.0))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.wait([sleeper])
    await clock.sleep(20.0)
    assert clock.monotonic() >= 20.0


async def test_time_never_goes_back() -> None:
    clock = RealClock(500.0)
    seen = []
    tasks = [asyncio.create_task(rounds(clock, 7.0, [], 30)) for _ in range(3)]
    while not all(task.done() for task in tasks):
        seen.append(clock.monotonic())
        await asyncio.sleep(0)
    assert seen == sorted(seen)
