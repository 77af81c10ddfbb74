"""changesource/mapping/tables.py"""

from typing import Any

from bson import Int64, ObjectId
from hypothesis import given

from changesource.mapping.definition import Column, Table
from changesource.mapping.row_errors import RowError
from changesource.mapping.tables import MAX_DOCUMENT_ID_LENGTH, CompiledTable
from tests.mapping import bson_values

ID = Column("id", "string", server_name="_id")


def rows_of(document: dict[str, Any], *columns: Column) -> tuple[list[dict[str, Any]], list[RowError]]:
    errors: list[RowError] = []
    table = CompiledTable(Table("items", (ID, *columns), ("id",)))
    return table.rows(document, errors), errors


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
