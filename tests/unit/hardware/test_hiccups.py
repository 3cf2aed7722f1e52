"""Outputs rest while a device is silent, and do not go on and off with one that flaps."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hardware.hiccups import LONGEST, WINDOW, Hiccups, follow, steady

looks = st.lists(st.tuples(st.floats(0.01, 40), st.booleans()), max_size=120)


def story(steps: list[tuple[float, bool]]) -> list[tuple[float, bool, bool]]:
    """Return time, whether it is silent and whether outputs rest, after each look."""
    state, now, told = Hiccups(), 0.0, []
    for seconds, silent in steps:
        now += seconds
        state = follow(state, now, silent=silent)
        told.append((now, silent, state.rests(now)))
    return told


def test_one_missed_answer_is_over_with_the_next() -> None:
    state = follow(Hiccups(), 10.0, silent=True)
    assert state.rests(10.0)
    assert state.count == 1
    assert not follow(state, 10.3, silent=False).rests(10.3)


def test_a_device_that_flaps_must_answer_longer_each_time() -> None:
    assert [steady(count) for count in range(1, 9)] == [0, 1, 2, 4, 8, 16, LONGEST, LONGEST]
    assert steady(10**6) == LONGEST


def test_it_is_forgotten_after_a_while() -> None:
    state = Hiccups()
    for at in (0.0, 20.0, 40.0):
        state = follow(follow(state, at, silent=True), at + 1, silent=False)
    assert state.count == 3
    later = follow(state, 40.0 + WINDOW, silent=True)
    assert later.count == 1


@given(looks)
def test_outputs_rest_whenever_it_is_silent(steps: list[tuple[float, bool]]) -> None:
    assert all(rests for _, silent, rests in story(steps) if silent)


@given(looks)
def test_who_never_falls_silent_lets_nothing_rest(steps: list[tuple[float, bool]]) -> None:
    assert not any(rests for _, _, rests in story([(seconds, False) for seconds, _ in steps]))


@given(looks)
def test_outputs_go_on_seldom_however_it_flaps(steps: list[tuple[float, bool]]) -> None:
    """Begun anew in any minute at most as often as the waits for it fit into that minute."""
    told = story(steps)
    begun = [
        now for (_, _, before), (now, _, rests) in itertools.pairwise(told) if rests and not before
    ]
    for first in begun:
        within = [at for at in begun if first <= at < first + WINDOW]
        # 0 + 1 + 2 + 4 + 8 + 16 s of answering lie between them; a seventh would need 30 more.
        assert len(within) <= 7


@given(looks)
def test_outputs_go_on_once_it_has_answered_for_long_enough(
    steps: list[tuple[float, bool]],
) -> None:
    told = story([*steps, (0.01, False), (LONGEST, False)])
    assert not told[-1][2]
