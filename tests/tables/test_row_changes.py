"""row_changes.py: the smallest change of a document's rows."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from changesource.tables.row_changes import RowChanges, row_changes

Row = dict[str, Any]


def changes(*states: dict[str, int]) -> tuple[list[tuple[Any, ...]], list[Row]]:
    """Of rows that are given as their values by key."""
    found: RowChanges = row_changes(
        [[{"id": key, "v": value} for key, value in state.items()] for state in states], lambda row: (row["id"],)
    )
    return list(found.deleted), list(found.upserted)


def test_new_different_and_removed_rows_are_sent() -> None:
    """And nothing of what is the same."""
    assert changes({"a": 1, "b": 2, "c": 3}, {"b": 2, "c": 4, "d": 5}) == (
        [("a",)],
        [{"id": "c", "v": 4}, {"id": "d", "v": 5}],
    )


def test_the_same_rows_in_another_order_are_no_change() -> None:
    """A table has no order."""
    assert changes({"a": 1, "b": 2}, {"b": 2, "a": 1}) == ([], [])


def test_all_rows_of_a_new_document_are_new() -> None:
    """All of its rows are new."""
    assert changes({}, {"a": 1}) == ([], [{"id": "a", "v": 1}])


def test_all_rows_of_a_deleted_document_are_removed() -> None:
    """All of its rows are removed."""
    assert changes({"a": 1, "b": 2}, {}) == ([("a",), ("b",)], [])


def test_a_row_that_changed_on_the_way_is_sent() -> None:
    """A reader may have seen it in between."""
    assert changes({"a": 1}, {"a": 2}, {"a": 1}) == ([], [{"id": "a", "v": 1}])
    assert changes({"a": 1}, {}, {"a": 1}) == ([], [{"id": "a", "v": 1}])
    assert changes({}, {"a": 1}, {}) == ([("a",)], [])


def test_a_single_state_sends_nothing() -> None:
    """What never changed is not sent."""
    assert changes({"a": 1}) == ([], [])


states = st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)), min_size=1, max_size=5)


@given(st.data(), states)
def test_a_reader_of_any_state_gets_the_last(data: Any, states: list[dict[str, int]]) -> None:
    """Applying the changes to the rows of any state gives the present ones."""
    deleted, upserted = changes(*states)
    seen = {key: data.draw(st.sampled_from([state.get(key) for state in states])) for key in "abcd"}
    rows = {key: value for key, value in seen.items() if value is not None and (key,) not in deleted}
    assert rows | {row["id"]: row["v"] for row in upserted} == states[-1]


@given(states)
def test_as_few_changes_as_possible_are_sent(states: list[dict[str, int]]) -> None:
    """A row that was always the same is not among them, and no row is both removed and sent."""
    deleted, upserted = changes(*states)
    sent = [row["id"] for row in upserted] + [key for (key,) in deleted]
    assert len(sent) == len(set(sent))
    assert set(sent) == {key for key in "abcd" if len({state.get(key) for state in states}) > 1}
