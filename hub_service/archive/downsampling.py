"""Fewer points for the same picture: minima and maxima of each bucket stay. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from math import isnan


def downsample(
    x: Sequence[float], v: Sequence[float], points: int
) -> tuple[list[float], list[float | None], bool]:
    """Reduce a curve to at most so many points, spikes of a single sample included.

    Args:
        x: Ascending.
        v: Of equal length; NaN where there was no value.
        points: 2 or more.

    Returns:
        `x` and `v` of the points that stay, None for NaN, and whether any were left out.
    """
    if len(x) <= points:
        return list(x), [None if isnan(value) else value for value in v], False
    buckets = points // 2
    width = (x[-1] - x[0]) / buckets
    out_x: list[float] = []
    out_v: list[float | None] = []
    start = 0
    for bucket in range(1, buckets + 1):
        end = len(x) if bucket == buckets else bisect_left(x, x[0] + bucket * width, start)
        if end > start:
            _reduce(x[start:end], v[start:end], out_x, out_v)
        start = end
    return out_x, out_v, True


def _reduce(
    x: Sequence[float], v: Sequence[float], out_x: list[float], out_v: list[float | None]
) -> None:
    total = sum(v)
    if isnan(total):
        there = [value for value in v if not isnan(value)]
        if not there:
            out_x.append(x[0])
            out_v.append(None)
            return
        lo, hi = min(there), max(there)
    else:
        lo, hi = min(v), max(v)
    first, second = sorted((v.index(lo), v.index(hi)))
    out_x.append(x[first])
    out_v.append(v[first])
    if second != first:
        out_x.append(x[second])
        out_v.append(v[second])
