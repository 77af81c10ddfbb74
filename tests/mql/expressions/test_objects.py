"""$mergeObjects $objectToArray $arrayToObject $getField $setField $unsetField."""

from typing import Any

import pytest
from bson import DBRef
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.bson_types import MISSING
from changesource.mql.errors import MqlError
from changesource.mql.expressions.compiler import WHOLE_DOCUMENT
from tests.mql import bson_values
from tests.mql.expressions.evaluation import compiled, evaluated, exactly, reads_of

DOCUMENT = {
    "o": {"x": 1, "y": {"z": 2}},
    "p": {"y": 3, "w": 4},
    "list": [{"x": 5}, None, {"v": 6}],
    "pairs": [["a", 1], ["b", None], ["a", 2]],
    "members": [{"k": "a", "v": 1}, {"v": 2, "k": "b"}],
    "ref": DBRef("users", 7),
    "null": None,
    "empty": [],
    "n": 5,
    "a.b": "dotted",
    "$price": "dollar",
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"$mergeObjects": ["$o", "$p"]}, {"x": 1, "y": 3, "w": 4}),
        ({"$mergeObjects": ["$null", "$o", "$none"]}, {"x": 1, "y": {"z": 2}}),
        ({"$mergeObjects": ["$null"]}, {}),
        ({"$mergeObjects": []}, {}),
        ({"$mergeObjects": "$list"}, {"x": 5, "v": 6}),
        ({"$mergeObjects": ["$ref", {"x": "$n"}]}, {"$ref": "users", "$id": 7, "x": 5}),
        ({"$objectToArray": "$p"}, [{"k": "y", "v": 3}, {"k": "w", "v": 4}]),
        ({"$objectToArray": "$null"}, None),
        ({"$objectToArray": "$none"}, None),
        ({"$arrayToObject": "$pairs"}, {"a": 2, "b": None}),
        ({"$arrayToObject": "$members"}, {"a": 1, "b": 2}),
        ({"$arrayToObject": [[["x", "$n"]]]}, {"x": 5}),
        ({"$arrayToObject": [[{"k": "a.b", "v": "$n"}]]}, {"a.b": 5}),
        ({"$arrayToObject": "$empty"}, {}),
        ({"$arrayToObject": "$null"}, None),
        ({"$getField": "n"}, 5),
        ({"$getField": "a.b"}, "dotted"),
        ({"$getField": {"$literal": "$price"}}, "dollar"),
        ({"$getField": "none"}, MISSING),
        ({"$getField": "null"}, None),
        ({"$getField": {"field": {"$literal": "$price"}, "input": "$$ROOT"}}, "dollar"),
        ({"$getField": {"field": {"$concat": ["a", ".", "b"]}, "input": "$$CURRENT"}}, "dotted"),
        ({"$getField": {"field": "x", "input": "$o"}}, 1),
        ({"$getField": {"field": "y.z", "input": "$o"}}, MISSING),
        ({"$getField": {"field": "x", "input": "$null"}}, None),
        ({"$getField": {"field": "x", "input": "$none"}}, MISSING),
        ({"$getField": {"field": "x", "input": "$n"}}, MISSING),
        ({"$getField": {"field": "x", "input": "$list"}}, MISSING),
        ({"$getField": {"field": {"$literal": "$id"}, "input": "$ref"}}, 7),
        ({"$getField": {"field": "a", "input": {"$literal": {"a": 1}}}}, 1),
        ({"$setField": {"field": "x", "input": "$o", "value": "$n"}}, {"x": 5, "y": {"z": 2}}),
        ({"$setField": {"field": "q.r", "input": "$p", "value": 1}}, {"y": 3, "w": 4, "q.r": 1}),
        ({"$setField": {"field": "y", "input": "$p", "value": "$none"}}, {"w": 4}),
        ({"$setField": {"field": "q", "input": "$p", "value": "$$REMOVE"}}, {"y": 3, "w": 4}),
        ({"$setField": {"field": "q", "input": "$null", "value": 1}}, None),
        ({"$unsetField": {"field": "y", "input": "$p"}}, {"w": 4}),
        ({"$unsetField": {"field": {"$literal": "$id"}, "input": "$ref"}}, {"$ref": "users"}),
        ({"$unsetField": {"field": "y", "input": "$none"}}, None),
    ],
)
def test_each_operator_gives_what_mongodb_gives(expression: Any, expected: Any) -> None:
    """With the fields in order. Null and missing mostly give null."""
    assert exactly(evaluated(expression, DOCUMENT)) == exactly(expected)


