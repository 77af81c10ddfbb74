"""renderer.py: what events become, with documents looked up in the embedded MongoDB."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from changesource import tasks
from changesource.mongo.assembler import Part
from changesource.mongo.events import ChangeEvent
from changesource.mongo.markers import MARKERS_COLLECTION
from changesource.mongo.pre_images import collections_without_pre_images
from changesource.mongo.source import Database, current_cluster_time
from changesource.mql.bson_types import Undecodable
from changesource.mql.budget import Budget
from changesource.replication import renderer
from changesource.replication.document_changes import DocumentChanges, frames_by_id
from changesource.replication.renderer import Chunk, Renderer
from changesource.replication.row_error_notes import RowErrorNotes
from changesource.tables.definition import Column
from changesource.tables.document_ids import identity_of
from changesource.tables.row_errors import RowError
from tests.mongo.builders import BEGIN, event
from tests.mongo.failing import fail_commands
from tests.simulation.builders import APP_ID, table, version
from tests.simulation.mapped_tables import (
    BY_CODE,
    BY_ELEMENT,
    BY_INDEX,
    BY_TAG,
    COLLECTION,
    FILTERED,
    NESTED,
    PIPELINE,
    MappedReplica,
    mapped,
)
from tests.simulation.replica import frame_summary
from zerosources.embedded.servers import MongoServer

CITY = table("city")


class Rendered:
    """All chunks of a part, together."""

    def __init__(self, chunks: Sequence[Chunk], errors: list[RowError]) -> None:
        self.chunks = chunks
        self.errors = errors
        self.frames = [(name, frame) for chunk in chunks for name, frames in chunk.frames.items() for frame in frames]
        self.changes = [(name, *frame_summary(frame)) for name, frame in self.frames]
        self.markers = [nonce for chunk in chunks for nonce in chunk.markers]


async def render(database: Database, *events: ChangeEvent, tables: Any = (CITY,), is_final: bool = True) -> Rendered:
    errors: list[RowError] = []
    renderer = Renderer(database, version(*tables), errors.extend)
    part = Part(events, events[-1].cluster_time if events else BEGIN, is_final=is_final)
    return Rendered([chunk async for chunk in renderer.render(part)], errors)


def upserted(number: Any, value: Any, **values: Any) -> ChangeEvent:
    """An event that says what its document is now."""
    return replace(event(1, number, **values), document={"_id": number, "value": value})


def updated(number: Any, **values: Any) -> ChangeEvent:
    """An event that does not: the document has to be looked up."""
    return event(1, number, **values)


def deleted(number: Any, **values: Any) -> ChangeEvent:
    return event(1, number, operation="delete", **values)


async def test_document_in_the_event(database: Database) -> None:
    """A document that its event carries is not looked up."""
    found = await render(database, upserted(1, "x"))
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"x"'})]


async def test_look_up(database: Database) -> None:
    """A document that its event does not carry is as it is now."""
    await database.city.insert_one({"_id": 1, "value": "now"})
    found = await render(database, updated(1))
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"now"'})]


async def test_look_up_of_a_vanished_document(database: Database) -> None:
    """A document that is gone when it is looked up is a removed row."""
    found = await render(database, updated(1))
    assert found.changes == [("city", "delete", {"_id": "1"})]


async def test_many_look_ups(database: Database) -> None:
    """More documents than one look-up asks for are all found."""
    await database.city.insert_many([{"_id": number, "value": number} for number in range(1200)])
    found = await render(database, *(updated(number) for number in range(1200)))
    assert found.changes == [("city", "insert", {"_id": str(number), "value": str(number)}) for number in range(1200)]


async def test_look_ups_of_large_documents(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small updates of large documents are rendered as their documents are found, which are let go again."""
    await database.city.insert_many([{"_id": number, "value": "x" * 5 * 2**20} for number in range(7)])
    rendered: dict[int, DocumentChanges] = {}  # a slow document is begun in the loop and made by a thread

    def noted(table: Any, document: DocumentChanges, *rest: Any) -> Any:
        rendered[id(document)] = document
        return frames_by_id(table, document, *rest)

    monkeypatch.setattr(renderer, "frames_by_id", noted)
    events = [updated(number) for number in range(7)]
    async for _ in Renderer(database, version(CITY), [].extend).render(Part(events, events[-1].cluster_time)):
        assert sum(document.now is not None for document in rendered.values()) <= 1
    assert len(rendered) == 7


