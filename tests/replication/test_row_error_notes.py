"""row_error_notes.py: row errors that are found, and that are over."""

from dataclasses import replace
from typing import Any

from changesource.mongo.assembler import Part
from changesource.mongo.events import ChangeEvent
from changesource.mongo.source import Database
from changesource.replication.renderer import Renderer
from changesource.replication.row_error_notes import RowErrorNotes
from changesource.tables.definition import Column
from changesource.tables.row_errors import RowError
from tests.mongo.builders import event
from tests.simulation.builders import table, version

CITY = version(table("city", Column("size", "number", optional=True)), table("place", collection="city"))


def error(document_id: str, table_name: str = "city") -> RowError:
    return RowError(table_name, document_id, "size", "it does not fit")


async def render(database: Database, notes: RowErrorNotes, *events: ChangeEvent) -> None:
    renderer = Renderer(database, CITY, notes)
    async for _ in renderer.render(Part(events, events[-1].cluster_time)):
        pass


def written(document_id: Any, size: Any, **values: Any) -> ChangeEvent:
    return replace(event(1, document_id), document={"_id": document_id, "size": size}, **values)


async def test_document_that_is_right_again(database: Database) -> None:
    """A document that gives no error any more has none, also not one that is still to be stored; others keep theirs."""
    notes = RowErrorNotes()
    await render(database, notes, written(1, "large"), written(2, "large"))
    await render(database, notes, written(1, 5))
    ended, found = notes.take()
    assert ended == [("city", "1")]
    assert [each.document_id for each in found] == ["2"]
    assert notes.open_documents["city"] == {"2"}


async def test_document_that_is_wrong_again(database: Database) -> None:
    """An error that comes back is one."""
    notes = RowErrorNotes()
    notes.know({"city": ["1"]})
    await render(database, notes, written(1, 5))
    await render(database, notes, written(1, "large"))
    ended, found = notes.take()
    assert ended == [("city", "1")]
    assert [each.document_id for each in found] == ["1"]


async def test_deleted_document(database: Database) -> None:
    """A document that is gone has no error in any table."""
    notes = RowErrorNotes()
    notes.know({"city": ["1", "2"], "place": ["1"]})
    await render(database, notes, event(1, 1, operation="delete"))
    assert notes.take() == ([("city", "1"), ("place", "1")], [])


async def test_dropped_collection(database: Database) -> None:
    """Nor has any document of a collection that was dropped."""
    notes = RowErrorNotes()
    notes.know({"city": ["1", "2"], "other": ["3"]})
    await render(database, notes, replace(event(1, operation="drop"), document_id=None))
    ended, _ = notes.take()
    assert sorted(ended) == [("city", "1"), ("city", "2")]


async def test_update_of_another_field(database: Database) -> None:
    """An update that the table does not look at says nothing about its errors."""
    notes = RowErrorNotes()
    notes.know({"city": ["1"], "place": ["1"]})
    await render(database, notes, written(1, 5, changed=frozenset({"value"})))
    assert notes.take() == ([("place", "1")], [])


def test_what_is_stored_and_what_is_pending() -> None:
    """What is read from the Django DB does not undo what is still to be stored there."""
    notes = RowErrorNotes()
    notes.know({"city": ["1", "2"]})
    notes.end("city", ["1"])
    notes.add([error("3")])
    notes.know({"city": ["1", "2"]})
    assert notes.open_documents == {"city": {"2", "3"}}
