"""Fewer points, the same picture."""

from math import isnan, nan

from hypothesis import given
from hypothesis import strategies as st

from hub_service.archive.downsampling import downsample

VALUES = st.one_of(st.floats(-1e6, 1e6), st.just(nan))


def test_few_points_stay_as_they_are() -> None:
    assert downsample([0.0, 1.0], [1.0, nan], 2) == ([0.0, 1.0], [1.0, None], False)


def test_a_spike_of_one_sample_survives() -> None:
    x = [float(n) for n in range(100_000)]
    v = [0.5] * 100_000
    v[54_321] = 9.0
    v[77_777] = -9.0
    out_x, out_v, reduced = downsample(x, v, 200)
    assert reduced
    assert len(out_x) <= 200
    assert (54_321.0, 9.0) in zip(out_x, out_v, strict=True)
    assert (77_777.0, -9.0) in zip(out_x, out_v, strict=True)


def test_a_stretch_without_values_is_a_null() -> None:
    x = [float(n) for n in range(100)]
    v = [nan if 40 <= n < 60 else 1.0 for n in range(100)]
    _, out_v, _ = downsample(x, v, 20)
    assert None in out_v


@given(
    st.lists(st.tuples(st.floats(0, 1000), VALUES), min_size=1, max_size=300),
    st.integers(2, 50),
)
def test_minimum_and_maximum_are_kept_in_order(
    curve: list[tuple[float, float]], points: int
) -> None:
    curve.sort(key=lambda point: point[0])
    x, v = [p[0] for p in curve], [p[1] for p in curve]
    out_x, out_v, reduced = downsample(x, v, points)
    assert len(out_x) == len(out_v) <= max(points, len(x) if not reduced else 0)
    assert out_x == sorted(out_x)
    there = [value for value in v if not isnan(value)]
    kept = [value for value in out_v if value is not None]
    assert set(kept) <= set(there)
    if there:
        assert (min(kept), max(kept)) == (min(there), max(there))