async def test_collapse(database: Database) -> None:
    """Several events on one document become its last state, in the place of its last event."""
    found = await render(database, upserted(1, "a"), upserted(2, "b"), upserted(1, "c"))
    assert found.changes == [
        ("city", "insert", {"_id": "2", "value": '"b"'}),
        ("city", "insert", {"_id": "1", "value": '"c"'}),
    ]


async def test_update_and_delete(database: Database) -> None:
    """A document that is deleted after an update is a removed row, and is not looked up."""
    await database.city.insert_one({"_id": 1, "value": "again there"})
    found = await render(database, updated(1), deleted(1))
    assert found.changes == [("city", "delete", {"_id": "1"})]


async def test_delete_and_insert(database: Database) -> None:
    """A document that comes back is a row."""
    found = await render(database, deleted(1), upserted(1, "back"))
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"back"'})]


async def test_insert_and_update(database: Database) -> None:
    """A later look-up counts, not what an earlier event said."""
    await database.city.insert_one({"_id": 1, "value": "now"})
    found = await render(database, upserted(1, "then"), updated(1))
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"now"'})]


async def test_two_tables_of_one_collection(database: Database) -> None:
    """Each table of a collection gets its row."""
    tables = [table("city"), table("name", Column("name", "string", optional=True), collection="city")]
    found = await render(
        database, replace(event(1, 1), document={"_id": 1, "value": 2, "name": "Bern"}), deleted(2), tables=tables
    )
    assert found.changes == [
        ("city", "insert", {"_id": "1", "value": "2"}),
        ("city", "delete", {"_id": "2"}),
        ("name", "insert", {"_id": "1", "name": "Bern"}),
        ("name", "delete", {"_id": "2"}),
    ]


async def test_other_collections(database: Database) -> None:
    """Collections without a table give nothing; the part still gives its chunk."""
    found = await render(database, upserted(1, "x", collection="elsewhere"))
    assert found.changes == []
    assert [chunk.is_final for chunk in found.chunks] == [True]


async def test_empty_part(database: Database) -> None:
    """A part that only ends a transaction gives an empty final chunk."""
    found = await render(database)
    assert (found.changes, [chunk.is_final for chunk in found.chunks]) == ([], [True])


# Whole collections


async def test_drop(database: Database) -> None:
    """A dropped collection empties its tables; what came before it in the part is left out, what came after follows."""
    found = await render(database, upserted(1, "a"), drop(), upserted(2, "b"))
    assert found.changes == [("city", "truncate", None), ("city", "insert", {"_id": "2", "value": '"b"'})]


def drop(collection: str = "city", renamed_to: str | None = None) -> ChangeEvent:
    dropped = event(1, operation="drop", collection=collection)
    return replace(dropped, document_id=None, renamed_to=renamed_to)


async def test_drop_of_another_collection(database: Database) -> None:
    """A dropped collection touches no other."""
    tables = [table("city"), table("river")]
    found = await render(database, upserted(1, "a"), drop("river"), tables=tables)
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"a"'}), ("river", "truncate", None)]


async def test_rename_away(database: Database) -> None:
    """A collection that is renamed to one without a table empties its tables."""
    found = await render(database, upserted(1, "a"), drop(renamed_to="elsewhere"))
    assert found.changes == [("city", "truncate", None)]


async def test_rename_to_a_collection_with_a_table(database: Database) -> None:
    """The tables of the new name are emptied and loaded from the collection, and go on with later events."""
    await database.city.insert_many([{"_id": 1, "value": "one"}, {"_id": 2, "value": "two"}])
    found = await render(database, upserted(9, "old"), drop("elsewhere", "city"), upserted(2, "newer"))
    assert found.changes == [
        ("city", "truncate", None),
        ("city", "insert", {"_id": "1", "value": '"one"'}),
        ("city", "insert", {"_id": "2", "value": '"two"'}),
        ("city", "insert", {"_id": "2", "value": '"newer"'}),
    ]


