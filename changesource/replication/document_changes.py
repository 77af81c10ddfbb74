"""What changes of documents mean for one table, in as few frames as possible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from changesource.log.filter_values import FilterValues
from changesource.mongo.events import ChangeEvent
from changesource.mql import Budget
from changesource.publishing.compiled import CompiledTableFrames
from changesource.tables.compiled_table import CompiledTable, Document, Row
from changesource.tables.row_changes import row_changes
from changesource.tables.row_errors import RowError


@dataclass(slots=True)
class DocumentChanges:
    """All events of one document in a part, in order. `now` is the document after them, if any."""

    events: list[ChangeEvent] = field(default_factory=list)
    now: Document | None = None

    @property
    def last(self) -> ChangeEvent:
        return self.events[-1]

    @property
    def changed(self) -> frozenset[str] | None:
        """The top-level fields that the events changed together; None for "any"."""
        if len(self.events) == 1:
            return self.events[0].changed
        changed: frozenset[str] = frozenset()
        for event in self.events:
            if event.changed is None:
                return None
            changed |= event.changed
        return changed

    @property
    def is_just_inserted(self) -> bool:
        """Whether the document did not exist before, and the insert is its only event.

        With several events this does not hold, because a replica may have rows of a later moment
        already, if the reader began again: then the outcome of all the events has to be sent.
        """
        (first, *others) = self.events
        return not others and first.is_before_known and first.before is None

    def touching(self, table: CompiledTable) -> list[ChangeEvent]:
        """The events that may have changed the document's rows in `table`."""
        return [event for event in self.events if not table.is_untouched_by(event.changed)]

    def has_pre_images(self, table: CompiledTable) -> bool:
        """Whether every event that matters to `table` tells what the document was before."""
        return all(event.is_before_known for event in self.touching(table))


class RowFrame(NamedTuple):
    """A frame of `table`, with `filter_values` if the table has filter columns and the frame
    concerns particular rows."""

    table: CompiledTable
    frame: bytes
    filter_values: FilterValues | None = None


def frames_by_id(
    table: CompiledTableFrames, document: DocumentChanges, errors: list[RowError], budget: Budget | None = None
) -> list[RowFrame]:
    """Returns the frames for a table whose keys come from `_id`: an upsert of the row as it is now,
    or a delete if there is no row.

    There is no frame for an update that changed no field of the mapping. If there is no row now,
    there is none either for a document that was just inserted, or for an update that changed no
    field which decides whether there is a row. So at least the last event that changed a row sends
    it, and that is enough wherever the reader began.

    Like `CompiledTable.rows`, raises `BudgetExceeded` for a `budget` of the caller; `errors` is
    then unchanged.
    """
    changed = document.changed
    compiled = table.table
    if document.last.operation == "upsert" and compiled.is_untouched_by(changed):
        return []
    errors_before = len(errors)
    rows = compiled.rows(document.now, errors, budget) if document.now is not None else []
    if rows:
        return [RowFrame(compiled, table.frames.upsert(rows[0]))]
    never_had_one = document.is_just_inserted or compiled.is_decided_without(changed)
    if never_had_one and document.now is not None and len(errors) == errors_before:
        return []
    key = compiled.key(document.last.document_id)
    return [] if key is None else [RowFrame(compiled, table.frames.delete(key))]


@dataclass(frozen=True, slots=True)
class RowFrames:
    """Deletes and upserts. All deletes of a table go before its upserts: another document may take
    a key that one gives up."""

    deletes: Sequence[RowFrame] = ()
    upserts: Iterable[RowFrame] = ()
    """An iterable that can be used once. The rows of an array repeat the fields of their document,
    so frames are built lazily."""


def frames_by_pre_images(
    table: CompiledTableFrames, document: DocumentChanges, errors: list[RowError], budget: Budget | None = None
) -> RowFrames:
    """Returns the frames for a table that needs pre-images: one for each row of the document that
    changed.

    A `budget` of the caller covers all states of the document together. Raises `BudgetExceeded` for
    it; `errors` is then unchanged.
    """
    compiled = table.table
    events = document.touching(compiled)
    if not events:
        return RowFrames()
    states = [compiled.rows(event.before, [], budget) if event.before is not None else [] for event in events]
    states.append(compiled.rows(document.now, errors, budget) if document.now is not None else [])
    changes = row_changes(states, compiled.key_of)
    names = compiled.spec.key
    return RowFrames(
        deletes=[
            RowFrame(
                compiled,
                table.frames.delete(dict(zip(names, key, strict=True))),
                _filter_values(compiled, None, changes.earlier(key)) if compiled.filter_columns else None,
            )
            for key in changes.deleted
        ],
        upserts=(
            RowFrame(
                compiled,
                table.frames.upsert(row),
                _filter_values(compiled, row, changes.earlier(compiled.key_of(row)))
                if compiled.filter_columns
                else None,
            )
            for row in changes.upserted
        ),
    )


def frame_of_new_row(table: CompiledTableFrames, row: Row) -> RowFrame:
    """Returns the frame of a row whose key had no row in the table before."""
    compiled = table.table
    values = _filter_values(compiled, row, []) if compiled.filter_columns else None
    return RowFrame(compiled, table.frames.upsert(row), values)


def _filter_values(table: CompiledTable, now: Row | None, before: Iterable[Row]) -> FilterValues:
    seen = [table.filter_values(row) for row in before]
    return FilterValues(
        None if now is None else table.filter_values(now),
        [values for i, values in enumerate(seen) if values not in seen[:i]],
    )
