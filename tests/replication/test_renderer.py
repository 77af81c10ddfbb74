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
from changesource.replication.renderer import EntryContent, Renderer
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
from tests.simulation.row_errors import FoundErrors
from zerosources.embedded.servers import MongoServer

CITY = table("city")


class Rendered:
    """The contents of all entries of a part, together."""

    def __init__(self, contents: Sequence[EntryContent], errors: list[RowError]) -> None:
        self.contents = contents
        self.errors = errors
        self.frames = [
            (name, frame) for content in contents for name, frames in content.frames.items() for frame in frames
        ]
        self.changes = [(name, *frame_summary(frame)) for name, frame in self.frames]
        self.markers = [nonce for content in contents for nonce in content.markers]


async def render(database: Database, *events: ChangeEvent, tables: Any = (CITY,), is_final: bool = True) -> Rendered:
    errors = FoundErrors()
    renderer = Renderer(database, version(*tables), errors)
    part = Part(events, events[-1].cluster_time if events else BEGIN, is_final=is_final)
    return Rendered([content async for content in renderer.render(part)], errors)


def upserted(number: Any, value: Any, **values: Any) -> ChangeEvent:
    """Returns an event that carries its document."""
    return replace(event(1, number, **values), document={"_id": number, "value": value})


def updated(number: Any, **values: Any) -> ChangeEvent:
    """Returns an event that does not carry its document, which has to be looked up."""
    return event(1, number, **values)


def deleted(number: Any, **values: Any) -> ChangeEvent:
    return event(1, number, operation="delete", **values)


async def test_a_document_that_its_event_carries_is_not_looked_up(database: Database) -> None:
    found = await render(database, upserted(1, "x"))
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"x"'})]


async def test_a_document_that_is_looked_up_is_as_it_is_now(database: Database) -> None:
    await database.city.insert_one({"_id": 1, "value": "now"})
    found = await render(database, updated(1))
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"now"'})]


async def test_a_document_that_vanished_before_the_look_up_is_a_delete(database: Database) -> None:
    found = await render(database, updated(1))
    assert found.changes == [("city", "delete", {"_id": "1"})]


async def test_more_documents_than_one_look_up_requests_are_found(database: Database) -> None:
    await database.city.insert_many([{"_id": number, "value": number} for number in range(1200)])
    found = await render(database, *(updated(number) for number in range(1200)))
    assert found.changes == [("city", "insert", {"_id": str(number), "value": str(number)}) for number in range(1200)]