async def test_rename_between_collections_with_tables(database: Database) -> None:
    """The tables of the old name are emptied, those of the new one loaded."""
    await database.river.insert_one({"_id": 1, "value": "one"})
    tables = [table("city"), table("river")]
    found = await render(database, drop("city", "river"), tables=tables)
    assert found.changes == [
        ("city", "truncate", None),
        ("river", "truncate", None),
        ("river", "insert", {"_id": "1", "value": '"one"'}),
    ]


async def test_invalidate(database: Database) -> None:
    """The end of the stream that a dropped database makes says nothing of its own."""
    gone = replace(event(1, operation="invalidate", collection=""), document_id=None)
    assert (await render(database, gone)).changes == []


# Rows that cannot be built

STRICT = table("city", Column("value", "number"), Column("note", "number", optional=True))


async def test_row_that_no_longer_fits(database: Database) -> None:
    """A document that gives no row any more removes the row that it gave, and is an error that can be read."""
    found = await render(database, upserted(1, "secret"), tables=[STRICT])
    assert found.changes == [("city", "delete", {"_id": "1"})]
    (error,) = found.errors
    assert (error.table, error.document_id, error.column) == ("city", "1", "value")
    assert "secret" not in error.reason


async def test_optional_value_that_does_not_fit(database: Database) -> None:
    """A value that does not fit is null where it may be, and an error."""
    document = {"_id": 1, "value": 5, "note": "secret"}
    found = await render(database, replace(event(1, 1), document=document), tables=[STRICT])
    assert found.changes == [("city", "insert", {"_id": "1", "value": 5, "note": None})]
    assert [(error.document_id, error.column) for error in found.errors] == [("1", "note")]


async def test_document_without_a_key(database: Database) -> None:
    """A document whose _id has no form in the key's column gives neither a row nor a removal."""
    number_key = table("city", id_type="number")
    found = await render(database, upserted("x", 1), deleted("y"), tables=[number_key])
    assert found.changes == []
    assert [error.document_id for error in found.errors] == ["x"]


async def test_errors_of_a_reload(database: Database) -> None:
    """Rows that cannot be built are found while a collection is loaded too, and do not stop it."""
    await database.city.insert_many([{"_id": 1, "value": "x"}, {"_id": 2, "value": 2}])
    found = await render(database, drop("elsewhere", "city"), tables=[STRICT])
    assert found.changes == [
        ("city", "truncate", None),
        ("city", "insert", {"_id": "2", "value": 2, "note": None}),
    ]
    assert [error.document_id for error in found.errors] == ["1"]


# Fields that no row depends on


def touching(number: Any, *names: str, **document: Any) -> ChangeEvent:
    """An update of these fields; with what the document is now, if that is given."""
    return replace(
        event(1, number), changed=frozenset(names), document={"_id": number, **document} if document else None
    )


def reload_of(name: str, *rows: Any) -> list[Any]:
    return [(name, "truncate", None), *((name, "insert", row) for row in rows)]


async def test_update_of_fields_without_a_column(database: Database) -> None:
    """It is nothing, and its document is not looked up: a look-up would find nothing, and remove the row."""
    assert (await render(database, touching(1, "secret"))).changes == []


async def test_updates_of_fields_with_and_without_a_column(database: Database) -> None:
    """One that touches a column among others is a row."""
    found = await render(database, touching(1, "value", value=1, secret=1), touching(1, "secret", value=1, secret=2))
    assert found.changes == [("city", "insert", {"_id": "1", "value": "1"})]


async def test_delete_after_an_update_of_fields_without_a_column(database: Database) -> None:
    """A delete is one, whatever came before."""
    assert (await render(database, touching(1, "secret"), deleted(1))).changes == [("city", "delete", {"_id": "1"})]


async def test_vanished_document_of_which_a_column_changed(database: Database) -> None:
    """It is removed at once, although no field of a filter changed."""
    assert (await render(database, touching(1, "value"))).changes == [("city", "delete", {"_id": "1"})]


async def test_misfit_in_an_update(database: Database) -> None:
    """A row that can no longer be built is removed, although no field of a filter changed."""
    found = await render(database, touching(1, "value", value="x"), tables=[STRICT])
    assert found.changes == [("city", "delete", {"_id": "1"})]


# Filters

RED = mapped("red", {"filter": {"color": "red"}}, Column("size", "number", optional=True))
BLUE = mapped("blue", {"filter": {"color": "blue"}}, Column("size", "number", optional=True))


