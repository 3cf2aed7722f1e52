"""Ids of experiments sort in the order of their making."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hub_service.ids import GrowingIds
from tests.unit.hub_service.builders import T0


@given(jumps=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=50))
def test_ids_grow_whatever_the_clock_does(jumps: list[int]) -> None:
    now = T0

    def clock() -> datetime:
        return now

    make = GrowingIds(clock)
    made = []
    for jump in jumps:
        now = T0 + timedelta(milliseconds=jump)
        made.append(make())
    assert made == sorted(set(made))
    assert all(len(identity) == 26 for identity in made)


def test_ids_grow_beyond_what_is_known_already() -> None:
    make = GrowingIds(lambda: T0)
    later = GrowingIds(lambda: T0 + timedelta(days=300))()
    make.seen(later)
    assert make() > later