async def test_documents_that_are_looked_up_are_not_held_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small updates may concern large documents. They are rendered as they are found."""
    await database.city.insert_many([{"_id": number, "value": "x" * 5 * 2**20} for number in range(7)])
    rendered: dict[int, DocumentChanges] = {}  # rows of a slow document are begun in the loop and made by a thread

    def noted(table: Any, document: DocumentChanges, *rest: Any) -> Any:
        rendered[id(document)] = document
        return frames_by_id(table, document, *rest)

    monkeypatch.setattr(renderer, "frames_by_id", noted)
    events = [updated(number) for number in range(7)]
    async for _ in Renderer(database, version(CITY), FoundErrors()).render(Part(events, events[-1].cluster_time)):
        assert sum(document.now is not None for document in rendered.values()) <= 1
    assert len(rendered) == 7


async def test_several_events_of_a_document_become_its_last_state(database: Database) -> None:
    """In the place of its last event."""
    found = await render(database, upserted(1, "a"), upserted(2, "b"), upserted(1, "c"))
    assert found.changes == [
        ("city", "insert", {"_id": "2", "value": '"b"'}),
        ("city", "insert", {"_id": "1", "value": '"c"'}),
    ]


async def test_a_delete_after_an_update_needs_no_look_up(database: Database) -> None:
    await database.city.insert_one({"_id": 1, "value": "again there"})
    found = await render(database, updated(1), deleted(1))
    assert found.changes == [("city", "delete", {"_id": "1"})]


async def test_an_insert_after_a_delete_is_a_row(database: Database) -> None:
    found = await render(database, deleted(1), upserted(1, "back"))
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"back"'})]


async def test_a_look_up_counts_more_than_an_earlier_event(database: Database) -> None:
    await database.city.insert_one({"_id": 1, "value": "now"})
    found = await render(database, upserted(1, "then"), updated(1))
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"now"'})]


async def test_each_table_of_a_collection_gets_its_row(database: Database) -> None:
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


async def test_collections_without_a_table_give_no_frames(database: Database) -> None:
    """The part still gives one entry."""
    found = await render(database, upserted(1, "x", collection="elsewhere"))
    assert found.changes == []
    assert [content.is_final for content in found.contents] == [True]


async def test_an_empty_part_gives_an_empty_final_entry(database: Database) -> None:
    """It only ends a transaction."""
    found = await render(database)
    assert (found.changes, [content.is_final for content in found.contents]) == ([], [True])


# Whole collections


async def test_a_dropped_collection_empties_its_tables(database: Database) -> None:
    """What came before in the part is left out; what came after follows."""
    found = await render(database, upserted(1, "a"), drop(), upserted(2, "b"))
    assert found.changes == [("city", "truncate", None), ("city", "insert", {"_id": "2", "value": '"b"'})]


def drop(collection: str = "city", renamed_to: str | None = None) -> ChangeEvent:
    dropped = event(1, operation="drop", collection=collection)
    return replace(dropped, document_id=None, renamed_to=renamed_to)


async def test_a_drop_does_not_touch_other_collections(database: Database) -> None:
    tables = [table("city"), table("river")]
    found = await render(database, upserted(1, "a"), drop("river"), tables=tables)
    assert found.changes == [("city", "insert", {"_id": "1", "value": '"a"'}), ("river", "truncate", None)]


async def test_a_collection_renamed_away_empties_its_tables(database: Database) -> None:
    found = await render(database, upserted(1, "a"), drop(renamed_to="elsewhere"))
    assert found.changes == [("city", "truncate", None)]


async def test_a_collection_renamed_to_one_with_tables_reloads_them(database: Database) -> None:
    """They continue with later events."""
    await database.city.insert_many([{"_id": 1, "value": "one"}, {"_id": 2, "value": "two"}])
    found = await render(database, upserted(9, "old"), drop("elsewhere", "city"), upserted(2, "newer"))
    assert found.changes == [
        ("city", "truncate", None),
        ("city", "insert", {"_id": "1", "value": '"one"'}),
        ("city", "insert", {"_id": "2", "value": '"two"'}),
        ("city", "insert", {"_id": "2", "value": '"newer"'}),
    ]


async def test_a_rename_empties_the_tables_of_one_name_and_loads_those_of_the_other(database: Database) -> None:
    await database.river.insert_one({"_id": 1, "value": "one"})
    tables = [table("city"), table("river")]
    found = await render(database, drop("city", "river"), tables=tables)
    assert found.changes == [
        ("city", "truncate", None),
        ("river", "truncate", None),
        ("river", "insert", {"_id": "1", "value": '"one"'}),
    ]


async def test_an_invalidate_gives_no_frames(database: Database) -> None:
    gone = replace(event(1, operation="invalidate", collection=""), document_id=None)
    assert (await render(database, gone)).changes == []


# Rows that cannot be built

STRICT = table("city", Column("value", "number"), Column("note", "number", optional=True))


async def test_a_document_that_no_longer_gives_a_row_is_a_delete_and_an_error(database: Database) -> None:
    found = await render(database, upserted(1, "secret"), tables=[STRICT])
    assert found.changes == [("city", "delete", {"_id": "1"})]
    (error,) = found.errors
    assert (error.table, error.document_id, error.column) == ("city", "1", "value")
    assert "secret" not in error.reason


async def test_an_optional_value_that_does_not_fit_is_null_and_an_error(database: Database) -> None:
    document = {"_id": 1, "value": 5, "note": "secret"}
    found = await render(database, replace(event(1, 1), document=document), tables=[STRICT])
    assert found.changes == [("city", "insert", {"_id": "1", "value": 5, "note": None})]
    assert [(error.document_id, error.column) for error in found.errors] == [("1", "note")]


async def test_a_document_whose_id_does_not_fit_the_key_gives_no_frames(database: Database) -> None:
    number_key = table("city", id_type="number")
    found = await render(database, upserted("x", 1), deleted("y"), tables=[number_key])
    assert found.changes == []
    assert [error.document_id for error in found.errors] == ["x"]


async def test_a_reload_finds_row_errors_and_continues(database: Database) -> None:
    await database.city.insert_many([{"_id": 1, "value": "x"}, {"_id": 2, "value": 2}])
    found = await render(database, drop("elsewhere", "city"), tables=[STRICT])
    assert found.changes == [
        ("city", "truncate", None),
        ("city", "insert", {"_id": "2", "value": 2, "note": None}),
    ]
    assert [error.document_id for error in found.errors] == ["1"]


# Fields that no row depends on


def touching(number: Any, *names: str, **document: Any) -> ChangeEvent:
    """Returns an update of these fields, with the document after it if that is given."""
    return replace(
        event(1, number), changed=frozenset(names), document={"_id": number, **document} if document else None
    )


def reload_of(name: str, *rows: Any) -> list[Any]:
    return [(name, "truncate", None), *((name, "insert", row) for row in rows)]


async def test_an_update_of_fields_without_a_column_gives_nothing(database: Database) -> None:
    """Its document is not looked up: a look-up would find nothing, and the row would be removed."""
    assert (await render(database, touching(1, "secret"))).changes == []


async def test_one_update_of_a_column_among_others_is_a_row(database: Database) -> None:
    found = await render(database, touching(1, "value", value=1, secret=1), touching(1, "secret", value=1, secret=2))
    assert found.changes == [("city", "insert", {"_id": "1", "value": "1"})]


async def test_a_delete_is_sent_whatever_came_before(database: Database) -> None:
    assert (await render(database, touching(1, "secret"), deleted(1))).changes == [("city", "delete", {"_id": "1"})]


async def test_a_vanished_document_is_a_delete_though_no_filter_field_changed(database: Database) -> None:
    assert (await render(database, touching(1, "value"))).changes == [("city", "delete", {"_id": "1"})]


async def test_a_row_that_no_longer_fits_is_a_delete_though_no_filter_field_changed(database: Database) -> None:
    found = await render(database, touching(1, "value", value="x"), tables=[STRICT])
    assert found.changes == [("city", "delete", {"_id": "1"})]


# Filters

RED = mapped("red", {"filter": {"color": "red"}}, Column("size", "number", optional=True))
BLUE = mapped("blue", {"filter": {"color": "blue"}}, Column("size", "number", optional=True))


def of_thing(found: ChangeEvent) -> ChangeEvent:
    return replace(found, collection=COLLECTION)


async def test_a_document_can_leave_one_table_and_enter_another_in_one_transaction(database: Database) -> None:
    entered = of_thing(touching("x", "color", color="blue", size=1))
    found = await render(database, entered, tables=[RED, BLUE])
    assert found.changes == [("red", "delete", {"_id": "x"}), ("blue", "insert", {"_id": "x", "size": 1})]
    assert len(found.contents) == 1


async def test_a_document_that_still_does_not_match_gives_nothing(database: Database) -> None:
    """The fields of the filter did not change."""
    updated = of_thing(touching("x", "size", color="blue", size=2))
    found = await render(database, updated, tables=[RED, BLUE])
    assert found.changes == [("blue", "insert", {"_id": "x", "size": 2})]


async def test_a_replaced_document_that_does_not_match_is_a_delete(database: Database) -> None:
    """It is not known what changed, so there may have been a row."""
    found = await render(database, of_thing(upserted("x", 1)), tables=[RED])
    assert found.changes == [("red", "delete", {"_id": "x"})]


async def test_the_row_of_a_deleted_document_is_known_by_its_computed_key(database: Database) -> None:
    found = await render(database, of_thing(deleted("x")), tables=[PIPELINE])
    assert found.changes == [("pipeline", "delete", {"_id": "u-x"})]


# Arrays


def item(number: int) -> dict[str, Any]:
    return {"id": f"i{number}", "q": number}


def changing(before: dict[str, Any] | None, now: dict[str, Any] | None, *changed: str) -> ChangeEvent:
    """Returns a change of a document of `COLLECTION` from one state to another, with both
    images."""
    document_id = (before or now or {})["_id"]
    return replace(
        event(1, document_id, collection=COLLECTION, operation="upsert" if now else "delete"),
        document=now,
        before=before,
        is_before_known=True,
        changed=frozenset(changed) if changed else None,
    )


async def test_a_change_of_one_element_sends_one_row(database: Database) -> None:
    before = {"_id": "x", "items": [item(number) for number in range(1000)]}
    now = {"_id": "x", "items": [*before["items"][:500], {"id": "i500", "q": -1}, *before["items"][501:]]}
    found = await render(database, changing(before, now, "items"), tables=[BY_INDEX])
    assert found.changes == [("by_index", "insert", {"_id": "x-500", "q": -1, "name": None})]


async def test_large_arrays_do_not_hold_up_the_event_loop(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tasks run between documents that take long."""
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