def of_thing(found: ChangeEvent) -> ChangeEvent:
    return replace(found, collection=COLLECTION)


async def test_document_that_changes_tables(database: Database) -> None:
    """It leaves one and enters the other, in one transaction."""
    entered = of_thing(touching("x", "color", color="blue", size=1))
    found = await render(database, entered, tables=[RED, BLUE])
    assert found.changes == [("red", "delete", {"_id": "x"}), ("blue", "insert", {"_id": "x", "size": 1})]
    assert len(found.chunks) == 1


async def test_update_beside_the_filter(database: Database) -> None:
    """Where a document did not match and the filter's fields did not change, there is nothing to remove."""
    updated = of_thing(touching("x", "size", color="blue", size=2))
    found = await render(database, updated, tables=[RED, BLUE])
    assert found.changes == [("blue", "insert", {"_id": "x", "size": 2})]


async def test_replaced_document_that_does_not_match(database: Database) -> None:
    """Where it is not known what changed, the row that it may have had is removed."""
    found = await render(database, of_thing(upserted("x", 1)), tables=[RED])
    assert found.changes == [("red", "delete", {"_id": "x"})]


async def test_computed_key(database: Database) -> None:
    """The row of a document that is gone is known by the key that its _id gives."""
    found = await render(database, of_thing(deleted("x")), tables=[PIPELINE])
    assert found.changes == [("pipeline", "delete", {"_id": "u-x"})]


# Arrays


def item(number: int) -> dict[str, Any]:
    return {"id": f"i{number}", "q": number}


def changing(before: dict[str, Any] | None, now: dict[str, Any] | None, *changed: str) -> ChangeEvent:
    """A document of `COLLECTION` from one state to another, with both images."""
    document_id = (before or now or {})["_id"]
    return replace(
        event(1, document_id, collection=COLLECTION, operation="upsert" if now else "delete"),
        document=now,
        before=before,
        is_before_known=True,
        changed=frozenset(changed) if changed else None,
    )


async def test_one_element_of_a_large_array(database: Database) -> None:
    """Is one row, and no other of them is sent again."""
    before = {"_id": "x", "items": [item(number) for number in range(1000)]}
    now = {"_id": "x", "items": [*before["items"][:500], {"id": "i500", "q": -1}, *before["items"][501:]]}
    found = await render(database, changing(before, now, "items"), tables=[BY_INDEX])
    assert found.changes == [("by_index", "insert", {"_id": "x-500", "q": -1, "name": None})]


async def test_large_arrays_hold_up_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others on the loop have their turn between documents that take long enough."""
    monkeypatch.setattr(tasks, "YIELD_SECONDS", 0.0)
    documents = [{"_id": f"x{number}", "items": [item(index) for index in range(500)]} for number in range(20)]
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await render(
        database, *(changing(document, {**document, "items": []}, "items") for document in documents), tables=[BY_INDEX]
    )
    other.cancel()
    assert turns >= len(documents)


async def test_documents_that_are_rendered_beside_the_loop(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames and errors are the same, in the same order, whichever documents take more than a quick budget."""
    documents = [{"_id": f"x{n}", "kind": "a", "items": [item(i) for i in range(n * 40)]} for n in range(8)]
    events = [
        changing(
            document, {**document, "items": [{"id": f"new-{document['_id']}"}, *document["items"][: 3 * n]]}, "items"
        )
        for n, document in enumerate(documents)
    ]
    tables = [BY_ELEMENT, BY_INDEX, FILTERED]
    wanted = await render(database, *events, tables=tables)
    assert len(wanted.errors) == len(documents)
    for steps in (0, 300, 2_000):
        monkeypatch.setattr(renderer.Budget, "quick", lambda steps=steps: Budget(steps=steps))
        found = await render(database, *events, tables=tables)
        assert found.frames == wanted.frames
        assert found.errors == wanted.errors


