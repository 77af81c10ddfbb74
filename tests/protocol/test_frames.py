"""changesource/protocol/frames.py"""

import json
from collections.abc import Iterable
from dataclasses import replace

from changesource.protocol import frames
from changesource.protocol.frames import MAX_BACKFILL_BYTES, ColumnSpec, TableFrames, TableSpec
from changesource.protocol.watermarks import Position
from tests.node.tools import validate_frames

SPEC = TableSpec(
    name="items",
    columns=(ColumnSpec("a", "text", True), ColumnSpec("b", "float8", True), ColumnSpec("c", "json", False)),
    key=("b", "a"),
)
RELATION = {"schema": "public", "name": "items", "rowKey": {"columns": ["b", "a"]}}
POSITION = Position(7 << 32, 3)
ROW = {"a": 'x\n"é\u2028', "b": 1.5, "c": '{"k":[1]}'}


def test_zero_cache_accepts_every_frame() -> None:
    """All kinds of frames pass the schemas that @rocicorp/zero exports, and none holds a
    newline."""
    table = TableFrames(SPEC)
    every_kind = [
        frames.begin(POSITION),
        *frames.create_table(replace(SPEC, indexes=(("a",),))),
        frames.drop_index("items", ("a",)),
        frames.add_column(SPEC, "c"),
        *(frame for spec in frames.zero_tables("zero", 0) for frame in frames.create_table(spec)),
        *backfills([ROW, ROW]),
        table.upsert(ROW),
        table.delete({"b": 1.5, "a": "x"}),
        table.truncate(),
        frames.permissions_row("zero", 0, frames.PermissionsRow()),
        frames.permissions_row("zero", 0, frames.PermissionsRow('{"tables":{}}', "hash")),
        frames.rollback(),
        frames.commit(POSITION, 1_700_000_000_000),
        frames.reset_required("because"),
    ]
    assert validate_frames(frame.decode() for frame in every_kind) == []
    assert not any(b"\n" in frame for frame in every_kind)


def test_begin_and_commit_have_the_same_watermark() -> None:
    """zero-cache exits for good if they differ."""
    assert json.loads(frames.begin(POSITION)) == [
        "begin",
        {"tag": "begin", "json": "s"},
        {"commitWatermark": POSITION.watermark},
    ]
    assert json.loads(frames.commit(POSITION, 5)) == [
        "commit",
        {"tag": "commit", "commitTimeMs": 5},
        {"watermark": POSITION.watermark},
    ]


def test_an_insert_is_an_upsert() -> None:
    """Zero: INSERT OR REPLACE, so one message serves for new and for changed rows."""
    assert json.loads(TableFrames(SPEC).upsert(ROW)) == ["data", {"tag": "insert", "relation": RELATION, "new": ROW}]


def test_a_delete_holds_only_the_key() -> None:
    """And nothing else of the row."""
    key = {"b": 1.5, "a": "x"}
    assert json.loads(TableFrames(SPEC).delete(key)) == ["data", {"tag": "delete", "relation": RELATION, "key": key}]


def test_secondary_indexes_come_with_their_table_or_later() -> None:
    """They are not unique, keep the order of their columns, and have names that no table and no
    other index has."""
    spec = replace(SPEC, indexes=(("key",), ("b", "key")))
    _, key, *others = (json.loads(frame)[1] for frame in frames.create_table(spec))
    assert others == [json.loads(frames.create_index(spec, index))[1] for index in spec.indexes]
    assert [(list(index["spec"]["columns"]), index["spec"]["unique"]) for index in others] == [
        (["key"], False),
        (["b", "key"], False),
    ]
    names = [index["spec"]["name"] for index in (key, *others)]
    assert len({*names, spec.name}) == 4
    assert [json.loads(frames.drop_index(spec.name, index))[1]["id"]["name"] for index in spec.indexes] == names[1:]


def test_a_table_comes_with_a_unique_index_on_its_key() -> None:
    """Without one zero-cache hides the table. No table can have the index's name."""
    table, index = (json.loads(frame)[1] for frame in frames.create_table(SPEC))
    assert table["spec"]["columns"]["a"] == {"pos": 1, "dataType": "text", "notNull": True}
    assert table["spec"]["columns"]["c"] == {"pos": 3, "dataType": "json", "notNull": False}
    assert index["spec"] == {
        "schema": "public",
        "name": "items:key",
        "tableName": "items",
        "unique": True,
        "columns": {"b": "ASC", "a": "ASC"},
    }
    assert list(index["spec"]["columns"]) == ["b", "a"]


def test_backfilled_rows_are_arrays_with_the_key_in_front() -> None:
    """Zero: key values, then the values of `columns`."""
    (frame,) = backfills([ROW])
    assert json.loads(frame)[1] == {
        "tag": "backfill",
        "relation": RELATION,
        "columns": ["c"],
        "watermark": POSITION.watermark,
        "rowValues": [[ROW["b"], ROW["a"], ROW["c"]]],
    }


def test_a_backfill_frame_ends_when_it_is_large() -> None:
    """Each row is sent once, in order, and no frame exceeds the limit by more than a row."""
    rows = [{"a": f"{i}" + "x" * 10_000, "b": i, "c": None} for i in range(100)]
    found = backfills(rows)
    assert len(found) > 1
    assert max(map(len, found)) < MAX_BACKFILL_BYTES + 11_000
    assert [values[0] for frame in found for values in json.loads(frame)[1]["rowValues"]] == list(range(100))


def test_no_rows_give_no_frame() -> None:
    """An empty table is not mentioned."""
    assert backfills([]) == []


def test_rows_that_come_in_several_batches_fill_the_same_frames() -> None:
    """A frame has as many rows as if all of them had come at once."""
    rows = [{"a": f"{i}" + "x" * 10_000, "b": i, "c": None} for i in range(100)]
    assert backfills(rows[:7], rows[7:8], [], rows[8:]) == backfills(rows)


def backfills(*batches: Iterable[frames.Row]) -> list[bytes]:
    """The frames of all batches together."""
    filling = TableFrames(SPEC).backfills(POSITION)
    return [frame for batch in batches for frame in filling.add(batch)] + list(filling.rest())


def test_the_tables_that_zero_cache_requires() -> None:
    """`mutations` has both columns: zero-cache checks for one and reads the other."""
    clients, mutations, permissions = frames.zero_tables("app", 3)
    assert (clients.schema, mutations.schema, permissions.schema) == ("app_3", "app_3", "app")
    assert {"mutation", "result"} <= {column.name for column in mutations.columns}
    assert permissions.key == ("lock",)
    required = {column.name for column in clients.columns if column.is_required}
    assert set(clients.key) <= required
