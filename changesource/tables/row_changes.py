"""The smallest change between two states of a document's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from changesource.tables.compiled_table import Key, Row


@dataclass(frozen=True, slots=True)
class RowChanges:
    """The keys of rows that no longer exist, and the rows that are new or different. `states` are the rows by key, from the
    first state to the last."""

    deleted: Sequence[Key]
    upserted: Sequence[Row]
    states: Sequence[Mapping[Key, Row]]

    def earlier(self, key: Key) -> list[Row]:
        """The rows with this key in the states before the last one."""
        return [rows[key] for rows in self.states[:-1] if key in rows]


def row_changes(states: Sequence[Sequence[Row]], key_of: Callable[[Row], Key]) -> RowChanges:
    """What must be sent of a document's rows after it has gone through `states`, the last of which is the present one.

    A row that changed on the way counts even if it is the same at both ends: a reader that looked up the document in between
    may have sent what it was then.
    """
    by_key = [{key_of(row): row for row in rows} for rows in states]
    touched: dict[Key, None] = {}
    for before, after in pairwise(by_key):
        touched.update((key, None) for key, row in before.items() if after.get(key) != row)
        touched.update((key, None) for key in after if key not in before)
    now = by_key[-1]
    return RowChanges(
        deleted=[key for key in touched if key not in now],
        upserted=[now[key] for key in touched if key in now],
        states=by_key,
    )
