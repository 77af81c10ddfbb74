"""What the changes of documents mean for one table: frames of upserts and deletes, as few as they can be."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from changesource.mapping.row_changes import row_changes
from changesource.mapping.row_errors import RowError
from changesource.mapping.tables import CompiledTable, Document
from changesource.mongo.events import ChangeEvent
from changesource.publishing.compiled import CompiledTableFrames


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

    def touching(self, table: CompiledTable) -> list[ChangeEvent]:
        """The events that may have changed the document's rows in `table`; before and after the others they are the same."""
        return [event for event in self.events if not table.is_untouched_by(event.changed)]

    def has_pre_images(self, table: CompiledTable) -> bool:
        """Whether all is known that the rows of `table` need."""
        return all(event.is_before_known for event in self.touching(table))


def frames_by_id(table: CompiledTableFrames, document: DocumentChanges, errors: list[RowError]) -> Iterator[bytes]:
    """For a table whose keys come from `_id`: the row as it is now, or the removal of the row where there is none.

    Nothing for an update that changed no field of the mapping, or none that decides whether there is a row, where there
    is none now. Each row is so at least sent by the last event that changed it, which is enough wherever one began.
    """
    changed = document.changed
    compiled = table.table
    if document.last.operation == "upsert" and compiled.is_untouched_by(changed):
        return
    errors_before = len(errors)
    rows = compiled.rows(document.now, errors) if document.now is not None else []
    if rows:
        yield table.frames.upsert(rows[0])
        return
    never_had_one = len(errors) == errors_before and compiled.is_decided_without(changed)
    if never_had_one and document.now is not None:
        return
    key = compiled.key(document.last.document_id)
    if key is not None:
        yield table.frames.delete(key)


def frames_by_pre_images(
    table: CompiledTableFrames, documents: Collection[DocumentChanges], errors: list[RowError]
) -> list[bytes]:
    """For a table that needs pre-images: the rows that changed. All removals come first, since a key that one document gives
    up may be taken by another."""
    compiled = table.table
    deletes: list[bytes] = []
    upserts: list[bytes] = []
    for document in documents:
        events = document.touching(compiled)
        if not events:
            continue
        states = [compiled.rows(event.before, []) if event.before is not None else [] for event in events]
        states.append(compiled.rows(document.now, errors) if document.now is not None else [])
        changes = row_changes(states, compiled.key_of)
        names = compiled.spec.key
        deletes += [table.frames.delete(dict(zip(names, key, strict=True))) for key in changes.deleted]
        upserts += map(table.frames.upsert, changes.upserted)
    return deletes + upserts