async def test_slow_documents_have_the_same_frames_and_errors_in_the_same_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever documents take more than a quick budget."""
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


async def test_an_entry_has_a_bounded_number_of_frames(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session goes through all of them at once."""
    monkeypatch.setattr(renderer, "MAX_ENTRY_FRAMES", 10)
    found = await render(database, *(upserted(number, "x") for number in range(25)))
    assert [content.frame_count for content in found.contents] == [10, 10, 5]
    assert [content.is_final for content in found.contents] == [False, False, True]


async def test_removing_an_element_removes_its_row(database: Database) -> None:
    """With keys by index, all rows behind it change, and the last one goes."""
    before = {"_id": "x", "kind": "a", "items": [item(number) for number in range(4)]}
    now = {**before, "items": [item(number) for number in (0, 2, 3)]}
    found = await render(database, changing(before, now, "items"), tables=[BY_ELEMENT, BY_INDEX])
    assert found.changes == [
        ("by_element", "delete", {"_id": "i1"}),
        ("by_index", "delete", {"_id": "x-3"}),
        ("by_index", "insert", {"_id": "x-1", "q": 2, "name": None}),
        ("by_index", "insert", {"_id": "x-2", "q": 3, "name": None}),
    ]


async def test_a_deleted_document_removes_the_rows_of_its_elements(database: Database) -> None:
    before = {"_id": "x", "items": [item(number) for number in range(3)]}
    found = await render(database, changing(before, None), tables=[BY_INDEX])
    assert found.changes == [("by_index", "delete", {"_id": f"x-{number}"}) for number in range(3)]


