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


async def test_a_corrected_document_has_no_row_error_any_longer(database: Database) -> None:
    """Not even one that is still to be stored. Other documents keep theirs."""
    notes = RowErrorNotes()
    await render(database, notes, written(1, "large"), written(2, "large"))
    await render(database, notes, written(1, 5))
    ended, found = notes.take()
    assert ended == [("city", "1")]
    assert [each.document_id for each in found] == ["2"]
    assert notes.open_documents["city"] == {"2"}


async def test_an_error_that_comes_back_is_noted_again(database: Database) -> None:
    notes = RowErrorNotes()
    notes.know({"city": ["1"]})
    await render(database, notes, written(1, 5))
    await render(database, notes, written(1, "large"))
    ended, found = notes.take()
    assert ended == [("city", "1")]
    assert [each.document_id for each in found] == ["1"]


async def test_a_deleted_document_has_no_row_error_in_any_table(database: Database) -> None:
    notes = RowErrorNotes()
    notes.know({"city": ["1", "2"], "place": ["1"]})
    await render(database, notes, event(1, 1, operation="delete"))
    assert notes.take() == ([("city", "1"), ("place", "1")], [])


async def test_a_dropped_collection_ends_the_row_errors_of_its_documents(database: Database) -> None:
    notes = RowErrorNotes()
    notes.know({"city": ["1", "2"], "other": ["3"]})
    await render(database, notes, replace(event(1, operation="drop"), document_id=None))
    ended, _ = notes.take()
    assert sorted(ended) == [("city", "1"), ("city", "2")]


async def test_an_update_that_a_table_ignores_ends_no_row_error(database: Database) -> None:
    notes = RowErrorNotes()
    notes.know({"city": ["1"], "place": ["1"]})
    await render(database, notes, written(1, 5, changed=frozenset({"value"})))
    assert notes.take() == ([("place", "1")], [])


def test_what_was_stored_does_not_undo_what_is_pending() -> None:
    notes = RowErrorNotes()
    notes.know({"city": ["1", "2"]})
    notes.end("city", ["1"])
    notes.add([error("3")])
    notes.know({"city": ["1", "2"]})
    assert notes.open_documents == {"city": {"2", "3"}}
