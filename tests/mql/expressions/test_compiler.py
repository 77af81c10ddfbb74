"""The language of expressions: literals, paths, variables, objects, arrays, constants."""

import re
from typing import Any

import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId, Regex

from changesource.mql.bson_types import MISSING
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions import WHOLE_DOCUMENT, Scope, compile_expression
from changesource.mql.expressions.compiler import OPERATORS, REFUSED_VARIABLES, variables_with
from tests.mql.expressions.evaluation import compiled, evaluated, exactly, reads_of

DOCUMENT = {
    "a": {"b": {"c": 1}, "0": "zero", "list": [{"n": 1}, {"n": 2}]},
    "list": [{"x": 1, "y": {"z": 1}}, 5, {"x": None}, {}, [{"x": 9}], {"y": [{"z": 2}, {"z": 3}]}],
    "n": 7,
    "null": None,
    "$odd": 1,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$n", 7),
        ("$null", None),
        ("$none", MISSING),
        ("$a.b", {"c": 1}),
        ("$a.b.c", 1),
        ("$a.0", "zero"),
        ("$a.b.c.d", MISSING),
        ("$n.x", MISSING),
        ("$null.x", MISSING),
        ("$none.x.y", MISSING),
        ("$list.x", [1, None]),
        ("$list.y.z", [1, [2, 3]]),
        ("$list.none", []),
        ("$list.0", []),
        ("$a.list.n", [1, 2]),
        ("$$ROOT.a.b.c", 1),
        ("$$CURRENT.n", 7),
        ("$$ROOT.list.x", [1, None]),
    ],
)
def test_a_path_goes_through_objects_and_arrays_of_objects(path: str, expected: Any) -> None:
    """A number in it is a name."""
    assert exactly(evaluated(path, DOCUMENT)) == exactly(expected)


@pytest.mark.parametrize(
    "path", ["$", "$a.", "$.a", "$a..b", "$a.$b", "$a\0b", "$$ROOT.", "$$ROOT.$a", "$$REMOVE.", "$$"]
)
def test_a_path_has_no_empty_names_and_no_leading_dollar(path: str) -> None:
    """Empty names and names with a leading $ are no part of a path."""
    with pytest.raises(MqlError):
        compiled(path)


def test_root_and_current_are_the_whole_document() -> None:
    """$$ROOT and $$CURRENT are the whole document."""
    assert evaluated("$$ROOT", DOCUMENT) == DOCUMENT
    assert evaluated({"whole": "$$CURRENT"}, {"x": 1}) == {"whole": {"x": 1}}
    assert compiled("$$ROOT").gives == {"object"}


@pytest.mark.parametrize("name", sorted(REFUSED_VARIABLES))
def test_variables_that_depend_on_more_than_the_document_are_refused(name: str) -> None:
    """A row depends on its document alone."""
    with pytest.raises(MqlError, match="document alone"):
        compiled(f"$${name}")


def test_the_variables_of_the_scope_can_be_named() -> None:
    """With a path after them, also through an array."""
    scope = Scope().with_variables("item")
    node = compile_expression(["$$item", "$$item.x", "$$item.x.y"], scope)
    variables = {**variables_with(Budget()), "item": [{"x": 1}, {"x": {"y": 2}}]}
    assert node.evaluate({}, variables) == [[{"x": 1}, {"x": {"y": 2}}], [1, {"y": 2}], [2]]
    with pytest.raises(MqlError, match="no variable"):
        compiled("$$item")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        5,
        Int64(5),
        1.5,
        Decimal128("1.0"),
        "text",
        "",
        "a$b",
        DatetimeMS(5),
        ObjectId("507f1f77bcf86cd799439011"),
        Regex("^a", "i"),
        re.compile("a"),
        b"bytes",
    ],
)
def test_anything_else_stands_for_itself(value: Any) -> None:
    """Anything else stands for itself."""
    node = compiled(value)
    assert node.is_constant
    assert exactly(node.value) == exactly(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j])
def test_a_value_that_is_not_bson_is_refused(value: Any) -> None:
    """It is not passed on."""
    with pytest.raises(MqlError, match="not a BSON type"):
        compiled({"x": [value]})


def test_fields_of_an_object_that_are_missing_are_left_out() -> None:
    """Null is kept."""
    expression = {"x": "$n", "y": {"z": "$none", "w": "$null"}, "v": "$none", "u": "$$REMOVE", "c": 1}
    assert evaluated(expression, DOCUMENT) == {"x": 7, "y": {"w": None}, "c": 1}
    assert compiled(expression).gives == {"object"}