async def test_an_entry_has_few_enough_frames(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session goes through all frames of an entry at once."""
    monkeypatch.setattr(renderer, "MAX_CHUNK_ROWS", 10)
    found = await render(database, *(upserted(number, "x") for number in range(25)))
    assert [chunk.rows for chunk in found.chunks] == [10, 10, 5]
    assert [chunk.is_final for chunk in found.chunks] == [False, False, True]


async def test_element_taken_out(database: Database) -> None:
    """With keys of their own one row goes; with keys by index all behind it change, and the last one goes."""
    before = {"_id": "x", "kind": "a", "items": [item(number) for number in range(4)]}
    now = {**before, "items": [item(number) for number in (0, 2, 3)]}
    found = await render(database, changing(before, now, "items"), tables=[BY_ELEMENT, BY_INDEX])
    assert found.changes == [
        ("by_element", "delete", {"_id": "i1"}),
        ("by_index", "delete", {"_id": "x-3"}),
        ("by_index", "insert", {"_id": "x-1", "q": 2, "name": None}),
        ("by_index", "insert", {"_id": "x-2", "q": 3, "name": None}),
    ]


async def test_deleted_parent(database: Database) -> None:
    """All of its rows go."""
    before = {"_id": "x", "items": [item(number) for number in range(3)]}
    found = await render(database, changing(before, None), tables=[BY_INDEX])
    assert found.changes == [("by_index", "delete", {"_id": f"x-{number}"}) for number in range(3)]


async def test_parent_that_comes(database: Database) -> None:
    """All of its rows come, and an insert needs no pre-image."""
    found = await render(database, changing(None, {"_id": "x", "items": [item(1)]}), tables=[BY_INDEX])
    assert found.changes == [("by_index", "insert", {"_id": "x-0", "q": 1, "name": None})]


async def test_column_of_the_parent_in_every_row(database: Database) -> None:
    """A change of it changes all of them."""
    before = {"_id": "x", "name": "a", "items": [item(0), item(1)]}
    found = await render(database, changing(before, {**before, "name": "b"}, "name"), tables=[BY_INDEX])
    assert [change[2]["name"] for change in found.changes] == ["b", "b"]


async def test_parent_that_is_left_out_by_its_filter(database: Database) -> None:
    """All rows of its elements go."""
    before = {"_id": "x", "kind": "a", "items": [item(0), item(1)]}
    found = await render(database, changing(before, {**before, "kind": 7}, "kind"), tables=[BY_ELEMENT])
    assert found.changes == [("by_element", "delete", {"_id": "i0"}), ("by_element", "delete", {"_id": "i1"})]


async def test_array_and_a_field_that_no_row_shows(database: Database) -> None:
    """An update of the latter is nothing, also without a pre-image."""
    updated = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"unpublished"}))
    assert (await render(database, updated, tables=[BY_INDEX, NESTED])).changes == []


async def test_element_that_was_changed_and_changed_back(database: Database) -> None:
    """Its row is sent: an earlier look-up may have seen it in between."""
    before, between = ({"_id": "x", "items": [item(number)]} for number in (1, 2))
    events = changing(before, between, "items"), changing(between, before, "items")
    found = await render(database, *events, tables=[BY_INDEX])
    assert found.changes == [("by_index", "insert", {"_id": "x-0", "q": 1, "name": None})]


async def test_key_that_goes_from_one_document_to_another(database: Database) -> None:
    """In one transaction, in whatever order: the removal comes first."""
    gives = changing({"_id": "x", "code": "c"}, {"_id": "x", "code": "d"}, "code")
    takes = changing({"_id": "y", "code": "e"}, {"_id": "y", "code": "c", "name": "new"}, "code", "name")
    for events in ((gives, takes), (takes, gives)):
        replica = MappedReplica(version(BY_CODE))
        found = await render(database, *events, tables=[BY_CODE])
        for frame in found.frames:
            replica.apply(*frame)
        assert set(replica.tables["by_code"]) == {("c",), ("d",)}
        assert replica.tables["by_code"]["c",]["name"] == "new"


async def test_missing_pre_image(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """The table is loaded again, and the collection records them from then on; tables that need none go on."""
    await database[COLLECTION].insert_many([{"_id": "x", "items": [item(1)]}, {"_id": "y", "items": [item(2)]}])
    updated = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))
    found = await render(database, updated, tables=[BY_INDEX, FILTERED])
    first = {"_id": "x-0", "q": 1, "name": None}
    assert found.changes == reload_of("by_index", first, {"_id": "y-0", "q": 2, "name": None})
    assert "without a pre-image" in caplog.text
    assert await collections_without_pre_images(database, [COLLECTION]) == []


async def test_missing_pre_images_of_before_and_after(database: Database) -> None:
    """Events of before the collection recorded them again are no reason to switch them on once more, later ones are."""
    await database[COLLECTION].insert_one({"_id": "x", "items": [item(1)]})
    renderer = Renderer(database, version(BY_INDEX), [].extend)
    of_before = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))

    async def is_recording_after(lacking: ChangeEvent) -> bool:
        await database.command({"collMod": COLLECTION, "changeStreamPreAndPostImages": {"enabled": False}})
        chunks = [chunk async for chunk in renderer.render(Part([lacking], lacking.cluster_time))]
        assert [table for chunk in chunks for table in chunk.frames] == ["by_index"]
        return await collections_without_pre_images(database, [COLLECTION]) == []

    assert await is_recording_after(of_before)
    assert not await is_recording_after(of_before)
    assert await is_recording_after(replace(of_before, cluster_time=await current_cluster_time(database)))


async def test_missing_pre_image_and_no_right_to_have_more(
    mongo_server: MongoServer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is loaded again all the same, and what to run is said."""
    await database[COLLECTION].insert_one({"_id": "x", "items": [item(1)]})
    updated = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))
    async with fail_commands(mongo_server, "collMod", errorCode=13):
        found = await render(database, updated, tables=[BY_INDEX])
    assert found.changes == reload_of("by_index", {"_id": "x-0", "q": 1, "name": None})
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "collMod" in caplog.text


