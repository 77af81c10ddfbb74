"""Operators of arrays."""

from typing import Any

import pytest
from bson import Decimal128, Int64
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.bson_types import MISSING
from changesource.mql.errors import MqlError
from changesource.mql.expressions.arrays import MAX_RANGE
from tests.mql import bson_values
from tests.mql.expressions.evaluation import compiled, evaluated, exactly, reads_of

ABC = {"a": ["x", "y", "z"], "empty": [], "null": None, "n": 5, "text": "x"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"$arrayElemAt": ["$a", 0]}, "x"),
        ({"$arrayElemAt": ["$a", -1]}, "z"),
        ({"$arrayElemAt": ["$a", -3]}, "x"),
        ({"$arrayElemAt": ["$a", 3]}, MISSING),
        ({"$arrayElemAt": ["$a", -4]}, MISSING),
        ({"$arrayElemAt": ["$a", 1.0]}, "y"),
        ({"$arrayElemAt": ["$a", Decimal128("1")]}, "y"),
        ({"$arrayElemAt": ["$a", "$null"]}, None),
        ({"$arrayElemAt": ["$none", 0]}, None),
        ({"$arrayElemAt": ["$n", None]}, None),
        ({"$first": "$a"}, "x"),
        ({"$first": "$empty"}, MISSING),
        ({"$first": "$null"}, None),
        ({"$last": "$a"}, "z"),
        ({"$last": "$empty"}, MISSING),
        ({"$last": "$none"}, None),
        ({"$size": "$a"}, 3),
        ({"$size": "$empty"}, 0),
        ({"$size": [["$a", 1]]}, 2),
        ({"$isArray": "$a"}, True),
        ({"$isArray": "$n"}, False),
        ({"$isArray": ["$none"]}, False),
        ({"$in": ["y", "$a"]}, True),
        ({"$in": ["$n", "$a"]}, False),
        ({"$in": ["$none", "$a"]}, False),
        ({"$in": ["$n", [1, 5.0]]}, True),
        ({"$in": ["$n", ["5"]]}, False),
        ({"$in": ["$text", ["y", "x"]]}, True),
        ({"$in": ["$text", ["y", 5]]}, False),
        ({"$in": ["$null", [None]]}, True),
        ({"$in": ["$none", [None]]}, False),
        ({"$in": ["$a", [["x", "y", "z"]]]}, True),
        ({"$in": ["x", ["$n", "x"]]}, True),
        ({"$indexOfArray": ["$a", "y"]}, 1),
        ({"$indexOfArray": ["$a", "w"]}, -1),
        ({"$indexOfArray": ["$a", "y", 2]}, -1),
        ({"$indexOfArray": ["$a", "y", 0, 1]}, -1),
        ({"$indexOfArray": ["$a", "y", 1, 99]}, 1),
        ({"$indexOfArray": ["$a", "y", 99]}, -1),
        ({"$indexOfArray": ["$null", "y"]}, None),
        ({"$slice": ["$a", 2]}, ["x", "y"]),
        ({"$slice": ["$a", -2]}, ["y", "z"]),
        ({"$slice": ["$a", -9]}, ["x", "y", "z"]),
        ({"$slice": ["$a", 0]}, []),
        ({"$slice": ["$a", 1, 1]}, ["y"]),
        ({"$slice": ["$a", -2, 1]}, ["y"]),
        ({"$slice": ["$a", -9, 2]}, ["x", "y"]),
        ({"$slice": ["$a", 9, 2]}, []),
        ({"$slice": ["$a", 1, 2147483647]}, ["y", "z"]),
        ({"$slice": ["$a", 1, "$none"]}, None),
        ({"$slice": ["$a", "$null"]}, None),
        ({"$slice": ["$none", 1]}, None),
        ({"$concatArrays": ["$a", [1], "$empty"]}, ["x", "y", "z", 1]),
        ({"$concatArrays": []}, []),
        ({"$concatArrays": ["$a", "$none"]}, None),
        ({"$concatArrays": ["$none", "$n"]}, None),
        ({"$reverseArray": "$a"}, ["z", "y", "x"]),
        ({"$reverseArray": "$null"}, None),
        ({"$range": [0, 3]}, [0, 1, 2]),
        ({"$range": [0, "$n", 2]}, [0, 2, 4]),
        ({"$range": [3, 0, -2]}, [3, 1]),
        ({"$range": [3, 0]}, []),
        ({"$range": [Int64(0), Decimal128("2.0"), 1.0]}, [0, 1]),
    ],
)
def test_each_operator_gives_what_mongodb_gives(expression: Any, expected: Any) -> None:
    """Also for null, missing, and what is out of range."""
    assert exactly(evaluated(expression, ABC)) == exactly(expected)


