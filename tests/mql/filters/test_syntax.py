"""What a filter may say, and what is refused at compile time, with its place."""

import re
from decimal import Decimal

import pytest
from bson import Decimal128, Int64, Regex

from changesource.mql.errors import MqlError
from changesource.mql.expressions import WHOLE_DOCUMENT, Scope
from changesource.mql.filters import compile_filter, filter_fields, parse_filter
from changesource.mql.filters.tree import (
    All,
    And,
    Compare,
    ElemMatch,
    ElemMatchValue,
    Exists,
    HasRemainder,
    HasSize,
    HasType,
    In,
    MatchesPattern,
    Nor,
    Not,
    Or,
)

A = ("a",)


@pytest.mark.parametrize(
    ("filter", "parsed"),
    [
        ({}, And(())),
        ({"a": 1}, Compare(A, "$eq", 1)),
        ({"a.0.b": 1}, Compare(("a", "0", "b"), "$eq", 1)),
        ({"a": {}}, Compare(A, "$eq", {})),
        ({"a": {"b": {"$gt": 1}}}, Compare(A, "$eq", {"b": {"$gt": 1}})),
        ({"a": (1, (2,))}, Compare(A, "$eq", [1, [2]])),
        ({"a": {"$ref": "rooms", "$id": 1}}, Compare(A, "$eq", {"$ref": "rooms", "$id": 1})),
        ({"a": {"$eq": {"$gt": 1}}}, Compare(A, "$eq", {"$gt": 1})),
        ({"a": {"$gt": 1, "$lt": 5}}, And((Compare(A, "$gt", 1), Compare(A, "$lt", 5)))),
        ({"a": 1, "b": 2}, And((Compare(A, "$eq", 1), Compare(("b",), "$eq", 2)))),
        ({"a": {"$ne": 1}}, Not(Compare(A, "$eq", 1))),
        ({"a": {"$in": [1, Regex("x")]}}, In(A, (1,), (Regex("x"),))),
        ({"a": {"$nin": []}}, Not(In(A, (), ()))),
        ({"a": {"$exists": 1}}, Exists(A)),
        ({"a": {"$exists": 0.0}}, Not(Exists(A))),
        ({"a": {"$exists": None}}, Not(Exists(A))),
        ({"a": {"$exists": ""}}, Exists(A)),
        ({"a": {"$type": "string"}}, HasType(A, frozenset({"string"}))),
        ({"a": {"$type": [2, 10.0, Int64(-1)]}}, HasType(A, frozenset({"string", "null", "minKey"}))),
        ({"a": {"$type": "number"}}, HasType(A, frozenset({"int", "long", "double", "decimal"}))),
        ({"a": Regex("x", "i")}, MatchesPattern(A, Regex("x", "i"))),
        ({"a": re.compile(b"x", re.S)}, MatchesPattern(A, Regex("x", "s"))),
        ({"a": {"$options": "mi", "$regex": "x"}}, MatchesPattern(A, Regex("x", "im"))),
        ({"a": {"$regex": Regex("x"), "$options": "i"}}, MatchesPattern(A, Regex("x", "i"))),
        ({"a": {"$not": Regex("x")}}, Not(MatchesPattern(A, Regex("x")))),
        ({"a": {"$not": {"$gt": 1, "$lt": 5}}}, Not(And((Compare(A, "$gt", 1), Compare(A, "$lt", 5))))),
        ({"a": {"$size": 2.0}}, HasSize(A, 2)),
        ({"a": {"$size": Decimal128("2")}}, HasSize(A, 2)),
        ({"a": {"$mod": [4.9, Decimal128("-1.5")]}}, HasRemainder(A, 4, -1)),
        ({"a": {"$all": [1, Regex("x")]}}, All(A, (Compare(A, "$eq", 1), MatchesPattern(A, Regex("x"))))),
        ({"a": {"$all": []}}, All(A, ())),
        ({"a": {"$all": [{"$elemMatch": {"k": 1}}]}}, All(A, (ElemMatch(A, Compare(("k",), "$eq", 1)),))),
        ({"a": {"$elemMatch": {}}}, ElemMatch(A, And(()))),
        ({"a": {"$elemMatch": {"$gt": 1}}}, ElemMatchValue(A, Compare((), "$gt", 1))),
        ({"a": {"$elemMatch": {"$not": {"$gt": 1}}}}, ElemMatchValue(A, Not(Compare((), "$gt", 1)))),
        ({"a": {"$elemMatch": {"$or": [{"k": 1}]}}}, ElemMatch(A, Or((Compare(("k",), "$eq", 1),)))),
        ({"a": {"$elemMatch": {"$id": 1}}}, ElemMatch(A, Compare(("$id",), "$eq", 1))),
        ({"$and": [{"a": 1}]}, And((Compare(A, "$eq", 1),))),
        ({"$nor": [{"a": 1}, {}]}, Nor((Compare(A, "$eq", 1), And(())))),
    ],
)
def test_each_form_of_the_language_has_its_parsed_form(filter, parsed):
    """Each form of the language has its parsed form."""
    assert parse_filter(filter) == parsed