async def test_an_inserted_document_adds_the_rows_of_its_elements(database: Database) -> None:
    """It needs no pre-image."""
    found = await render(database, changing(None, {"_id": "x", "items": [item(1)]}), tables=[BY_INDEX])
    assert found.changes == [("by_index", "insert", {"_id": "x-0", "q": 1, "name": None})]


async def test_a_change_of_a_shared_field_changes_all_rows(database: Database) -> None:
    before = {"_id": "x", "name": "a", "items": [item(0), item(1)]}
    found = await render(database, changing(before, {**before, "name": "b"}, "name"), tables=[BY_INDEX])
    assert [change[2]["name"] for change in found.changes] == ["b", "b"]


async def test_a_document_that_no_longer_matches_removes_the_rows_of_its_elements(database: Database) -> None:
    before = {"_id": "x", "kind": "a", "items": [item(0), item(1)]}
    found = await render(database, changing(before, {**before, "kind": 7}, "kind"), tables=[BY_ELEMENT])
    assert found.changes == [("by_element", "delete", {"_id": "i0"}), ("by_element", "delete", {"_id": "i1"})]


async def test_an_update_that_no_row_shows_needs_no_pre_image(database: Database) -> None:
    updated = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"unpublished"}))
    assert (await render(database, updated, tables=[BY_INDEX, NESTED])).changes == []


async def test_an_element_changed_back_is_sent(database: Database) -> None:
    """An earlier look-up may have seen it in between."""
    before, between = ({"_id": "x", "items": [item(number)]} for number in (1, 2))
    events = changing(before, between, "items"), changing(between, before, "items")
    found = await render(database, *events, tables=[BY_INDEX])
    assert found.changes == [("by_index", "insert", {"_id": "x-0", "q": 1, "name": None})]


async def test_a_key_that_moves_between_documents_is_deleted_first(database: Database) -> None:
    """In one transaction, whatever the order of the documents is."""
    gives = changing({"_id": "x", "code": "c"}, {"_id": "x", "code": "d"}, "code")
    takes = changing({"_id": "y", "code": "e"}, {"_id": "y", "code": "c", "name": "new"}, "code", "name")
    for events in ((gives, takes), (takes, gives)):
        replica = MappedReplica(version(BY_CODE))
        found = await render(database, *events, tables=[BY_CODE])
        for frame in found.frames:
            replica.apply(*frame)
        assert set(replica.tables["by_code"]) == {("c",), ("d",)}
        assert replica.tables["by_code"]["c",]["name"] == "new"