async def test_missing_pre_image_of_a_collection_that_is_gone(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not made, and nothing is promised for what is not there."""
    updated = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))
    assert (await render(database, updated, tables=[BY_INDEX])).changes == reload_of("by_index")
    assert "The collection has been dropped since." in caplog.text
    assert COLLECTION not in await database.list_collection_names()


async def test_pre_image_that_is_missing_of_one_event_among_others(database: Database) -> None:
    """Is missing, also when a later one is there."""
    await database[COLLECTION].insert_one({"_id": "x", "items": []})
    unknown = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))
    known = changing({"_id": "x", "items": [item(1)]}, {"_id": "x", "items": []}, "items")
    assert (await render(database, unknown, known, tables=[BY_INDEX])).changes == reload_of("by_index")


async def test_dropped_collection_of_an_array(database: Database) -> None:
    """Empties the table; documents that come afterwards are there."""
    gone = replace(drop(COLLECTION))
    before = changing({"_id": "x", "items": [item(1)]}, {"_id": "x", "items": [item(2)]}, "items")
    found = await render(database, before, gone, changing(None, {"_id": "y", "items": [item(3)]}), tables=[BY_INDEX])
    assert found.changes == reload_of("by_index", {"_id": "y-0", "q": 3, "name": None})


async def test_repeated_key_in_a_document(database: Database) -> None:
    """The first of the rows stays; what was said of a state before is not said again."""
    before = {"_id": "x", "tags": ["red", "red"], "n": 1}
    found = await render(database, changing(before, {**before, "n": 2}, "n"), tables=[BY_TAG])
    assert found.changes == [("by_tag", "insert", {"_id": "x", "tag": "red", "n": 2})]
    assert [error.column for error in found.errors] == ["_id, tag"]


# Chunks


async def test_chunks(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part with many bytes comes in several chunks, the last of which ends it."""
    monkeypatch.setattr(renderer, "MAX_CHUNK_BYTES", 1000)
    found = await render(database, *(upserted(number, "x" * 100) for number in range(20)))
    assert len(found.chunks) > 2
    assert all(chunk.size < 1500 for chunk in found.chunks)
    assert [chunk.is_final for chunk in found.chunks] == [False] * (len(found.chunks) - 1) + [True]
    assert len(found.changes) == 20


async def test_chunks_of_a_part_that_is_not_final(database: Database) -> None:
    """A part that does not end its transaction gives no final chunk."""
    found = await render(database, upserted(1, "x"), is_final=False)
    assert [chunk.is_final for chunk in found.chunks] == [False]


# Markers


ONE, TWO = "1" * 32, "2" * 32


def marker(nonce: str, app_id: str = APP_ID) -> ChangeEvent:
    document = {"_id": f"barrier:{app_id}", "app": app_id, "nonce": nonce}
    return replace(event(1, collection=MARKERS_COLLECTION), document=document)


async def test_markers(database: Database) -> None:
    """Markers of the app are named in the order in which they were met, and are no rows."""
    found = await render(database, marker(ONE), upserted(1, 1), marker(TWO))
    assert found.markers == [ONE, TWO]
    assert [change[0] for change in found.changes] == ["city"]


async def test_markers_of_other_apps(database: Database) -> None:
    """Markers of other apps, and what is none, are passed over."""
    no_marker = replace(marker(ONE), document={"_id": 1, "app": APP_ID, "nonce": 5})
    gone = replace(marker(ONE), document=None)
    found = await render(database, marker(ONE, "other"), no_marker, gone)
    assert found.markers == []


# Identity

IDS = [
    1,
    True,
    "1",
    1.5,
    Int64(7),
    False,
    0,
    ObjectId("0123456789abcdef01234567"),
    "0123456789abcdef01234567",
    Binary.from_uuid(UUID(int=1)),
    b"1",
    Decimal128("2"),
    {"a": 1},
    {"a": True},
]


async def test_ids_that_python_holds_for_equal(database: Database) -> None:
    """Each document is found by its own _id, where Python takes 1 and True for the same key."""
    await database.city.insert_many([{"_id": found, "value": number} for number, found in enumerate(IDS)])
    found = await render(database, *(updated(found) for found in IDS))
    assert [change[2]["value"] for change in found.changes] == [str(number) for number in range(len(IDS))]


@given(st.permutations(IDS))
def test_identities(ids: list[Any]) -> None:
    """Different ids have different identities, and each is equal to itself."""
    identities = [identity_of(found) for found in ids]
    assert len(set(identities)) == len(IDS)
    assert identities == [identity_of(found) for found in ids]


FORMS = [70, Int64(70), 70.0, Decimal128("70.0")]
"""One `_id` for MongoDB. A replacement may put one in place of another, and its event has the new one alone."""


@pytest.mark.parametrize("id_type", ["string", "number"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", FORMS)
async def test_an_id_in_another_form(database: Database, before: Any, form: Any, id_type: str) -> None:
    """A document that is updated and then replaced with its `_id` in another form keeps its one row, whether the events come
    together or not; and so does one that is looked up by the former."""
    await database.city.insert_one({"_id": form, "value": 2})
    tables = [table("city", id_type=id_type)]
    key = "70" if id_type == "string" else 70
    row = ("city", "insert", {"_id": key, "value": "2"})
    assert (await render(database, updated(before), upserted(form, 2), tables=tables)).changes == [row]
    assert (await render(database, updated(before), tables=tables)).changes == [row]
    assert (await render(database, upserted(before, 2), tables=tables)).changes == [row]
    gone = await render(database, upserted(before, 1), deleted(form), tables=tables)
    assert gone.changes == [("city", "delete", {"_id": key})]


async def test_ids_that_are_not_utf8(database: Database) -> None:
    """Two that differ in bytes that are no text are two documents, without rows; the row error of an updated one stays."""
    one, other = Undecodable(b"a\xff"), Undecodable(b"a\xfe")
    found = await render(database, upserted(one, 1), upserted("b", 2), upserted(other, 3), updated(one), deleted(other))
    assert [change[2]["_id"] for change in found.changes] == ["b"]
    notes = RowErrorNotes()
    renderer = Renderer(database, version(CITY), notes)
    for event_of_one in (upserted(one, 1), updated(one)):
        _ = [chunk async for chunk in renderer.render(Part([event_of_one], BEGIN))]
        assert notes.open_documents["city"] == {r"Undecodable(b'a\xff')"}
    _ = [chunk async for chunk in renderer.render(Part([deleted(one)], BEGIN))]
    assert not notes.open_documents["city"]


async def test_new_document_that_does_not_match(database: Database) -> None:
    """A document that is new and that no table wants is nothing to remove; one that comes back after a delete is."""
    new = replace(of_thing(upserted("x", 1)), is_before_known=True)
    found = await render(database, new, tables=[RED])
    assert found.changes == []
    found = await render(database, of_thing(deleted("x")), new, tables=[RED])
    assert found.changes == [("red", "delete", {"_id": "x"})]