@pytest.mark.parametrize(
    ("filter", "place"),
    [
        (None, ()),
        ([], ()),
        ({1: 2}, ()),
        ({"a\0": 2}, ()),
        ({"$where": "true"}, ("$where",)),
        ({"$text": {"$search": "x"}}, ("$text",)),
        ({"$jsonSchema": {}}, ("$jsonSchema",)),
        ({"$comment": "x"}, ("$comment",)),
        ({"$not": {"a": 1}}, ("$not",)),
        ({"$gt": 1}, ("$gt",)),
        ({"$sum": 1}, ("$sum",)),
        ({"$and": []}, ("$and",)),
        ({"$or": {"a": 1}}, ("$or",)),
        ({"$nor": [{"a": 1}, 1]}, ("$nor", "[1]")),
        ({"$or": [{}, {"a": {"$near": 1}}]}, ("$or", "[1]", "a", "$near")),
        ({"$expr": {"$eq": ["$a"]}}, ("$expr", "$eq")),
        ({"a": {"$bitsAllSet": 1}}, ("a", "$bitsAllSet")),
        ({"a": {"$and": [{"b": 1}]}}, ("a", "$and")),
        ({"a": {"$equals": 1}}, ("a", "$equals")),
        ({"a": {"$gt": 1, "b": 1}}, ("a",)),
        ({"a": {"b": 1, "$gt": 1}}, ("a",)),
        ({"a": object()}, ("a",)),
        ({"a": Decimal("1")}, ("a",)),
        ({"a": {"b": [2**63]}}, ("a",)),
        ({"a": {1: 2}}, ("a",)),
        ({"a": {"$gt": Regex("x")}}, ("a", "$gt")),
        ({"a": {"$lte": re.compile("x")}}, ("a", "$lte")),
        ({"a": {"$ne": Regex("x")}}, ("a", "$ne")),
        ({"a": {"$in": "x"}}, ("a", "$in")),
        ({"a": {"$in": [1, {"$gt": 1}]}}, ("a", "$in", "[1]")),
        ({"a": {"$nin": 1}}, ("a", "$nin")),
        ({"a": {"$not": 1}}, ("a", "$not")),
        ({"a": {"$not": {}}}, ("a", "$not")),
        ({"a": {"$not": {"b": 1}}}, ("a", "$not")),
        ({"a": {"$not": {"$gt": Regex("x")}}}, ("a", "$not", "$gt")),
        ({"a": {"$type": []}}, ("a", "$type")),
        ({"a": {"$type": "text"}}, ("a", "$type")),
        ({"a": {"$type": 0}}, ("a", "$type")),
        ({"a": {"$type": 2.5}}, ("a", "$type")),
        ({"a": {"$type": True}}, ("a", "$type")),
        ({"a": {"$type": [["string"]]}}, ("a", "$type")),
        ({"a": {"$type": "missing"}}, ("a", "$type")),
        ({"a": {"$type": "undefined"}}, ("a", "$type")),
        ({"a": {"$type": 14}}, ("a", "$type")),
        ({"a": {"$regex": 1}}, ("a", "$regex")),
        ({"a": {"$regex": "("}}, ("a", "$regex")),
        ({"a": {"$regex": "x", "$options": "g"}}, ("a", "$regex")),
        ({"a": {"$regex": "x", "$options": 1}}, ("a", "$regex")),
        ({"a": {"$regex": Regex("x", "i"), "$options": "s"}}, ("a", "$regex")),
        ({"a": {"$options": "i"}}, ("a", "$options")),
        ({"a": Regex("(")}, ("a",)),
        ({"a": Regex("x", "l")}, ("a",)),
        ({"a": Regex(b"\xff")}, ("a",)),
        ({"a": {"$all": 1}}, ("a", "$all")),
        ({"a": {"$all": [{"$gt": 1}]}}, ("a", "$all", "[0]")),
        ({"a": {"$all": [{"$elemMatch": {}}, 1]}}, ("a", "$all")),
        ({"a": {"$size": -1}}, ("a", "$size")),
        ({"a": {"$size": 1.5}}, ("a", "$size")),
        ({"a": {"$size": True}}, ("a", "$size")),
        ({"a": {"$size": "1"}}, ("a", "$size")),
        ({"a": {"$elemMatch": 1}}, ("a", "$elemMatch")),
        ({"a": {"$elemMatch": {"$gt": 1, "k": 1}}}, ("a", "$elemMatch", "k")),
        ({"items": {"$elemMatch": {"k": {"$gt": Regex("x")}}}}, ("items", "$elemMatch", "k", "$gt")),
        ({"a": {"$elemMatch": {"$expr": True}}}, ("a", "$elemMatch", "$expr")),
        ({"a": {"$mod": 2}}, ("a", "$mod")),
        ({"a": {"$mod": [2]}}, ("a", "$mod")),
        ({"a": {"$mod": [2, 1, 0]}}, ("a", "$mod")),
        ({"a": {"$mod": [0, 1]}}, ("a", "$mod")),
        ({"a": {"$mod": [0.5, 1]}}, ("a", "$mod")),
        ({"a": {"$mod": [float("nan"), 1]}}, ("a", "$mod")),
        ({"a": {"$mod": [2, Decimal128("Infinity")]}}, ("a", "$mod")),
        ({"a": {"$mod": [Decimal128("1E+6000"), 1]}}, ("a", "$mod")),
        ({"a": {"$mod": ["2", 1]}}, ("a", "$mod")),
        ({"a": {"$mod": [True, 0]}}, ("a", "$mod")),
    ],
)
def test_what_no_document_could_make_right_does_not_compile(filter, place):
    """The error has its place."""
    with pytest.raises(MqlError) as caught:
        compile_filter(filter)
    assert caught.value.place == place