async def test_a_missing_pre_image_reloads_the_table(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """The collection records pre-images again. Tables that need none continue."""
    await database[COLLECTION].insert_many([{"_id": "x", "items": [item(1)]}, {"_id": "y", "items": [item(2)]}])
    updated = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))
    found = await render(database, updated, tables=[BY_INDEX, FILTERED])
    first = {"_id": "x-0", "q": 1, "name": None}
    assert found.changes == reload_of("by_index", first, {"_id": "y-0", "q": 2, "name": None})
    assert "without a pre-image" in caplog.text
    assert await collections_without_pre_images(database, [COLLECTION]) == []


async def test_pre_images_are_switched_on_again_only_for_later_events(database: Database) -> None:
    await database[COLLECTION].insert_one({"_id": "x", "items": [item(1)]})
    renderer = Renderer(database, version(BY_INDEX), FoundErrors())
    of_before = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))

    async def is_recording_after(lacking: ChangeEvent) -> bool:
        await database.command({"collMod": COLLECTION, "changeStreamPreAndPostImages": {"enabled": False}})
        contents = [content async for content in renderer.render(Part([lacking], lacking.cluster_time))]
        assert [table for content in contents for table in content.frames] == ["by_index"]
        return await collections_without_pre_images(database, [COLLECTION]) == []

    assert await is_recording_after(of_before)
    assert not await is_recording_after(of_before)
    assert await is_recording_after(replace(of_before, cluster_time=await current_cluster_time(database)))


async def test_without_the_right_the_table_is_reloaded_and_the_command_is_logged(
    mongo_server: MongoServer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await database[COLLECTION].insert_one({"_id": "x", "items": [item(1)]})
    updated = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))
    async with fail_commands(mongo_server, "collMod", errorCode=13):
        found = await render(database, updated, tables=[BY_INDEX])
    assert found.changes == reload_of("by_index", {"_id": "x-0", "q": 1, "name": None})
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "collMod" in caplog.text


async def test_a_missing_pre_image_does_not_recreate_a_dropped_collection(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    updated = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))
    assert (await render(database, updated, tables=[BY_INDEX])).changes == reload_of("by_index")
    assert "The collection has been dropped since." in caplog.text
    assert COLLECTION not in await database.list_collection_names()


async def test_one_missing_pre_image_among_several_reloads_the_table(database: Database) -> None:
    """Even if a later event has one."""
    await database[COLLECTION].insert_one({"_id": "x", "items": []})
    unknown = replace(event(1, "x", collection=COLLECTION), changed=frozenset({"items"}))
    known = changing({"_id": "x", "items": [item(1)]}, {"_id": "x", "items": []}, "items")
    assert (await render(database, unknown, known, tables=[BY_INDEX])).changes == reload_of("by_index")


async def test_a_dropped_collection_of_an_array_empties_its_table(database: Database) -> None:
    """Documents that come afterwards have rows."""
    gone = replace(drop(COLLECTION))
    before = changing({"_id": "x", "items": [item(1)]}, {"_id": "x", "items": [item(2)]}, "items")
    found = await render(database, before, gone, changing(None, {"_id": "y", "items": [item(3)]}), tables=[BY_INDEX])
    assert found.changes == reload_of("by_index", {"_id": "y-0", "q": 3, "name": None})


async def test_the_first_row_of_a_repeated_key_stays(database: Database) -> None:
    """Errors of an earlier state are not reported again."""
    before = {"_id": "x", "tags": ["red", "red"], "n": 1}
    found = await render(database, changing(before, {**before, "n": 2}, "n"), tables=[BY_TAG])
    assert found.changes == [("by_tag", "insert", {"_id": "x", "tag": "red", "n": 2})]
    assert [error.column for error in found.errors] == ["_id, tag"]


# Several entries


