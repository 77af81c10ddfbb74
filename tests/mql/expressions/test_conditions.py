"""$cond $switch $ifNull $and $or $not $let $literal."""

from typing import Any

import pytest
from bson import Decimal128, Int64

from changesource.mql.bson_types import MISSING
from changesource.mql.errors import MqlError
from tests.mql.expressions.evaluation import compiled, evaluated, reads_of

FAILS = {"$divide": [1, "$zero"]}
ZERO = {"zero": 0}

TRUE = [True, 1, -0.5, float("nan"), Int64(2), Decimal128("0.1"), "", "false", [], {}]
FALSE = [False, None, 0, -0.0, Int64(0), Decimal128("0E+3"), Decimal128("-0")]


@pytest.mark.parametrize(("value", "expected"), [(value, True) for value in TRUE] + [(value, False) for value in FALSE])
def test_only_false_null_missing_and_zeros_are_not_true(value: Any, expected: bool) -> None:
    """Only false, null, missing and zeros are not true."""
    document = {"v": value}
    assert evaluated({"$cond": ["$v", 1, 2]}, document) == (1 if expected else 2)
    assert evaluated({"$and": "$v"}, document) is expected
    assert evaluated({"$or": ["$v"]}, document) is expected
    assert evaluated({"$not": "$v"}, document) is not expected


def test_a_missing_field_is_not_true() -> None:
    """A condition over a field that is not there does not hold."""
    assert evaluated({"$cond": ["$v", 1, 2]}) == 2
    assert evaluated({"$not": ["$v"]}) is True


def test_a_signaling_nan_is_true() -> None:
    """As every NaN is."""
    assert evaluated({"$not": ["$v"]}, {"v": Decimal128("sNaN")}) is False


def test_both_forms_of_cond_are_the_same() -> None:
    """An array or an object."""
    document = {"n": 5, "a": "yes"}
    assert evaluated({"$cond": [{"$gt": ["$n", 3]}, "$a", "no"]}, document) == "yes"
    assert evaluated({"$cond": {"else": "no", "if": {"$gt": ["$n", 7]}, "then": "$a"}}, document) == "no"
    assert evaluated({"$cond": [True, "$x", 1]}, document) is MISSING


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"$cond": ["$zero", FAILS, "other"]}, "other"),
        ({"$cond": [{"$not": "$zero"}, "other", FAILS]}, "other"),
        ({"$switch": {"branches": [{"case": True, "then": "x"}, {"case": FAILS, "then": FAILS}]}}, "x"),
        ({"$switch": {"branches": [{"case": "$zero", "then": FAILS}], "default": "x"}}, "x"),
        ({"$ifNull": ["$zero", FAILS]}, 0),
        ({"$and": [True, "$zero", FAILS]}, False),
        ({"$or": [False, {"$not": "$zero"}, FAILS]}, True),
    ],
)
def test_what_is_not_needed_is_not_evaluated(expression: Any, expected: Any) -> None:
    """An error in it does not count."""
    assert evaluated(expression, ZERO) == expected


def test_switch_gives_the_first_branch_that_holds() -> None:
    """Or the default."""
    branches = [{"case": {"$gt": ["$n", 9]}, "then": "many"}, {"case": {"$gt": ["$n", 1]}, "then": "$some"}]
    expression = {"$switch": {"branches": branches, "default": "$none"}}
    assert evaluated(expression, {"n": 10}) == "many"
    assert evaluated(expression, {"n": 2, "some": "some"}) == "some"
    assert evaluated(expression, {"n": 0, "none": None}) is None
    assert reads_of(expression) == {"n", "some", "none"}


def test_switch_without_a_match_and_a_default_is_an_error() -> None:
    """It is an error of the document."""
    expression = {"$switch": {"branches": [{"case": "$a", "then": 1}]}}
    assert evaluated(expression, {"a": True}) == 1
    with pytest.raises(MqlError, match="no default"):
        evaluated(expression, {"a": False})


def test_switch_drops_branches_that_constants_decide() -> None:
    """False ones, and those after a true one. Without a branch and a default nothing is left."""
    never, always = {"case": {"$eq": [1, 2]}, "then": "$a"}, {"case": {"$eq": [1, 1]}, "then": "$b"}
    assert evaluated({"$switch": {"branches": [never, always, {"case": True, "then": "$c"}]}}, {"b": 2}) == 2
    assert evaluated({"$switch": {"branches": [never], "default": "$c"}}, {"c": 3}) == 3
    with pytest.raises(MqlError, match="no default"):
        compiled({"$ifNull": ["$a", {"$switch": {"branches": [never]}}]})


def test_if_null_gives_the_first_value_that_is_not_null() -> None:
    """Or the last argument, whatever it is."""
    assert evaluated({"$ifNull": ["$a", "$b", 3]}, {"b": 2}) == 2
    assert evaluated({"$ifNull": ["$a", "$b", 3]}, {"a": None}) == 3
    assert evaluated({"$ifNull": ["$a", "$b"]}) is MISSING
    assert evaluated({"$ifNull": ["$a", "x"]}, {"a": ""}) == ""
    assert evaluated({"$ifNull": ["$a", "x"]}, {"a": False}) is False


def test_and_of_nothing_is_true_and_or_of_nothing_is_false() -> None:
    """Nothing is true in all, and false in any."""
    assert evaluated({"$and": []}) is True
    assert evaluated({"$or": []}) is False