def test_an_array_keeps_its_length() -> None:
    """What is missing becomes null."""
    assert evaluated(["$n", "$none", [1, "$$REMOVE"]], DOCUMENT) == [7, None, [1, None]]
    assert compiled(["$n"]).gives == {"array"}


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ({"$add": [1], "x": 2}, ()),
        ({"x": 2, "$add": [1]}, ()),
        ({"$nothing": 1}, ()),
        ({"$rand": {}}, ()),
        ({"a.b": 1}, ()),
        ({"": 1}, ()),
        ({"a\0": 1}, ()),
        ({"x": {"y": [1, {"$add": [1, "$$z"]}]}}, ("x", "y", "[1]", "$add", "[1]")),
        ({"x": {"$divide": [1, 0]}}, ("x", "$divide")),
    ],
)
def test_what_is_not_the_language_is_refused(expression: Any, place: tuple[str, ...]) -> None:
    """The error has its place."""
    with pytest.raises(MqlError) as error:
        compiled(expression)
    assert error.value.place == place


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ({"$add": [1, {"$multiply": [2, 3]}]}, 7),
        ({"x": {"$add": [1, 2]}, "y": "$$REMOVE"}, {"x": 3}),
        ([{"$add": [1, 2]}, "x"], [3, "x"]),
        ({"$size": [[1, 2, {"$literal": "$x"}]]}, 3),
    ],
)
def test_an_expression_of_constants_is_evaluated_once(expression: Any, value: Any) -> None:
    """Its type is that of its value."""
    node = compiled(expression)
    assert node.is_constant
    assert node.value == value
    assert node.gives is not None
    assert len(node.gives) == 1


def test_an_expression_with_one_path_is_not_folded() -> None:
    """One path is enough."""
    for expression in ({"$add": [1, "$n"]}, {"x": [1, "$n"]}, "$n", "$$ROOT"):
        assert not compiled(expression).is_constant


@pytest.mark.parametrize(
    ("expression", "reads"),
    [
        ("$a.b.c", {"a"}),
        ("$$ROOT.a.b", {"a"}),
        ("$$ROOT", {WHOLE_DOCUMENT}),
        ({"x": "$a", "y": ["$b.c", {"$add": ["$d", 1]}]}, {"a", "b", "d"}),
        ({"$cond": ["$a", "$b", "$c"]}, {"a", "b", "c"}),
        ("text", set()),
    ],
)
def test_the_top_level_fields_that_are_read_are_known(expression: Any, reads: set[str]) -> None:
    """The top-level fields that a row depends on."""
    assert reads_of(expression) == reads


def test_operators_promise_types_that_exist() -> None:
    """Each operator that says what it gives says it of types that there are."""
    arguments: dict[str, Any] = {
        "$gt": ["$a", "$b"],
        "$size": "$a",
        "$add": ["$a", "$b"],
        "$map": {"input": "$a", "in": 1},
    }
    assert {name: compiled({name: each}).gives for name, each in arguments.items()} == {
        "$gt": {"bool"},
        "$size": {"int"},
        "$add": {"int", "long", "double", "decimal", "date", "null"},
        "$map": {"array", "null"},
    }


def test_operators_have_the_names_of_mongodb() -> None:
    """The name of an operator begins with $, and no other name in an expression does."""
    assert all(name.startswith("$") for name in OPERATORS)
    assert evaluated({"price": "$n"}, DOCUMENT) == {"price": 7}


FAILS = {"$toInt": "$text"}


@pytest.mark.parametrize(
    "expression",
    [
        {"$add": ["$none", FAILS]},
        {"$add": [1, "$missing", FAILS]},
        {"$multiply": ["$none", FAILS]},
        {"$concatArrays": ["$none", FAILS]},
        {"$round": ["$none", FAILS]},
        {"$trunc": ["$missing", FAILS]},
        {"$indexOfArray": ["$none", FAILS]},
        {"$indexOfCP": ["$none", FAILS]},
        {"$indexOfBytes": ["$missing", "a", FAILS]},
        {"$slice": ["$none", 1, FAILS]},
        {"$slice": ["$items", "$none", FAILS]},
        {"$trim": {"input": "$none", "chars": FAILS}},
        {"$setField": {"field": "k", "input": "$none", "value": FAILS}},
    ],
)
def test_nothing_after_a_deciding_null_is_evaluated(expression: Any) -> None:
    """An error there does not count."""
    assert evaluated(expression, {"none": None, "text": "a", "items": [1]}) is None


@pytest.mark.parametrize(
    "expression",
    [
        {"$add": ["$text", "$none"]},
        {"$add": [FAILS, "$none"]},
        {"$concatArrays": ["$text", FAILS]},
        {"$slice": ["$none", FAILS]},
        {"$divide": ["$none", FAILS]},
    ],
)
def test_an_error_before_a_null_counts(expression: Any) -> None:
    """So does one among arguments that are always evaluated."""
    with pytest.raises(MqlError):
        evaluated(expression, {"none": None, "text": "a"})
