"""Slopes, their errors, and percentiles."""

import math
import random

import pytest

from tests.soak.trends import Trend, percentile, trend

TIMES = [float(second) for second in range(0, 1500, 5)]


def test_a_straight_line() -> None:
    """A line has its own slope, without error."""
    found = trend(TIMES, [100 + 0.02 * time for time in TIMES])
    assert found.slope == pytest.approx(0.02)
    assert found.error == pytest.approx(0, abs=1e-9)


def test_constant() -> None:
    """What does not change has no slope."""
    assert trend(TIMES, [7.0] * len(TIMES)) == Trend(0.0, 0.0)


def test_noise_has_the_error_of_the_textbook() -> None:
    """For independent noise the standard error is the deviation over the root of the spread of times."""
    dice = random.Random(1)
    found = trend(TIMES, [dice.gauss(0, 2) for _ in TIMES])
    spread = sum((time - sum(TIMES) / len(TIMES)) ** 2 for time in TIMES)
    assert found.error == pytest.approx(2 / math.sqrt(spread), rel=0.2)
    assert abs(found.slope) < 3 * found.error


def test_noise_that_lasts_counts_as_fewer_samples() -> None:
    """A random walk around its mean has a far larger error than the same deviations in random order."""
    dice = random.Random(2)
    level, walk = 0.0, []
    for _ in TIMES:
        level = 0.95 * level + dice.gauss(0, 1)
        walk.append(level)
    shuffled = dice.sample(walk, len(walk))
    assert trend(TIMES, walk).error > 3 * trend(TIMES, shuffled).error


@pytest.mark.parametrize(
    ("found", "is_above"),
    [(Trend(25, 1), True), (Trend(15, 1), False), (Trend(25, 15), False), (Trend(-50, 1), False)],
)
def test_above(found: Trend, is_above: bool) -> None:
    """Growth counts when it is both more than what is allowed and more than noise."""
    assert found.is_above(20) is is_above


def test_too_few_samples() -> None:
    """Two points are no trend."""
    with pytest.raises(ValueError, match="three samples"):
        trend([0, 1], [0, 1])


def test_percentiles() -> None:
    """The value itself, not one between two."""
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, fraction) for fraction in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert math.isnan(percentile([], 0.5))
