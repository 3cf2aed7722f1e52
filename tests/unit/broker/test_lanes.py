import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.lanes import Lanes, Rate, RateLimiter


async def test_in_order_within_a_lane_and_concurrent_between_lanes() -> None:
    done: list[str] = []
    gate = asyncio.Event()

    async def wait(name: str) -> None:
        await gate.wait()
        done.append(name)

    async def go(name: str) -> None:
        done.append(name)
        gate.set()

    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group, limit=10, size_limit=1000)
        assert lanes.put("alice", 1, partial(wait, "alice 1"), 1)
        assert lanes.put("alice", 1, partial(wait, "alice 2"), 1)
        assert lanes.put("alice", 2, partial(go, "alice, other lane"), 1)

    assert done == ["alice, other lane", "alice 1", "alice 2"]
    assert not lanes.busy


async def test_an_owner_has_so_much_and_no_more() -> None:
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()

    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group, limit=3, size_limit=100)
        accepted = [lanes.put("alice", lane, work, 10) for lane in range(5)]
        assert accepted == [True, True, True, False, False]
        assert lanes.put("bob", 0, work, 1000)  # one large piece is always taken
        assert not lanes.put("bob", 0, work, 1)
        gate.set()


async def test_what_is_done_makes_room() -> None:
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group, limit=1, size_limit=100)
        for _ in range(3):
            done.clear()
            assert lanes.put("alice", 0, work, 1)
            assert not lanes.put("alice", 0, work, 1)
            await done.wait()
            await asyncio.sleep(0)


async def test_work_that_fails_ends_the_group_and_leaves_no_lane() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with asyncio.TaskGroup() as group:
            lanes = Lanes(group, limit=3, size_limit=100)
            lanes.put("alice", 0, fail, 1)
    assert not lanes.busy


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    steps=st.lists(st.floats(min_value=0, max_value=5), max_size=60),
    per_second=st.floats(min_value=0.1, max_value=20),
    burst=st.integers(min_value=1, max_value=20),
)
def test_nobody_gets_more_than_burst_and_rate(
    steps: list[float], per_second: float, burst: int
) -> None:
    clock = Clock()
    limiter = RateLimiter(Rate(per_second, burst), clock)
    allowed = 0
    for step in steps:
        clock.now += step
        left = limiter.take("alice")
        allowed += left >= 0
        assert -burst <= left <= burst
    assert allowed <= burst + clock.now * per_second + 1e-6


def test_others_are_not_charged_and_full_buckets_are_forgotten() -> None:
    clock = Clock()
    limiter = RateLimiter(Rate(1, 2), clock)
    take: Callable[[str], float] = limiter.take
    assert [take("alice") for _ in range(4)] == [1, 0, -1, -2]
    assert take("bob") == 1
    for n in range(2000):
        clock.now += 2
        take(f"user-{n}")
    assert len(limiter._buckets) < 1100