@pytest.mark.parametrize(
    "expression",
    [
        {"$arrayElemAt": ["$n", 0]},
        {"$arrayElemAt": ["$a", "$a"]},
        {"$arrayElemAt": ["$a", 1.5]},
        {"$arrayElemAt": ["$a", 2**31]},
        {"$first": "$n"},
        {"$last": "$n"},
        {"$size": "$n"},
        {"$size": "$null"},
        {"$size": "$none"},
        {"$in": [1, "$n"]},
        {"$in": [1, "$none"]},
        {"$indexOfArray": ["$n", 1]},
        {"$indexOfArray": ["$a", 1, -1]},
        {"$indexOfArray": ["$a", 1, 0, -1]},
        {"$indexOfArray": ["$a", 1, "$none"]},
        {"$slice": ["$n", 1]},
        {"$slice": ["$a", 1, 0]},
        {"$slice": ["$a", 1, -1]},
        {"$slice": ["$a", "$a"]},
        {"$slice": ["$a", 0.5]},
        {"$concatArrays": ["$a", "$n"]},
        {"$concatArrays": ["$n", "$none"]},
        {"$reverseArray": "$n"},
        {"$range": ["$none", 3]},
        {"$range": [0, "$a"]},
        {"$range": [0, "$n", 0]},
        {"$range": [0, "$n", 0.5]},
        {"$map": {"input": "$n", "in": 1}},
        {"$filter": {"input": "$n", "cond": True}},
        {"$filter": {"input": "$a", "cond": True, "limit": "$zero"}},
        {"$reduce": {"input": "$n", "initialValue": 0, "in": 1}},
    ],
)
def test_a_value_that_an_operator_refuses_is_an_error_of_the_document(expression: Any) -> None:
    """The place of the error names the operator."""
    compiled(expression)
    with pytest.raises(MqlError, match=r"\$\w+"):
        evaluated(expression, ABC | {"zero": 0})


def test_range_gives_a_bounded_number_of_elements() -> None:
    """A document cannot ask for more numbers than fit into memory."""
    assert len(evaluated({"$range": [0, "$n"]}, {"n": 1000})) == 1000
    with pytest.raises(MqlError, match=str(MAX_RANGE)):
        evaluated({"$range": [0, "$n"]}, {"n": 2**31 - 1})


def test_map_binds_each_item_to_a_name() -> None:
    """The name is `as`, or $$this. A missing result becomes null."""
    document = {"a": [{"k": 1}, {}, 3], "add": 10}
    assert evaluated({"$map": {"input": "$a", "as": "item", "in": "$$item.k"}}, document) == [1, None, None]
    assert evaluated({"$map": {"input": [1, 2], "in": {"$add": ["$$this", "$add"]}}}, document) == [11, 12]
    assert evaluated({"$map": {"input": "$none", "in": 1}}, document) is None
    assert evaluated({"$map": {"input": [], "in": 1}}, document) == []


def test_an_inner_variable_hides_the_outer_one() -> None:
    """Only inside its own expression."""
    inner = {"$map": {"input": "$$row", "as": "this", "in": {"$multiply": ["$$this", {"$size": "$$row"}]}}}
    expression = {"$map": {"input": "$rows", "as": "row", "in": [inner, "$$row"]}}
    assert evaluated(expression, {"rows": [[1, 2], [3]]}) == [[[2, 4], [1, 2]], [[3], [3]]]
    hiding = {"$map": {"input": "$a", "in": {"$concatArrays": [{"$map": {"input": [9], "in": "$$this"}}, ["$$this"]]}}}
    assert evaluated(hiding, {"a": [1, 2]}) == [[9, 1], [9, 2]]


def test_filter_keeps_items_for_which_the_condition_is_true() -> None:
    """At most `limit` of them."""
    document = {"a": [1, 5, None, "x", 0, 9], "most": 2, "zero": 0}
    assert evaluated({"$filter": {"input": "$a", "cond": "$$this"}}, document) == [1, 5, "x", 9]
    large = {"input": "$a", "as": "n", "cond": {"$and": [{"$isNumber": "$$n"}, {"$gt": ["$$n", 2]}]}}
    assert evaluated({"$filter": large}, document) == [5, 9]
    assert evaluated({"$filter": large | {"limit": 1}}, document) == [5]
    assert evaluated({"$filter": large | {"limit": "$most"}}, document) == [5, 9]
    assert evaluated({"$filter": large | {"limit": None}}, document) == [5, 9]
    assert evaluated({"$filter": large | {"input": "$none"}}, document) is None
    assert evaluated({"$filter": large | {"input": [], "limit": "$zero"}}, document) == []


def test_filter_stops_at_its_limit() -> None:
    """Items after the last one that is wanted are not evaluated."""
    expression = {"$filter": {"input": "$a", "cond": {"$divide": [1, "$$this"]}, "limit": 1}}
    assert evaluated(expression, {"a": [1, 0]}) == [1]


def test_reduce_combines_each_item_with_what_came_before() -> None:
    """It begins with the initial value."""
    document = {"a": ["x", "y"], "start": "s"}
    combine = {"input": "$a", "initialValue": "$start", "in": {"$concat": ["$$value", "$$this"]}}
    assert evaluated({"$reduce": combine}, document) == "sxy"
    assert evaluated({"$reduce": combine | {"input": []}}, document) == "s"
    assert evaluated({"$reduce": combine | {"input": "$none"}}, document) is None
    assert evaluated({"$reduce": combine | {"input": [], "initialValue": "$none"}}, document) is MISSING
    assert evaluated({"$reduce": combine | {"in": "$none"}}, document) is MISSING