async def test_a_part_with_many_bytes_becomes_several_entries(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part with many bytes is rendered to several entries, of which the last ends it."""
    monkeypatch.setattr(renderer, "MAX_ENTRY_BYTES", 1000)
    found = await render(database, *(upserted(number, "x" * 100) for number in range(20)))
    assert len(found.contents) > 2
    assert all(content.size < 1500 for content in found.contents)
    assert [content.is_final for content in found.contents] == [False] * (len(found.contents) - 1) + [True]
    assert len(found.changes) == 20


async def test_a_part_that_is_not_final_has_no_final_entry(database: Database) -> None:
    """A part that does not end its transaction has no final entry."""
    found = await render(database, upserted(1, "x"), is_final=False)
    assert [content.is_final for content in found.contents] == [False]


# Markers


ONE, TWO = "1" * 32, "2" * 32


def marker(nonce: str, app_id: str = APP_ID) -> ChangeEvent:
    document = {"_id": f"barrier:{app_id}", "app": app_id, "nonce": nonce}
    return replace(event(1, collection=MARKERS_COLLECTION), document=document)


async def test_the_apps_markers_are_named_in_order(database: Database) -> None:
    """They give no frames."""
    found = await render(database, marker(ONE), upserted(1, 1), marker(TWO))
    assert found.markers == [ONE, TWO]
    assert [change[0] for change in found.changes] == ["city"]


async def test_markers_of_other_apps_are_skipped(database: Database) -> None:
    """So is what is no marker."""
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


async def test_ids_that_python_holds_equal_are_told_apart(database: Database) -> None:
    """1 and True, for instance, are the same key in Python."""
    await database.city.insert_many([{"_id": found, "value": number} for number, found in enumerate(IDS)])
    found = await render(database, *(updated(found) for found in IDS))
    assert [change[2]["value"] for change in found.changes] == [str(number) for number in range(len(IDS))]


@given(st.permutations(IDS))
def test_different_ids_have_different_identities(ids: list[Any]) -> None:
    """Each is equal to itself."""
    identities = [identity_of(found) for found in ids]
    assert len(set(identities)) == len(IDS)
    assert identities == [identity_of(found) for found in ids]


FORMS = [70, Int64(70), 70.0, Decimal128("70.0")]
"""Forms of one `_id` for MongoDB. A replacement may put one in place of another, and its event has
the new one alone."""


@pytest.mark.parametrize("id_type", ["string", "number"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", FORMS)
async def test_a_document_keeps_its_row_if_its_id_changes_form(
    database: Database, before: Any, form: Any, id_type: str
) -> None:
    """It is updated, and then replaced with its `_id` in another form, whether the events come
    together or not; or it is looked up by the former."""
    await database.city.insert_one({"_id": form, "value": 2})
    tables = [table("city", id_type=id_type)]
    key = "70" if id_type == "string" else 70
    row = ("city", "insert", {"_id": key, "value": "2"})
    assert (await render(database, updated(before), upserted(form, 2), tables=tables)).changes == [row]
    assert (await render(database, updated(before), tables=tables)).changes == [row]
    assert (await render(database, upserted(before, 2), tables=tables)).changes == [row]
    gone = await render(database, upserted(before, 1), deleted(form), tables=tables)
    assert gone.changes == [("city", "delete", {"_id": key})]


async def test_ids_that_are_not_utf8_are_told_apart(database: Database) -> None:
    """They give no rows, and the row error of an updated document stays."""
    one, other = Undecodable(b"a\xff"), Undecodable(b"a\xfe")
    found = await render(database, upserted(one, 1), upserted("b", 2), upserted(other, 3), updated(one), deleted(other))
    assert [change[2]["_id"] for change in found.changes] == ["b"]
    notes = RowErrorNotes()
    renderer = Renderer(database, version(CITY), notes)
    for event_of_one in (upserted(one, 1), updated(one)):
        _ = [content async for content in renderer.render(Part([event_of_one], BEGIN))]
        assert notes.open_documents["city"] == {r"Undecodable(b'a\xff')"}
    _ = [content async for content in renderer.render(Part([deleted(one)], BEGIN))]
    assert not notes.open_documents["city"]


async def test_a_new_document_that_no_table_wants_gives_nothing(database: Database) -> None:
    """One that comes back after a delete is a delete."""
    new = replace(of_thing(upserted("x", 1)), is_before_known=True)
    found = await render(database, new, tables=[RED])
    assert found.changes == []
    found = await render(database, of_thing(deleted("x")), new, tables=[RED])
    assert found.changes == [("red", "delete", {"_id": "x"})]
