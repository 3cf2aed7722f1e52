import math
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.plausibility import SETTLED, Doubt, Plausible, Watch, judge, sentence

PH = Plausible(low=2.0, high=12.0, frozen_after=60.0, fastest=0.01, step=0.05)


def doubts(
    values: Iterable[float | None], rule: Plausible = PH, every: float = 1.0
) -> list[Doubt | None]:
    watch, found = Watch(), []
    for number, value in enumerate(values):
        watch = judge(rule, watch, value, number * every)
        found.append(watch.doubt)
    return found


def test_an_ordinary_course_is_believed() -> None:
    assert set(doubts(7.0 - 0.001 * n for n in range(200))) == {None}


def test_what_cannot_be_in_this_vessel() -> None:
    assert doubts([7.0, 1.9, 7.0])[1] is Doubt.OUT_OF_RANGE
    assert doubts([12.5]) == [Doubt.OUT_OF_RANGE]


def test_frozen_until_it_moves() -> None:
    found = doubts([7.0] * 70 + [7.001])
    assert found[59] is None
    assert found[60] is found[69] is Doubt.FROZEN
    assert found[70] is None


def test_a_spike_is_doubted_and_what_comes_after_it_is_not() -> None:
    assert doubts([7.0, 7.01, 9.0, 7.02, 7.0]) == [None, None, Doubt.JUMPING, None, None]


def test_a_new_level_is_believed_when_it_has_settled() -> None:
    found = doubts([7.0, 7.0, 4.0, 4.01, 4.0, 4.01])
    assert found == [None, None, *[Doubt.JUMPING] * (SETTLED - 1), None, None]


def test_one_that_keeps_jumping_is_never_believed() -> None:
    found = doubts([7.0, *[4.0, 9.0] * 20])
    assert set(found[1:]) == {Doubt.JUMPING}


def test_a_long_silence_allows_a_large_change() -> None:
    assert doubts([7.0, *[None] * 300, 5.0])[-1] is None
    assert doubts([7.0, None, 5.0])[-1] is Doubt.JUMPING


def test_silence_is_no_lie() -> None:
    assert doubts([None, math.nan, math.inf, None]) == [None] * 4


def test_a_frozen_value_after_a_silence_begins_anew() -> None:
    assert doubts([7.0] * 59 + [None] + [7.0] * 59)[-1] is None


def test_the_recorded_lies_are_found() -> None:
    """As in recorded runs: rises to 65 802 ppm, then 0 for 31 h; and jumps to 57 830."""
    co2 = Plausible(low=0.0, high=50_000.0, frozen_after=1800.0, fastest=20.0, step=100.0)
    rise = [400.0 + 15.0 * 20.0 * n for n in range(219)]
    found = doubts([*rise, 65_802.0, *[0.0] * 5000], co2, every=20.0)
    assert found[100] is None
    assert found[218] is found[219] is Doubt.OUT_OF_RANGE
    assert found[220] is Doubt.JUMPING
    assert found[-1] is Doubt.FROZEN
    assert doubts([420.0, 430.0, 57_830.0, 440.0], co2, every=20.0)[2] is not None


def test_without_rules_everything_is_believed() -> None:
    assert set(doubts([1.0, 1e9, -1e9, *[0.0] * 500], Plausible())) == {None}


@settings(deadline=None)
@given(st.lists(st.none() | st.floats(), max_size=60), st.floats(0.01, 1e4))
def test_never_believes_what_cannot_be(values: list[float | None], every: float) -> None:
    for value, doubt in zip(values, doubts(values, every=every), strict=True):
        if value is not None and math.isfinite(value) and not 2.0 <= value <= 12.0:
            assert doubt is Doubt.OUT_OF_RANGE


@settings(deadline=None)
@given(st.lists(st.floats(2.0, 12.0), min_size=1, max_size=60))
def test_comes_right_whatever_was_before(values: list[float]) -> None:
    settled = [7.0 + 0.001 * n for n in range(SETTLED)]
    assert doubts([*values, *settled])[-1] is None


@pytest.mark.parametrize("doubt", list(Doubt))
def test_every_doubt_is_said(doubt: Doubt) -> None:
    assert "look at" in sentence(doubt, 7.0, PH, "pH") or "is the probe" in sentence(
        doubt, 7.0, PH, "pH"
    )
