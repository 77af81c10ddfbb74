"""changesource/tables/compiled_table.py"""

import json
from typing import Any

import pytest
from bson import Int64, ObjectId
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from changesource.errors import MappingRefused
from changesource.tables import compiled_table
from changesource.tables.compiled_table import MAX_DOCUMENT_ID_LENGTH, CompiledTable
from changesource.tables.definition import MAX_KEY_BYTES, Column, Table
from changesource.tables.row_errors import RowError
from tests.examples import examples
from tests.mql import bson_values, mappings

ID = Column("id", "string", server_name="_id")


def rows_of(document: dict[str, Any], *columns: Column) -> tuple[list[dict[str, Any]], list[RowError]]:
    errors: list[RowError] = []
    table = CompiledTable(Table("items", (ID, *columns), ("id",)))
    return table.rows(document, errors), errors


def test_a_key_that_zero_cache_cannot_keep_is_a_row_error() -> None:
    """The bytes of the key's UTF-8 count, with its names; the longest that may stand has a row, and one that is removed."""
    table = CompiledTable(Table("items", (ID,), ("id",)))
    room = MAX_KEY_BYTES - len("_id") - 8
    for longest in ("x" * room, "é" * (room // 2), "日" * (room // 3), "😀" * (room // 4)):
        errors: list[RowError] = []
        assert table.rows({"_id": longest}, errors) == [{"_id": longest}]
        assert table.key(longest) == {"_id": longest}
        assert table.rows({"_id": longest + "日"}, errors) == []
        assert table.key(longest + "日") is None
        assert [(error.column, error.reason) for error in errors] == [("_id", compiled_table.KEY_TOO_LONG)]


def test_a_key_of_several_columns_is_measured_whole() -> None:
    """Texts together, and numbers at their largest."""
    columns = (Column("a", "string"), Column("b", "string"), Column("n", "number"))
    table = CompiledTable(Table("items", columns, ("a", "b", "n")))
    room = MAX_KEY_BYTES - 3 * (1 + 8) - 24
    errors: list[RowError] = []
    assert len(table.rows({"a": "x" * (room - 1), "b": "x", "n": 1}, errors)) == 1
    assert table.rows({"a": "x" * (room - 1), "b": "xy", "n": 1}, errors) == []
    assert [error.column for error in errors] == ["a, b, n"]


def test_a_row_has_every_column_by_its_server_name() -> None:
    """Fields without a column are left out; a field may have another name than its column."""
    rows, errors = rows_of(
        {"_id": "a", "n": 1, "secret": 2},
        Column("count", "number", server_name="cnt", field="n"),
        Column("m", "json", True),
    )
    assert rows == [{"_id": "a", "cnt": 1, "m": None}]
    assert errors == []


def test_a_misfit_in_an_optional_column_is_null() -> None:
    """And is reported with document, column and reason."""
    rows, errors = rows_of({"_id": "a", "n": "text"}, Column("n", "number", True))
    assert rows == [{"_id": "a", "n": None}]
    assert [(error.table, error.document_id, error.column) for error in errors] == [("items", "a", "n")]


def test_a_misfit_in_a_required_column_leaves_the_row_out() -> None:
    """Rather no row than a wrong one."""
    rows, errors = rows_of({"_id": "a", "n": Int64(2**60)}, Column("n", "number"))
    assert rows == []
    assert len(errors) == 1


def test_a_row_that_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the row as JSON, in which a character can have six bytes, and not one value of it alone."""
    monkeypatch.setattr(compiled_table, "MAX_ROW_BYTES", 1_000)
    columns = Column("text", "string", True), Column("more", "string", True)
    fitting = {"_id": "a", "text": "x" * 900}
    assert rows_of(fitting, *columns) == ([{**fitting, "more": None}], [])
    for large in ({"text": "\1" * 170}, {"text": "x" * 500, "more": "x" * 500}):
        rows, (error,) = rows_of({"_id": "a", **large}, *columns)
        assert rows == []
        assert (error.document_id, error.column) == ("a", "")
        assert "leave columns out" in error.reason


def test_a_missing_required_field_leaves_the_row_out() -> None:
    """The reason says what to do."""
    rows, errors = rows_of({"_id": "a"}, Column("n", "number"))
    assert rows == []
    assert "make the column optional" in errors[0].reason


def test_not_a_number_in_a_required_column_leaves_the_row_out() -> None:
    """It has no JSON, so it would be null."""
    rows, errors = rows_of({"_id": "a", "n": float("nan")}, Column("n", "number"))
    assert rows == []
    assert "NaN" in errors[0].reason


@given(bson_values.values)
def test_a_row_error_holds_nothing_of_the_document_but_its_id(value: object) -> None:
    """Errors are shown in admin and logged."""
    _, errors = rows_of(
        {"_id": 1, "s": "top secret", "n": value}, Column("s", "number", True), Column("n", "boolean", True)
    )
    for error in errors:
        assert error.document_id == "1"
        assert "secret" not in error.reason


def test_the_id_of_an_error_is_short() -> None:
    """An `_id` can be as large as a document."""
    _, errors = rows_of({"_id": "x" * 100_000, "n": "a"}, Column("n", "number", True))
    assert len(errors[0].document_id) == MAX_DOCUMENT_ID_LENGTH


@given(bson_values.values)
def test_the_key_of_an_id_is_the_key_of_its_row(document_id: object) -> None:
    """A deleted document is known by its `_id` alone: the row that it had must be the one that goes."""
    table = CompiledTable(Table("items", (ID,), ("id",)))
    rows = table.rows({"_id": document_id}, [])
    assert table.key(document_id) == (rows[0] if rows else None)


def test_a_number_can_be_the_key() -> None:
    """Then ids of other types have no row, and no key to delete."""
    table = CompiledTable(Table("items", (Column("id", "number", field="_id"),), ("id",)))
    assert table.key(5) == {"id": 5}
    assert table.key(ObjectId()) is None


def test_columns_are_declared_as_types_without_surprises() -> None:
    """`text`, `float8`, `bool`, `json`; what is not optional is required."""
    spec = CompiledTable(
        Table("t", (ID, Column("n", "number", True), Column("b", "boolean"), Column("j", "json")), ("id",))
    ).spec
    assert [(column.name, column.pg_type, column.is_required) for column in spec.columns] == [
        ("_id", "text", True),
        ("n", "float8", False),
        ("b", "bool", True),
        ("j", "json", True),
    ]
    assert spec.key == ("_id",)


# Mappings


def mapped(mapping: dict[str, Any], *columns: Column) -> CompiledTable:
    return CompiledTable(Table("items", (ID, *columns), ("id",), mapping=json.dumps(mapping)))


def key_column(name: str = "key", kind: Any = "string") -> Column:
    return Column(name, kind)


def by(mapping: dict[str, Any], *keys: Column) -> CompiledTable:
    """A table with these key columns only."""
    return CompiledTable(Table("items", keys, tuple(column.name for column in keys), mapping=json.dumps(mapping)))


@pytest.mark.parametrize(
    ("mapping", "document", "rows"),
    [
        ({"filter": {"n": {"$gt": 1}}}, {"_id": "a", "n": 2}, [{"_id": "a", "n": 2}]),
        ({"filter": {"n": {"$gt": 1}}}, {"_id": "a", "n": 1}, []),
        ({"projection": {"n": "$m"}}, {"_id": "a", "m": 2, "n": 1}, [{"_id": "a", "n": 2}]),
        ({"projection": {"n": {"$add": ["$n", 1]}}}, {"_id": "a", "n": 1}, [{"_id": "a", "n": 2}]),
        ({"projection": {"n": "$x.y"}}, {"_id": "a", "x": {"y": 3}}, [{"_id": "a", "n": 3}]),
        ({"pipeline": [{"$set": {"n": {"$size": "$t"}}}]}, {"_id": "a", "t": [1, 2]}, [{"_id": "a", "n": 2}]),
        ({"pipeline": [{"$replaceWith": "$x"}]}, {"_id": 1, "x": {"_id": "b", "n": 3}}, [{"_id": "b", "n": 3}]),
        (
            {"pipeline": [{"$unwind": "$t"}, {"$project": {"_id": "$t.k", "n": "$t.v"}}]},
            {"_id": 1, "t": [{"k": "b", "v": 1}, {"k": "a", "v": 2}]},
            [{"_id": "b", "n": 1}, {"_id": "a", "n": 2}],
        ),
        ({"pipeline": [{"$unwind": "$t"}]}, {"_id": 1, "t": []}, []),
    ],
)
def test_a_mapping_gives_rows_in_its_order(mapping: dict[str, Any], document: dict[str, Any], rows: list[Any]) -> None:
    """Through the columns."""
    errors: list[RowError] = []
    assert mapped(mapping, Column("n", "number")).rows(document, errors) == rows
    assert errors == []


def test_unneeded_fields_cannot_fail() -> None:
    """What no column shows and no filter asks for is not computed."""
    errors: list[RowError] = []
    table = mapped({"projection": {"n": 1, "other": {"$toInt": "$s"}}}, Column("n", "number"))
    assert table.rows({"_id": "a", "n": 1, "s": "no number"}, errors) == [{"_id": "a", "n": 1}]
    assert errors == []


def test_a_mapping_that_cannot_be_computed_leaves_the_row_out() -> None:
    """And says where, with the document of the collection, and nothing of what is in it."""
    errors: list[RowError] = []
    table = mapped({"projection": {"_id": "$s", "n": {"$toInt": "$s"}}}, Column("n", "number", True))
    assert table.rows({"_id": "a", "s": "secret"}, errors) == []
    (error,) = errors
    assert (error.table, error.document_id, error.column) == ("items", "a", "")
    assert error.reason.startswith("projection.n")
    assert "secret" not in error.reason


def test_an_element_that_cannot_be_computed_is_left_out_alone() -> None:
    """The others of its document have their rows."""
    errors: list[RowError] = []
    pipeline = [{"$unwind": "$t"}, {"$project": {"_id": {"$toString": "$t"}, "n": {"$toInt": "$t"}}}]
    table = mapped({"pipeline": pipeline}, Column("n", "number"))
    rows = table.rows({"_id": "a", "t": ["1", "x", "3"]}, errors)
    assert rows == [{"_id": "1", "n": 1}, {"_id": "3", "n": 3}]
    assert [(error.document_id, error.reason.split(".")[0]) for error in errors] == [("a", "pipeline[1]")]


def test_an_element_that_does_not_fit_is_left_out_alone() -> None:
    """So is one without a key."""
    errors: list[RowError] = []
    pipeline = [{"$unwind": "$t"}, {"$project": {"_id": "$t.k", "n": "$t.v"}}]
    table = mapped({"pipeline": pipeline}, Column("n", "number"))
    elements = [{"k": "a", "v": 1}, {"v": 2}, {"k": "c", "v": "text"}, {"k": "d", "v": 4}]
    assert [row["_id"] for row in table.rows({"_id": 1, "t": elements}, errors)] == ["a", "d"]
    assert [error.column for error in errors] == ["_id", "n"]


def test_only_the_first_row_with_a_key_stays() -> None:
    """Whatever comes after it. Each other is an error."""
    errors: list[RowError] = []
    pipeline = [{"$unwind": "$t"}, {"$project": {"_id": "$t.k", "n": "$t.v"}}]
    elements = [{"k": "a", "v": 1}, {"k": "b", "v": 2}, {"k": "a", "v": 3}, {"k": "a", "v": 4}]
    rows = mapped({"pipeline": pipeline}, Column("n", "number")).rows({"_id": 1, "t": elements}, errors)
    assert rows == [{"_id": "a", "n": 1}, {"_id": "b", "n": 2}]
    assert [(error.document_id, error.column) for error in errors] == [("1", "_id")] * 2


def test_keys_are_compared_as_columns() -> None:
    """The number 1 and the text "1" are one key in a column of strings."""
    errors: list[RowError] = []
    rows = mapped({"pipeline": [{"$unwind": "$_id"}]}).rows({"_id": [1, "1"]}, errors)
    assert rows == [{"_id": "1"}]
    assert len(errors) == 1


def test_keys_of_several_columns_are_equal_if_all_columns_are() -> None:
    """Are the same only if all columns are."""
    pipeline = [{"$unwind": {"path": "$t", "includeArrayIndex": "i"}}]
    table = by({"pipeline": pipeline}, key_column("_id"), key_column("i", "number"))
    rows = table.rows({"_id": "a", "t": [5, 5]}, [])
    assert [table.key_of(row) for row in rows] == [("a", 0), ("a", 1)]


U_ID = {"projection": {"_id": {"$concat": ["u-", {"$toString": "$_id"}]}}}


@pytest.mark.parametrize(
    ("mapping", "document_id", "key"),
    [
        ({}, 5, {"_id": "5"}),
        (U_ID, 5, {"_id": "u-5"}),
        (U_ID, ObjectId("0123456789abcdef01234567"), {"_id": "u-0123456789abcdef01234567"}),
        (U_ID, {"x": 1}, None),
        ({"filter": {"kind": "a"}, **U_ID}, 5, {"_id": "u-5"}),
        ({"filter": {"_id": {"$gt": 10}}, **U_ID}, 5, {"_id": "u-5"}),
        ({"projection": {"_id": "$_id.x"}}, {"x": "a", "y": "b"}, {"_id": "a"}),
        ({"projection": {"_id": "$_id.x"}}, {"y": "b"}, None),
        ({"pipeline": [{"$set": {"k": "$_id"}}, {"$match": {"k": 1}}, {"$project": {"_id": "$k"}}]}, 5, {"_id": "5"}),
        ({"pipeline": [{"$match": {"kind": "a"}}, {"$unset": "kind"}]}, 5, {"_id": "5"}),
        ({"pipeline": [{"$replaceWith": {"_id": "$_id", "n": 1}}]}, 5, {"_id": "5"}),
    ],
)
def test_the_key_of_a_document_that_is_gone_comes_from_its_id(
    mapping: dict[str, Any], document_id: Any, key: Any
) -> None:
    """Through filters too. There is none where no row could be."""
    table = mapped(mapping)
    assert not table.needs_pre_images
    assert table.key(document_id) == key


@given(bson_values.values)
def test_the_computed_key_of_an_id_is_that_of_its_row(document_id: object) -> None:
    """Whatever the `_id` is: a row that was sent can be removed."""
    table = mapped({"filter": {"kind": "a"}, **U_ID})
    rows = table.rows({"_id": document_id, "kind": "a"}, [])
    assert table.key(document_id) == (rows[0] if rows else None)


@pytest.mark.parametrize(
    ("mapping", "columns", "needs"),
    [
        ({}, ["_id"], False),
        ({}, ["code"], True),
        ({}, ["_id", "code"], True),
        ({"filter": {"code": "x"}}, ["_id"], False),
        ({"filter": {"code": "x"}}, ["code"], True),
        (U_ID, ["_id"], False),
        ({"projection": {"key": "$_id"}}, ["key"], False),
        ({"projection": {"key": "$code"}}, ["key"], True),
        ({"projection": {"_id": {"$concat": ["$code", "$_id"]}}}, ["_id"], True),
        ({"projection": {"_id": {"$ifNull": ["$_id", "$$ROOT"]}}}, ["_id"], True),
        ({"pipeline": [{"$unwind": "$t"}]}, ["_id"], True),
        ({"pipeline": [{"$set": {"key": "$_id"}}, {"$match": {"code": 1}}]}, ["key"], False),
        ({"pipeline": [{"$set": {"key": "$code"}}, {"$set": {"key": "$_id"}}]}, ["key"], False),
        ({"pipeline": [{"$set": {"_id": "$code"}}, {"$project": {"key": "$_id"}}]}, ["key"], True),
        ({"pipeline": [{"$replaceWith": {"_id": "$_id", "n": "$n"}}]}, ["_id"], True),
    ],
)
def test_a_table_needs_pre_images_if_the_id_does_not_tell_its_rows(
    mapping: dict[str, Any], columns: list[str], needs: bool
) -> None:
    """Where arrays are unwound, and where more than `_id` goes into the key."""
    assert by(mapping, *map(key_column, columns)).needs_pre_images == needs


@pytest.mark.parametrize(
    ("mapping", "reads", "decided_by"),
    [
        ({}, {"_id", "n"}, set()),
        ({"filter": {"kind": "a", "x.y": 1}}, {"_id", "n", "kind", "x"}, {"kind", "x"}),
        ({"filter": {"n": 1}}, {"_id", "n"}, {"n"}),
        ({"projection": {"n": "$m", "other": "$o"}}, {"_id", "m"}, set()),
        ({"pipeline": [{"$set": {"s": "$m"}}, {"$match": {"s": 1}}]}, {"_id", "n", "m"}, {"m"}),
        ({"pipeline": [{"$unwind": "$t"}, {"$project": {"n": "$p"}}]}, {"_id", "p", "t"}, {"t"}),
        ({"filter": {"$expr": {"$in": ["a", {"$map": {"input": "$t", "in": "$$this.k"}}]}}}, {"_id", "n", "t"}, {"t"}),
        ({"filter": {"$expr": {"$eq": ["$$ROOT", {}]}}}, {"_id", "n", "$$ROOT"}, {"$$ROOT"}),
    ],
)
def test_the_fields_on_which_rows_depend_are_known(
    mapping: dict[str, Any], reads: set[str], decided_by: set[str]
) -> None:
    """And those that decide whether there are any."""
    table = mapped(mapping, Column("n", "number", True))
    assert (table.reads, table.decided_by) == (reads, decided_by)


def test_a_change_of_other_fields_leaves_the_rows_as_they_are() -> None:
    """A change of unknown fields may not."""
    table = mapped({"filter": {"kind": "a"}}, Column("n", "number"))
    assert table.is_untouched_by(frozenset({"other", "kind.x"}))
    assert table.is_untouched_by(frozenset())
    assert not table.is_untouched_by(frozenset({"other", "kind"}))
    assert not table.is_untouched_by(frozenset({"n"}))
    assert not table.is_untouched_by(None)


def test_a_change_of_what_no_filter_reads_decides_nothing() -> None:
    """A change of what the filter does not ask for decides nothing."""
    table = mapped({"filter": {"kind": "a"}}, Column("n", "number"))
    assert table.is_decided_without(frozenset({"n"}))
    assert not table.is_decided_without(frozenset({"kind"}))
    assert not table.is_decided_without(None)


def test_of_what_reads_the_whole_document_nothing_is_untouched() -> None:
    """Any field may change its rows, and decide whether there are any."""
    table = mapped({"filter": {"$expr": {"$ne": ["$$ROOT", {}]}}})
    assert not table.is_untouched_by(frozenset({"a"}))
    assert not table.is_decided_without(frozenset({"a"}))


LOOSE_COLUMNS = (Column("_id", "json"), Column("a", "json", True), Column("b", "json", True), Column("i", "json", True))


@settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], max_examples=examples(300)
)
@given(st.data(), mappings.mappings, mappings.documents)
def test_what_is_untouched_has_the_same_rows(data: Any, mapping: Any, document: dict[str, Any]) -> None:
    """Whatever the mapping, also where it fails: what a table says of itself can be relied on."""
    try:
        table = CompiledTable(Table("items", LOOSE_COLUMNS, ("_id",), mapping=json.dumps(mapping)))
    except MappingRefused:
        reject()
    changed = {**document, **data.draw(st.dictionaries(st.sampled_from(mappings.NAMES), mappings.values, min_size=1))}
    for name in data.draw(st.frozensets(st.sampled_from(mappings.NAMES))):
        changed.pop(name, None)
    names = frozenset(
        name for name in mappings.NAMES if repr(document.get(name, "missing")) != repr(changed.get(name, "missing"))
    )
    before_errors: list[RowError] = []
    after_errors: list[RowError] = []
    before, after = table.rows(document, before_errors), table.rows(changed, after_errors)
    if table.is_untouched_by(names):
        assert (before, before_errors) == (after, after_errors)
    if table.is_decided_without(names) and not before_errors and not after_errors:
        assert bool(before) == bool(after)
    if not table.needs_pre_images:
        assert len(before) <= 1
        for row in before:
            assert table.key(document["_id"]) == {"_id": row["_id"]}