def test_a_deep_filter_is_refused():
    """It is a `MqlError` and no overflow of the stack."""
    filter = {"a": 1}
    for _ in range(100_000):
        filter = {"$and": [filter]}
    with pytest.raises(MqlError, match="nested"):
        compile_filter(filter)


def test_a_filter_keeps_its_constants():
    """What the caller does to the filter later changes nothing."""
    wanted = {"x": [1]}
    matches = compile_filter({"a": wanted})
    wanted["x"].append(2)
    assert matches({"a": {"x": [1]}})


@pytest.mark.parametrize(
    ("filter", "read"),
    [
        ({}, set()),
        ({"a.b": 1, "$or": [{"c": 1}, {"d": {"$ne": 2}}]}, {"a", "c", "d"}),
        ({"items": {"$elemMatch": {"k": 1}}, "tags": {"$all": [{"$elemMatch": {"$gt": 1}}]}}, {"items", "tags"}),
        ({"$expr": {"$eq": ["$x.y", "$z"]}, "a": 1}, {"x", "z", "a"}),
        ({"$nor": [{"$expr": {"$eq": ["$$ROOT", 1]}}]}, {WHOLE_DOCUMENT}),
    ],
)
def test_the_top_level_fields_that_are_read_are_known(filter, read):
    """Those of $expr too."""
    assert filter_fields(parse_filter(filter)) == read


def test_each_expr_knows_what_it_reads_itself():
    """The scope has the fields of all."""
    scope = Scope()
    parsed = parse_filter({"$and": [{"$expr": "$a"}, {"$expr": "$b"}]}, scope)
    assert [member.reads for member in parsed.members] == [{"a"}, {"b"}]
    assert scope.reads == {"a", "b"}
