"""What the changes of documents mean for one table: frames of upserts and deletes, as few as they can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from changesource.log.filter_values import FilterValues
from changesource.mongo.events import ChangeEvent
from changesource.mql.budget import Budget
from changesource.publishing.compiled import CompiledTableFrames
from changesource.tables.compiled_table import CompiledTable, Document, Row
from changesource.tables.row_changes import row_changes
from changesource.tables.row_errors import RowError


@dataclass(slots=True)
class DocumentChanges:
    """All events of one document in a part, in order. `now` is what it is after them, None when it is gone."""

    events: list[ChangeEvent] = field(default_factory=list)
    now: Document | None = None

    @property
    def last(self) -> ChangeEvent:
        return self.events[-1]

    @property
    def changed(self) -> frozenset[str] | None:
        """The top-level fields that all of the events together changed, None for "any"."""
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
        """Whether there was no document before, and nothing else happened to it. A reader that begins again may have rows of
        later moments already: what several events did together has to be sent."""
        (first, *others) = self.events
        return not others and first.is_before_known and first.before is None

    def touching(self, table: CompiledTable) -> list[ChangeEvent]:
        """The events that may have changed the document's rows in `table`; before and after the others they are the same."""
        return [event for event in self.events if not table.is_untouched_by(event.changed)]

    def has_pre_images(self, table: CompiledTable) -> bool:
        """Whether all is known that the rows of `table` need."""
        return all(event.is_before_known for event in self.touching(table))


class RowFrame(NamedTuple):
    """A frame of `table`. `filter_values` if the table has filter columns; None then for a frame about all its rows."""

    table: CompiledTable
    frame: bytes
    filter_values: FilterValues | None = None


def frames_by_id(
    table: CompiledTableFrames, document: DocumentChanges, errors: list[RowError], budget: Budget | None = None
) -> list[RowFrame]:
    """For a table whose keys come from `_id`: the row as it is now, or the removal of the row where there is none.

    Nothing for an update that changed no field of the mapping; nor, where there is no row now, for a document that was just
    inserted and for an update that changed no field which decides whether there is one. Each row is so at least sent by
    the last event that changed it, which is enough wherever one began.

    As `CompiledTable.rows`, raises `BudgetExceeded` for a `budget` of the caller, and has then added nothing to `errors`.
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
    """Removals, which all go before any upsert of the table: a key that one document gives up may be taken by another."""

    deletes: Sequence[RowFrame] = ()
    upserts: Iterable[RowFrame] = ()
    """To be gone through once: rows of an array repeat what they have of their document, and their frames hold that each."""


def frames_by_pre_images(
    table: CompiledTableFrames, document: DocumentChanges, errors: list[RowError], budget: Budget | None = None
) -> RowFrames:
    """For a table that needs pre-images: the rows of the document that changed.

    A `budget` of the caller is for all states of the document together. Raises `BudgetExceeded` for it, and has then added
    nothing to `errors`.
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
    """A row of a table that had no row with its key."""
    compiled = table.table
    values = _filter_values(compiled, row, []) if compiled.filter_columns else None
    return RowFrame(compiled, table.frames.upsert(row), values)


def _filter_values(table: CompiledTable, now: Row | None, before: Iterable[Row]) -> FilterValues:
    seen = [table.filter_values(row) for row in before]
    return FilterValues(
        None if now is None else table.filter_values(now),
        [values for i, values in enumerate(seen) if values not in seen[:i]],
    )
