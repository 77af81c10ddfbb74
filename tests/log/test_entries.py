"""entries.py: places, and what a log covers."""

from hypothesis import given
from hypothesis import strategies as st

from changesource.log.entries import MAX_PART, Entry, EntryId, Extent
from changesource.protocol.watermarks import Position

cluster_times = st.integers(min_value=1, max_value=2**64 - 1)
ordinals = st.integers(min_value=0, max_value=2**16 - 1)
parts = st.integers(min_value=0, max_value=MAX_PART)
entry_ids = st.builds(EntryId, st.builds(Position, cluster_times, ordinals), parts)


@given(cluster_times, entry_ids)
def test_the_place_before_a_cluster_time_follows_all_earlier_ones(cluster_time: int, entry_id: EntryId) -> None:
    assert (entry_id > EntryId.before(cluster_time)) == (entry_id.position.cluster_time >= cluster_time)


def test_the_size_of_an_entry_is_that_of_its_frames() -> None:
    assert Entry(EntryId(Position(1)), 0, {"a": b"12", "b": b"345"}).size == 5


def extent(first: int, *, begins_with_start: bool = False) -> Extent:
    return Extent(EntryId(Position(first, 7), 2), EntryId(Position(100)), begins_with_start)


def test_empty_log_covers_nothing() -> None:
    """A log that holds nothing covers no position."""
    assert not Extent().covers(Position(1))


def test_positions_after_the_first_entry_are_covered() -> None:
    """Even those that the log has not reached yet."""
    assert extent(10).covers(Position(11))
    assert extent(10).covers(Position(1000))


def test_positions_before_the_first_entry_are_not_covered() -> None:
    assert not extent(10, begins_with_start=True).covers(Position(9, 2**16 - 1))


def test_the_first_cluster_time_of_a_trimmed_log_is_not_covered() -> None:
    """Trimmed entries may have had it, whatever the ordinals are."""
    assert not extent(10).covers(Position(10, 0))
    assert not extent(10).covers(Position(10, 8))


def test_the_cluster_time_of_a_start_entry_is_covered() -> None:
    """Everything of that cluster time follows it."""
    assert extent(10, begins_with_start=True).covers(Position(10, 0))
    assert extent(10, begins_with_start=True).covers(Position(10, 9))
