"""document_ids.py: ids that MongoDB holds for the same have one identity, and give rows one key."""

from typing import Any

import pytest
from bson import Binary, DBRef, Decimal128, Int64, ObjectId
from hypothesis import example, given

from changesource.mql.bson_types import Undecodable
from changesource.mql.ordering import equal
from changesource.tables.compiled_table import CompiledTable, describe_id
from changesource.tables.definition import Column, ColumnType
from changesource.tables.document_ids import identity_of, is_readable, normal_id
from changesource.tables.values import convert
from tests.mql.test_equality_keys import values
from tests.tables.definitions import table

SEVENTY = [70, Int64(70), 70.0, Decimal128("70"), Decimal128("70.00"), Decimal128("7.0E+1")]
SAME: list[list[Any]] = [
    SEVENTY,
    [0, -0.0, Decimal128("-0"), Decimal128("0E+6000")],
    [Int64(2**60), 2.0**60, Decimal128("1152921504606846976.0")],
    [1e21, Decimal128("1E+21"), Decimal128("1000000000000000000000")],
    [Decimal128("1E+6111"), Decimal128("1000E+6108")],
    [0.5, Decimal128("0.50")],
    [Decimal128("0.1"), Decimal128("0.100")],
    [{"a": found, "b": [found]} for found in SEVENTY],
    [{"$ref": "city", "$id": 70}, DBRef("city", 70.0), DBRef("city", Decimal128("70.0"))],
]
BY_TEXT = table(
    columns=(Column("key", "string"), Column("_id", "string")),
    primary_key=("key",),
    mapping='{"projection": {"key": {"$concat": ["city-", {"$toString": "$_id"}]}}}',
)


@pytest.mark.parametrize("ids", SAME)
def test_the_same_ids_give_one_key(ids: list[Any]) -> None:
    """Whichever of them a document or an event has, its row has one key."""
    compiled = CompiledTable(table())
    keys = {repr(compiled.key(found)) for found in ids}
    rows = [row for found in ids for row in compiled.rows({"_id": found}, [])]
    assert len(rows) == len(ids)
    assert {repr({"_id": row["_id"]}) for row in rows} == keys
    assert len(keys) == len({describe_id(found) for found in ids}) == 1


@pytest.mark.parametrize("found", SEVENTY)
def test_computed_keys_are_the_same_for_the_same_ids(found: Any) -> None:
    """Other columns show the value as it is."""
    compiled = CompiledTable(BY_TEXT)
    assert compiled.key(found) == {"key": "city-70"}
    [row] = compiled.rows({"_id": found}, [])
    assert row == {"key": "city-70", "_id": convert("string", found)}


@pytest.mark.parametrize("column_type", ["string", "number"])
@pytest.mark.parametrize("found", [2.0**60, Int64(2**60), Decimal128("1152921504606846976")])
def test_large_numbers_fit_in_all_forms_or_in_none(found: Any, column_type: ColumnType) -> None:
    """A misfit is a row error."""
    compiled = CompiledTable(table(columns=(Column("_id", column_type),)))
    errors: list[Any] = []
    rows = compiled.rows({"_id": found}, errors)
    if column_type == "string":
        assert rows == [compiled.key(found)] == [{"_id": "1152921504606846976"}]
    else:
        assert (rows, compiled.key(found), len(errors)) == ([], None, 1)


@given(values, values)
@example(Decimal128("NaN"), Decimal128("sNaN"))
def test_identities_and_normal_ids_agree(left: Any, right: Any) -> None:
    """Two ids have the same identity if and only if MongoDB holds them for equal; and then they have the same normal form,
    which MongoDB holds for equal to both."""
    assert (identity_of(left) == identity_of(right)) == equal(left, right)
    assert equal(left, normal_id(left))
    if equal(left, right):
        assert equal(normal_id(left), normal_id(right))
        assert describe_id(left) == describe_id(right) or not isinstance(left, int | float | Decimal128)


@pytest.mark.parametrize("found", [5, "x", ObjectId(), Binary(b"x"), 0.5, Decimal128("0.1"), {"a": [1, "x"]}, [1]])
def test_most_ids_are_normal_already(found: Any) -> None:
    """They are not copied."""
    assert normal_id(found) is found


def test_an_id_is_readable_if_all_of_it_could_be_decoded() -> None:
    """Only what holds nothing that could not be decoded."""
    spoilt = Undecodable(b"a\xff")
    assert not any(map(is_readable, [spoilt, {"a": spoilt}, [1, [spoilt]], DBRef("city", spoilt)]))
    assert all(map(is_readable, [5, "x", Binary(b"a\xff"), {"a": [1]}, DBRef("city", 1), None]))
    assert identity_of(spoilt) != identity_of(Undecodable(b"a\xfe"))
    assert describe_id(spoilt) == r"Undecodable(b'a\xff')"
