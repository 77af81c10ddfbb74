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
def test_before(cluster_time: int, entry_id: EntryId) -> None:
    """The place before a cluster time separates it from all earlier ones."""
    assert (entry_id > EntryId.before(cluster_time)) == (entry_id.position.cluster_time >= cluster_time)


def test_size() -> None:
    """The size of an entry is that of its frames."""
    assert Entry(EntryId(Position(1)), 0, {"a": b"12", "b": b"345"}).size == 5


def extent(first: int, *, begins_with_start: bool = False) -> Extent:
    return Extent(EntryId(Position(first, 7), 2), EntryId(Position(100)), begins_with_start)


def test_empty_log_covers_nothing() -> None:
    """A log that holds nothing covers no position."""
    assert not Extent().covers(Position(1))


def test_covers_later_cluster_times() -> None:
    """What is later than the first entry is in the log, even where the log does not reach yet."""
    assert extent(10).covers(Position(11))
    assert extent(10).covers(Position(1000))


def test_does_not_cover_earlier_cluster_times() -> None:
    """What is earlier than the first entry is not in the log."""
    assert not extent(10, begins_with_start=True).covers(Position(9, 2**16 - 1))


def test_does_not_cover_the_first_cluster_time_of_a_trimmed_log() -> None:
    """Entries before the first that is left may have had its cluster time, whatever the ordinals are."""
    assert not extent(10).covers(Position(10, 0))
    assert not extent(10).covers(Position(10, 8))


def test_covers_the_cluster_time_of_its_start() -> None:
    """After a start entry everything of its cluster time follows."""
    assert extent(10, begins_with_start=True).covers(Position(10, 0))
    assert extent(10, begins_with_start=True).covers(Position(10, 9))