@pytest.mark.parametrize(
    "expression",
    [
        {"$mergeObjects": ["$o", "$n"]},
        {"$mergeObjects": ["$list", "$o"]},
        {"$mergeObjects": "$pairs"},
        {"$objectToArray": "$n"},
        {"$objectToArray": "$list"},
        {"$arrayToObject": "$n"},
        {"$arrayToObject": "$o"},
        {"$arrayToObject": "$list"},
        {"$arrayToObject": [["$n"]]},
        {"$arrayToObject": [[["a", "$n"], {"k": "b", "v": 1}]]},
        {"$arrayToObject": [[{"k": "b", "v": "$n"}, ["a", 1]]]},
        {"$arrayToObject": [[["a", "$n", 1]]]},
        {"$arrayToObject": [[["$n", 1]]]},
        {"$arrayToObject": [[{"k": "$n", "v": 1}]]},
        {"$arrayToObject": [[{"k": "a", "v": "$none"}]]},
        {"$arrayToObject": [[{"k": "a", "v": "$n", "w": 1}]]},
        {"$arrayToObject": [[["a\0b", "$n"]]]},
        {"$setField": {"field": "x", "input": "$n", "value": 1}},
        {"$unsetField": {"field": "x", "input": "$list"}},
    ],
)
def test_a_value_that_an_operator_refuses_is_an_error_of_the_document(expression: Any) -> None:
    """The place of the error names the operator."""
    compiled(expression)
    with pytest.raises(MqlError, match=r"\$\w+"):
        evaluated(expression, DOCUMENT)


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ({"$objectToArray": ["$a", "$b"]}, ("$objectToArray",)),
        ({"$getField": "$a"}, ("$getField",)),
        ({"$getField": 5}, ("$getField",)),
        ({"$getField": {"$add": [1, 2]}}, ("$getField",)),
        ({"$getField": {"field": "a"}}, ("$getField",)),
        ({"$getField": {"input": "$a"}}, ("$getField",)),
        ({"$getField": {"field": "a", "input": "$a", "other": 1}}, ("$getField",)),
        ({"$getField": {"field": "$b", "input": "$a"}}, ("$getField", "field")),
        ({"$getField": {"field": None, "input": "$a"}}, ("$getField", "field")),
        ({"$getField": {"field": "a", "input": "$$x"}}, ("$getField", "input")),
        ({"$setField": {"field": "a", "input": "$a"}}, ("$setField",)),
        ({"$setField": {"field": 1, "input": "$a", "value": 1}}, ("$setField", "field")),
        ({"$setField": "a"}, ("$setField",)),
        ({"$unsetField": {"field": "a", "input": "$a", "value": 1}}, ("$unsetField",)),
    ],
)
def test_what_no_document_could_make_right_does_not_compile(expression: Any, place: tuple[str, ...]) -> None:
    """The error has its place."""
    with pytest.raises(MqlError) as error:
        compiled(expression)
    assert error.value.place == place


def test_a_named_field_of_the_document_is_read() -> None:
    """Of another object, the fields that it is made of are read."""
    assert reads_of({"$getField": "a.b"}) == {"a.b"}
    assert reads_of({"$getField": {"field": "a.b", "input": "$$ROOT"}}) == {"a.b"}
    assert reads_of({"$getField": {"field": "a", "input": "$o.p"}}) == {"o"}
    assert reads_of({"$setField": {"field": "a", "input": "$$ROOT", "value": "$b"}}) == {WHOLE_DOCUMENT, "b"}


def test_results_are_new_objects() -> None:
    """The document is not changed."""
    document = {"o": {"x": 1}}
    evaluated({"$mergeObjects": ["$o", {"y": 1}]}, document)
    evaluated({"$setField": {"field": "x", "input": "$o", "value": 2}}, document)
    evaluated({"$unsetField": {"field": "x", "input": "$$ROOT"}}, document)
    assert document == {"o": {"x": 1}}


@given(st.dictionaries(bson_values.field_names, bson_values.values, max_size=4))
def test_array_to_object_undoes_object_to_array(fields: dict[str, Any]) -> None:
    """$arrayToObject takes what $objectToArray gives, and makes the same object of it."""
    assert exactly(evaluated({"$arrayToObject": {"$objectToArray": "$o"}}, {"o": fields})) == exactly(fields)


@given(st.dictionaries(bson_values.field_names, bson_values.values, max_size=4), bson_values.field_names)
def test_set_get_unset(fields: dict[str, Any], name: str) -> None:
    """A field that is set is what is got, whatever its name; one that is unset is missing."""
    field = {"$literal": name}
    changed = {"$setField": {"field": field, "input": "$o", "value": "new"}}
    assert evaluated({"$getField": {"field": field, "input": changed}}, {"o": fields}) == "new"
    removed = {"$unsetField": {"field": field, "input": changed}}
    assert evaluated({"$getField": {"field": field, "input": removed}}, {"o": fields}) is MISSING
