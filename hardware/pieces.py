"""A dose in pieces that a pump may run on one command. Pure."""

from collections.abc import Iterator
from typing import Final

TINY: Final = 1e-9
"""mL that are nothing."""


def pieces(ml: float, most: float) -> Iterator[float]:
    """Split a dose; the last two share, for a small rest may be less than a pump can move.

    Args:
        ml: The dose.
        most: The largest piece, mL, above 0.
    """
    left = ml
    while left > TINY:
        piece = left / 2 if most + TINY < left < 1.5 * most else min(left, most)
        yield piece
        left -= piece
