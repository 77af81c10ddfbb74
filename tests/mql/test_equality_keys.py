"""Values have the same key if and only if they are equal."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.bson_types import MISSING
from changesource.mql.budget import Budget
from changesource.mql.equality_keys import equality_key
from changesource.mql.filters import compile_filter
from changesource.mql.filters.value_tests import equality, membership
from changesource.mql.ordering import equal
from changesource.mql.pipeline import compile_pipeline
from tests.mql import bson_values

ID = ObjectId("507f1f77bcf86cd799439011")
LIKE_EACH_OTHER: list[Any] = [
    *(0, 0.0, -0.0, Int64(0), Decimal128("0"), Decimal128("-0"), Decimal128("0E+3"), False, "0", None, MISSING, [], {}),
    *(1, 1.0, Int64(1), Decimal128("1"), Decimal128("1.00"), True, "1", [1], [1.0], [True], [[1]]),
    *(
        0.1,
        Decimal128("0.1"),
        2**53,
        Int64(2**53 + 1),
        2.0**53,
        Decimal128("9007199254740993"),
        1e300,
        Decimal128("1E+300"),
    ),
    *(float("nan"), Decimal128("NaN"), Decimal128("sNaN"), Decimal128("-NaN"), float("inf"), Decimal128("Infinity")),
    *(float("-inf"), Decimal128("-Infinity"), Decimal128("1E+6144"), Decimal128("1E-6176")),
    *(
        {"a": 1},
        {"a": 1.0},
        {"a": True},
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        {"a": None},
        {"a": [None]},
        [None],
        [{"a": 1}],
    ),
    *("a", Code("a"), Code("a", {}), Code("a", {"x": 1}), Code("a", {"x": 1.0}), Regex("a"), Regex("a", "i"), b"a"),
    *(Binary(b"a"), Binary(b"a", 5), Binary(ID.binary), ID, ObjectId(ID), str(ID), MinKey(), MaxKey()),
    *(uuid.UUID(int=1), Binary(uuid.UUID(int=1).bytes, 4), Binary(uuid.UUID(int=1).bytes, 3)),
    *(
        DatetimeMS(0),
        DatetimeMS(1),
        datetime(1970, 1, 1),
        datetime(1970, 1, 1, tzinfo=UTC),
        Timestamp(0, 0),
        Timestamp(0, 1),
    ),
    *(DBRef("c", 1), {"$ref": "c", "$id": 1}, {"$ref": "c", "$id": 1.0}),
]

similar = st.recursive(
    st.sampled_from(LIKE_EACH_OTHER[:60]).filter(lambda value: value is not MISSING),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=4,
)
values = bson_values.values | similar


def have_one_key(left: Any, right: Any) -> bool:
    keys = [equality_key(value, Budget()) for value in (left, right)]
    assert [hash(key) for key in keys]
    return keys[0] == keys[1] and len(set(keys)) == 1


@pytest.mark.parametrize("left", LIKE_EACH_OTHER)
def test_similar_values_have_the_same_key_if_they_are_equal(left: Any) -> None:
    """Numbers of all types, NaN, booleans, missing and null, documents by the order of their fields."""
    for right in LIKE_EACH_OTHER:
        assert have_one_key(left, right) is equal(left, right), (left, right)


@given(values, values)
def test_any_values_have_the_same_key_if_they_are_equal(left: Any, right: Any) -> None:
    """Whatever a document can hold."""
    assert have_one_key(left, right) is equal(left, right)
    assert have_one_key(left, left)


@given(st.lists(values, max_size=6), values | st.just(MISSING))
def test_membership_is_equality_with_a_member(constants: list[Any], value: Any) -> None:
    """The test of $in in filters agrees with that of $eq."""
    expected = any(equality(constant)(value, Budget()) for constant in constants)
    assert membership(constants)(value, Budget()) is expected


@given(st.lists(values, min_size=9, max_size=20), st.lists(values, min_size=2, max_size=5))
def test_in_agrees_with_a_comparison_of_each(array: list[Any], wanted: list[Any]) -> None:
    """$in and $indexOfArray, with an array of the document that is asked several times and with a constant one."""
    document = {"_id": 1, "array": array, "wanted": [*wanted, array[-1]]}
    of_document = {"$map": {"input": "$wanted", "in": {"$in": ["$$this", "$array"]}}}
    of_constant = {"$map": {"input": "$wanted", "in": {"$in": ["$$this", {"$literal": array}]}}}
    places = {"$map": {"input": "$wanted", "in": {"$indexOfArray": ["$array", "$$this", 1]}}}
    [found] = compile_pipeline({"projection": {"a": of_document, "b": of_constant, "c": places}})(document)
    expected = [[index for index, item in enumerate(array) if equal(item, value)] for value in document["wanted"]]
    assert found["a"] == found["b"] == [bool(indexes) for indexes in expected]
    assert found["c"] == [next((index for index in indexes if index >= 1), -1) for indexes in expected]


@pytest.mark.parametrize(
    ("constant", "value", "is_found"),
    [
        (1, 1.0, True),
        (1, Int64(1), True),
        (1, Decimal128("1.0"), True),
        (Decimal128("1"), 1, True),
        (1, True, False),
        (True, 1, False),
        (float("nan"), Decimal128("NaN"), True),
        (0.1, Decimal128("0.1"), False),
        ({"a": 1}, {"a": Decimal128("1")}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        (None, MISSING, True),
    ],
)
def test_in_finds_what_mongodb_considers_equal(constant: Any, value: Any, is_found: bool) -> None:
    """What MongoDB holds for equal is found."""
    document = {} if value is MISSING else {"x": value}
    assert compile_filter({"x": {"$in": [constant, "other"]}})(document) is is_found
