"""What fails is made as small as it can be."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.shrinking import shrink


@given(st.integers(1, 200), st.data())
def test_nothing_is_left_that_could_go(size: int, data: st.DataObject) -> None:
    """What fails because of some items, wherever they stand, is brought down to those."""
    guilty = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=5))
    assert shrink(range(size), lambda part: guilty <= set(part), attempts=100_000) == sorted(guilty)


def test_attempts_are_bounded() -> None:
    """It stops in time with the smallest that it has seen fail."""
    asked: list[Sequence[int]] = []

    def fails(part: Sequence[int]) -> bool:
        asked.append(part)
        return {3, 900} <= set(part)

    part = shrink(range(1_000), fails, attempts=10)
    assert len(asked) == 10
    assert {3, 900} <= set(part)
    assert len(part) < 1_000
