"""A curve through calibration points: what was read against what is true. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HIGHEST_DEGREE: Final = 3
_SAMPLES: Final = 200
"""Places between the points where the curve is looked at."""
_MARGIN: Final = 0.1
"""Part of the points' span beyond which the curve goes on as a straight line."""


class CalibrationError(ValueError):
    """The points cannot be; one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Point:
    """What the device read, and what was true, in the channel's unit."""

    read: float
    true: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A polynomial that rises or falls all the way.

    Beyond the points it goes on as a straight line: a polynomial would run away there.

    Attributes:
        coefficients: Of 1, x, x², …
        low: The least that was read at a point …
        high: … and the most.
    """

    coefficients: tuple[float, ...]
    low: float = -math.inf
    high: float = math.inf

    def __call__(self, read: float) -> float:
        """Return what is true where this is read."""
        inside = min(max(read, self.low), self.high)
        return self._value(inside) + (read - inside) * self.slope(inside)

    def slope(self, read: float) -> float:
        """Return how fast the true value grows."""
        return math.fsum(n * c * read ** (n - 1) for n, c in enumerate(self.coefficients) if n)

    def _value(self, read: float) -> float:
        return math.fsum(c * read**n for n, c in enumerate(self.coefficients))


def fit(points: Sequence[Point], degree: int = 1) -> Curve:
    """Return the polynomial of least squares.

    One point shifts, two make a line; a higher degree takes at least one point more than it has
    coefficients would need, so that the residuals say something.

    Args:
        points: In any order.
        degree: 1 to `HIGHEST_DEGREE`.

    Raises:
        CalibrationError: The points are too few, at one place, or not those of such a curve.
    """
    if not 1 <= degree <= HIGHEST_DEGREE:
        raise CalibrationError(f"the degree is 1 to {HIGHEST_DEGREE}, not {degree}")
    if not points:
        raise CalibrationError("take at least one point")
    if not all(math.isfinite(p.read) and math.isfinite(p.true) for p in points):
        raise CalibrationError("every point needs two numbers")
    reads = sorted({p.read for p in points})
    if len(points) == 1:
        return Curve((points[0].true - points[0].read, 1.0))
    needed = degree + 1
    if len(reads) < needed:
        raise CalibrationError(
            f"a curve of degree {degree} needs {needed} points with different readings; "
            f"there are {len(reads)}: take standards that are further apart"
        )
    middle, half = (reads[0] + reads[-1]) / 2, (reads[-1] - reads[0]) / 2
    scaled = _solve([((p.read - middle) / half, p.true) for p in points], degree)
    curve = Curve(_unscaled(scaled, middle, half), reads[0], reads[-1])
    _demand_monotonic(curve)
    return curve


def residuals(curve: Curve, points: Sequence[Point]) -> tuple[float, ...]:
    """Return how far each point is from the curve, in the channel's unit."""
    return tuple(p.true - curve(p.read) for p in points)


def _solve(points: Sequence[tuple[float, float]], degree: int) -> list[float]:
    """Solve the normal equations, by Gauss with pivots; x is within -1 to 1."""
    size = degree + 1
    rows = [
        [math.fsum(x ** (i + j) for x, _ in points) for j in range(size)]
        + [math.fsum(y * x**i for x, y in points)]
        for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(size):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def _unscaled(scaled: Sequence[float], middle: float, half: float) -> tuple[float, ...]:
    """Return the coefficients in x, where they are known in (x - middle) / half."""
    found = [0.0] * len(scaled)
    power = [1.0]  # ((x - middle) / half) ** n
    for c in scaled:
        for n, p in enumerate(power):
            found[n] += c * p
        longer = [0.0, *power]
        for n, p in enumerate(power):
            longer[n] -= middle * p
        power = [p / half for p in longer]
    return tuple(found)


def _demand_monotonic(curve: Curve) -> None:
    span = curve.high - curve.low
    places = (
        curve.low - _MARGIN * span + span * (1 + 2 * _MARGIN) * i / _SAMPLES
        for i in range(_SAMPLES + 1)
    )
    slopes = [curve.slope(min(max(place, curve.low), curve.high)) for place in places]
    if not (min(slopes) > 0 or max(slopes) < 0):
        raise CalibrationError(
            "the curve does not rise or fall all the way: look for a mixed-up standard, "
            "or choose a lower degree"
        )
