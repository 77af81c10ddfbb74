"""Straight lines through samples, and percentiles of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Trend:
    """A slope a unit of time, and its standard error in the same unit."""

    slope: float
    error: float

    def is_above(self, allowed: float) -> bool:
        """Whether it grows faster than `allowed` and that is not noise: more than two standard errors above zero."""
        return self.slope > max(allowed, 2 * self.error)


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """The least-squares line through `values` at `times`.

    What is sampled every few seconds is much like what it was a moment ago. The standard error counts only as many samples
    as are worth it: n (1 - r) / (1 + r), with r the correlation of neighbouring residuals.

    Raises:
        ValueError: there are fewer than three samples.
    """
    count = len(times)
    if count < 3:
        raise ValueError(f"A trend needs three samples, there are {count}.")
    mean_time, mean_value = sum(times) / count, sum(values) / count
    spread = sum((time - mean_time) ** 2 for time in times)
    products = ((time - mean_time) * (value - mean_value) for time, value in zip(times, values, strict=True))
    slope = sum(products) / spread
    residuals = [value - mean_value - slope * (time - mean_time) for time, value in zip(times, values, strict=True)]
    squares = sum(residual**2 for residual in residuals)
    if math.isclose(squares, 0, abs_tol=1e-12):
        return Trend(slope, 0.0)
    neighbours = sum(one * next_one for one, next_one in pairwise(residuals)) / squares
    correlation = min(max(neighbours, 0.0), 0.99)
    independent = max(count * (1 - correlation) / (1 + correlation), 3.0)
    return Trend(slope, math.sqrt(squares / (independent - 2) / (spread * independent / count)))


def percentile(values: Sequence[float], fraction: float) -> float:
    """The smallest value that at least this fraction of `values` does not exceed. NaN if there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]