@pytest.mark.parametrize(
    ("initial", "doubled"),
    [
        ("x", {"$concat": ["$$value", "$$value"]}),
        (["x"], {"$concatArrays": ["$$value", "$$value"]}),
        (["x"], ["$$value", "$$value"]),
        ("x", {"left": "$$value", "right": "$$value"}),
    ],
)
def test_reduce_cannot_fill_the_memory(initial: Any, doubled: Any) -> None:
    """A value that doubles with each item is a row error long before that."""
    expression = {"$reduce": {"input": {"$range": [0, 60]}, "initialValue": initial, "in": doubled}}
    with pytest.raises(MqlError, match="more than 16 MB"):
        evaluated(expression, {})


def test_reduce_may_make_what_a_document_can_hold() -> None:
    """What a document can hold passes."""
    expression = {
        "$reduce": {"input": {"$range": [0, 23]}, "initialValue": "x", "in": {"$concat": ["$$value", "$$value"]}}
    }
    assert len(evaluated(expression, {})) == 2**23


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ({"$in": ["$a", "b"]}, ("$in",)),
        ({"$size": [1, 2]}, ("$size",)),
        ({"$slice": ["$a"]}, ("$slice",)),
        ({"$slice": ["$a", 1, 2, 3]}, ("$slice",)),
        ({"$map": ["$a"]}, ("$map",)),
        ({"$map": {"input": "$a"}}, ("$map",)),
        ({"$map": {"input": "$a", "in": 1, "arrayIndexAs": "i"}}, ("$map",)),
        ({"$map": {"input": "$a", "as": "A", "in": 1}}, ("$map",)),
        ({"$map": {"input": "$a", "as": 1, "in": 1}}, ("$map",)),
        ({"$map": {"input": "$a", "as": "x", "in": "$$this"}}, ("$map", "in")),
        ({"$map": {"input": "$$this", "in": 1}}, ("$map", "input")),
        ({"$filter": {"input": "$a", "cond": 1, "in": 1}}, ("$filter",)),
        ({"$filter": {"input": "$a", "cond": 1, "limit": 0}}, ("$filter",)),
        ({"$filter": {"input": "$a", "cond": 1, "limit": "x"}}, ("$filter",)),
        ({"$filter": {"input": "$a", "cond": 1, "limit": "$$this"}}, ("$filter", "limit")),
        ({"$reduce": {"input": "$a", "in": "$$value"}}, ("$reduce",)),
        ({"$reduce": {"input": "$a", "initialValue": "$$value", "in": 1}}, ("$reduce", "initialValue")),
    ],
)
def test_what_no_document_could_make_right_does_not_compile(expression: Any, place: tuple[str, ...]) -> None:
    """The error has its place."""
    with pytest.raises(MqlError) as error:
        compiled(expression)
    assert error.value.place == place


def test_fields_that_are_read_for_each_item_count() -> None:
    """Variables do not."""
    assert reads_of({"$map": {"input": "$a", "as": "x", "in": {"$add": ["$$x.b", "$c.d"]}}}) == {"a", "c"}
    assert reads_of({"$filter": {"input": "$a", "cond": "$c", "limit": "$d"}}) == {"a", "c", "d"}
    assert reads_of({"$reduce": {"input": "$a", "initialValue": "$b", "in": "$c"}}) == {"a", "b", "c"}


@given(bson_values.values, st.lists(bson_values.values, max_size=5))
def test_a_constant_array_is_searched_like_one_of_the_document(value: Any, items: list[Any]) -> None:
    """A constant array is searched as one of the document is."""
    document = {"v": value, "items": items}
    expected = evaluated({"$in": ["$v", "$items"]}, document)
    assert evaluated({"$in": ["$v", {"$literal": items}]}, document) is expected
    assert expected is (evaluated({"$indexOfArray": ["$items", "$v"]}, document) != -1)


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(-8, 8), st.integers(1, 8))
def test_slice_agrees_with_array_elem_at(items: list[int], position: int, count: int) -> None:
    """$slice gives what $arrayElemAt gives at its places."""
    document = {"a": items, "p": position, "n": count}
    start = position if position >= 0 else max(0, len(items) + position)
    places = range(start, start + count)
    each = [evaluated({"$arrayElemAt": ["$a", place]}, document) for place in places]
    assert evaluated({"$slice": ["$a", "$p", "$n"]}, document) == [item for item in each if item is not MISSING]
    assert evaluated({"$slice": ["$a", "$n"]}, document) == items[:count]


def test_arrays_of_the_document_are_not_changed() -> None:
    """A result that differs from an array of the document is a new array."""
    document = {"a": [1, 2], "b": [3]}
    evaluated(
        {"$reduce": {"input": "$a", "initialValue": "$b", "in": {"$concatArrays": ["$$value", ["$$this"]]}}}, document
    )
    evaluated({"$reverseArray": {"$slice": ["$a", 2]}}, document)
    assert document == {"a": [1, 2], "b": [3]}
