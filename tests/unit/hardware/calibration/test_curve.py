import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.calibration.curve import CalibrationError, Curve, Point, fit, residuals


def test_one_point_shifts() -> None:
    curve = fit([Point(6.9, 7.0)])
    assert curve(5.0) == pytest.approx(5.1)


def test_two_points_make_a_line() -> None:
    curve = fit([Point(100.0, 0.0), Point(500.0, 1.0)])
    assert curve(300.0) == pytest.approx(0.5)
    assert curve(900.0) == pytest.approx(2.0)  # beyond the points it goes straight on


def test_more_points_than_needed_leave_residuals() -> None:
    points = [Point(0.0, 0.0), Point(1.0, 1.1), Point(2.0, 1.9), Point(3.0, 3.0)]
    curve = fit(points)
    assert curve.coefficients == pytest.approx((0.03, 0.98), abs=1e-9)
    assert math.fsum(residuals(curve, points)) == pytest.approx(0.0, abs=1e-9)


@given(
    st.floats(-5, 5),
    st.floats(0.1, 5),
    st.floats(0.0, 2.0),
    st.lists(st.floats(0, 100), min_size=4, max_size=12, unique=True),
)
def test_a_curve_that_was_there_is_found_again(
    a: float, b: float, c: float, reads: list[float]
) -> None:
    reads = sorted({round(read, 1) for read in reads})
    if len(reads) < 4 or reads[-1] - reads[0] < 1.0:
        return
    points = [Point(read, a + b * read + c * read**2) for read in reads]
    curve = fit(points, 2)
    for point in points:
        assert curve(point.read) == pytest.approx(point.true, abs=1e-6 * (1 + abs(point.true)))


def test_beyond_the_points_a_steep_curve_does_not_run_away() -> None:
    points = [Point(x, x + 0.2 * x**3) for x in (0.0, 0.5, 1.0, 1.5, 2.0)]
    curve = fit(points, 3)
    assert curve(2.0) == pytest.approx(3.6)
    assert curve(4.0) == pytest.approx(3.6 + 2 * curve.slope(2.0))


@pytest.mark.parametrize(
    ("points", "degree", "complaint"),
    [
        ([], 1, "at least one point"),
        ([Point(1.0, math.nan)], 1, "two numbers"),
        ([Point(1.0, 2.0), Point(1.0, 3.0)], 1, "further apart"),
        ([Point(1.0, 2.0), Point(2.0, 3.0)], 2, "needs 3 points"),
        ([Point(1.0, 2.0), Point(2.0, 2.0)], 1, "mixed-up standard"),
        ([Point(0.0, 0.0), Point(1.0, 2.0), Point(2.0, 0.5)], 2, "mixed-up standard"),
        ([Point(0.0, 0.0)], 4, "1 to 3"),
    ],
)
def test_points_that_cannot_be_are_refused(
    points: list[Point], degree: int, complaint: str
) -> None:
    with pytest.raises(CalibrationError, match=complaint):
        fit(points, degree)


def test_an_unbounded_curve_is_a_plain_line() -> None:
    assert Curve((1.0, 2.0))(1e6) == pytest.approx(2e6 + 1)