def test_literal_gives_its_argument_unevaluated() -> None:
    """What would be an expression is a value."""
    assert evaluated({"$literal": "$a"}, {"a": 1}) == "$a"
    assert evaluated({"$literal": {"$add": [1, 2]}}) == {"$add": [1, 2]}
    assert reads_of({"$literal": "$a"}) == set()


def test_variables_of_let_exist_only_inside() -> None:
    """One may hide another, and may be missing."""
    assert evaluated({"$let": {"vars": {"x": "$a", "y": 2}, "in": {"$add": ["$$x", "$$y"]}}}, {"a": 1}) == 3
    inner = {"$let": {"vars": {"x": {"$add": ["$$x", 1]}, "y": "$$x"}, "in": ["$$x", "$$y"]}}
    assert evaluated({"$let": {"vars": {"x": "$a"}, "in": [inner, "$$x"]}}, {"a": 1}) == [[2, 1], 1]
    outer = {"$let": {"vars": {"y": 2}, "in": {"$add": ["$$x", "$$y"]}}}
    assert evaluated({"$let": {"vars": {"x": "$a"}, "in": outer}}, {"a": 1}) == 3
    assert evaluated({"$let": {"vars": {"x": "$a.b"}, "in": "$$x.c"}}, {"a": {"b": {"c": 7}}}) == 7
    assert evaluated({"$let": {"vars": {"x": "$a"}, "in": "$$x"}}) is MISSING
    with pytest.raises(MqlError, match="no variable"):
        compiled({"$let": {"vars": {"x": 1, "y": "$$x"}, "in": 1}})


@pytest.mark.parametrize("name", ["", "X", "_x", "1x", "x-y", "x.y", "CURRENT", "ROOT", "x\n"])
def test_names_of_variables_begin_with_a_lowercase_letter(name: str) -> None:
    """The names of MongoDB's own variables are refused."""
    with pytest.raises(MqlError, match="cannot name a variable"):
        compiled({"$let": {"vars": {name: 1}, "in": 1}})
    assert evaluated({"$let": {"vars": {"é_9A": 1}, "in": "$$é_9A"}}) == 1


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ({"$cond": ["$a", 1]}, ("$cond",)),
        ({"$cond": {"if": "$a", "then": 1}}, ("$cond",)),
        ({"$cond": {"if": "$a", "then": 1, "else": 2, "other": 3}}, ("$cond",)),
        ({"$cond": {"if": "$a", "then": "$$x", "else": 2}}, ("$cond", "then")),
        ({"$switch": []}, ("$switch",)),
        ({"$switch": {"branches": []}}, ("$switch",)),
        ({"$switch": {"branches": {"case": 1, "then": 2}}}, ("$switch",)),
        ({"$switch": {"branches": [{"case": "$a", "then": 2}], "other": 1}}, ("$switch",)),
        ({"$switch": {"branches": [{"case": "$a"}]}}, ("$switch", "branches[0]")),
        ({"$switch": {"branches": [{"case": "$a", "then": 1, "else": 2}]}}, ("$switch", "branches[0]")),
        ({"$switch": {"branches": [{"case": "$$x", "then": 1}]}}, ("$switch", "branches[0].case")),
        ({"$ifNull": ["$a"]}, ("$ifNull",)),
        ({"$not": ["$a", "$b"]}, ("$not",)),
        ({"$and": ["$a", "$$x"]}, ("$and", "[1]")),
        ({"$let": {"vars": {"x": 1}}}, ("$let",)),
        ({"$let": {"vars": ["x"], "in": 1}}, ("$let",)),
        ({"$let": {"vars": {"x": "$$y"}, "in": 1}}, ("$let", "vars.x")),
    ],
)
def test_what_no_document_could_make_right_does_not_compile(expression: Any, place: tuple[str, ...]) -> None:
    """The error has its place."""
    with pytest.raises(MqlError) as error:
        compiled(expression)
    assert error.value.place == place


@pytest.mark.parametrize(
    "expression",
    [
        {"$cond": [True, 1, 2]},
        {"$switch": {"branches": [{"case": {"$eq": [1, 1]}, "then": 1}]}},
        {"$ifNull": [None, 1]},
        {"$and": [1, True]},
        {"$or": [0, True]},
        {"$not": [False]},
        {"$let": {"vars": {"x": "$a"}, "in": 1}},
    ],
)
def test_what_depends_on_no_document_is_a_constant(expression: Any) -> None:
    """What depends on no document is a constant."""
    node = compiled(expression)
    assert node.is_constant
    assert node.value == 1


@pytest.mark.parametrize(
    ("expression", "gives"),
    [
        ({"$cond": ["$a", 1, "x"]}, {"int", "string"}),
        ({"$cond": ["$a", 1, "$b"]}, None),
        ({"$switch": {"branches": [{"case": "$a", "then": 1}], "default": None}}, {"int", "null"}),
        ({"$switch": {"branches": [{"case": "$a", "then": 1}]}}, {"int"}),
        ({"$ifNull": [{"$abs": "$a"}, "x"]}, {"int", "long", "double", "decimal", "string"}),
        ({"$ifNull": ["$a", "x"]}, None),
        ({"$and": ["$a"]}, {"bool"}),
        ({"$let": {"vars": {"x": "$a"}, "in": {"$not": "$$x"}}}, {"bool"}),
    ],
)
def test_the_types_of_a_choice_are_those_of_its_branches(expression: Any, gives: set[str] | None) -> None:
    """$ifNull gives no null except that of its last argument."""
    assert compiled(expression).gives == gives
