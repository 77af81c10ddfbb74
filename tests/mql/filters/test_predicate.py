"""Which documents a filter matches, as mongod would say."""

import re
import uuid
from datetime import UTC, datetime

import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.errors import MqlError
from changesource.mql.filters import compile_filter
from tests.mql.bson_values import values

NAN = float("nan")
DECIMAL_NAN = Decimal128("NaN")
ID = ObjectId("507f1f77bcf86cd799439011")
ROOM = {
    "_id": "room1",
    "t": "d",
    "memberIds": ["alice", "bob"],
    "archived": False,
    "nested": {"property": "value"},
}
ITEM = {
    "_id": ID,
    "n": 15,
    "s": "hello",
    "tags": ["a", "b"],
    "items": [{"k": 1}, {"k": 2}],
    "at": DatetimeMS(1714521600000),
    "nul": None,
    "o": {"x": 1},
    "f": False,
    "z": 0,
}


@pytest.mark.parametrize(
    ("filter", "matches"),
    [
        ({"t": "d"}, True),
        ({"t": "p"}, False),
        ({"archived": {"$ne": True}}, True),
        ({"archived": {"$ne": False}}, False),
        ({"t": {"$in": ["d", "p"]}}, True),
        ({"t": {"$in": ["c", "p"]}}, False),
        ({"nested.property": "value"}, True),
        ({"nested.property": "other"}, False),
        ({"t": "d", "archived": {"$ne": True}}, True),
        ({"t": "c", "archived": {"$ne": True}}, False),
        ({"t": "d", "archived": {"$ne": False}}, False),
        ({"memberIds": "bob"}, True),
        ({}, True),
    ],
)
def test_everyday_filters_match_a_document(filter, matches):
    """Those of a chat."""
    assert compile_filter(filter)(ROOM) is matches


@pytest.mark.parametrize(
    ("filter", "matches"),
    [
        ({"n": {"$lt": 12, "$gte": 10}}, False),
        ({"n": {"$lt": 16, "$gte": 10}}, True),
        ({"n": {}}, False),
        ({"$and": [{"n": 15}]}, True),
        ({"$expr": {"$eq": ["$n", 15]}}, True),
        ({"$expr": {"$eq": ["$n", 16]}}, False),
        ({"tags": {"$all": ["a"]}}, True),
        ({"items": {"$elemMatch": {"k": 1}}}, True),
        ({"n": {"$type": "int"}}, True),
        ({"tags": ["a", "b"]}, True),
        ({"items.k": 1}, True),
        ({"o": {"x": 1}}, True),
        ({"_id": {"$eq": ID}}, True),
        ({"_id": str(ID)}, False),
        ({"at": DatetimeMS(1714521600000)}, True),
        ({"s": {"$gte": "a"}}, True),
        ({"missing": None}, True),
        ({"missing": {"$in": [None]}}, True),
        ({"missing": {"$exists": False}}, True),
        ({"missing": {"$nin": ["x"]}}, True),
        ({"s": Regex("^he")}, True),
        ({"s": {"$options": "i", "$regex": "^HE"}}, True),
        ({"f": False}, True),
        ({"nul.x": {"$exists": False}}, True),
    ],
)
def test_each_form_of_a_filter_matches_as_in_mongod(filter, matches):
    """One filter for each thing that the language can say."""
    assert compile_filter(filter)(ITEM) is matches


@pytest.mark.parametrize(
    ("value", "constant"),
    [
        (1, 1.0),
        (1.0, 1),
        (Int64(1), 1),
        (1, Decimal128("1.00")),
        (Decimal128("1E+0"), 1),
        (0.0, -0.0),
        (NAN, DECIMAL_NAN),
        (DECIMAL_NAN, NAN),
        (NAN, NAN),
        (None, None),
        (True, True),
        (ID, ID),
        (datetime(2024, 5, 1, tzinfo=UTC), DatetimeMS(1714521600000)),
        (DatetimeMS(1714521600000), datetime(2024, 5, 1)),
        (b"x", Binary(b"x", 0)),
        (Binary(b"x", 0), b"x"),
        (Binary(b"x" * 16, 4), uuid.UUID(bytes=b"x" * 16)),
        ({"a": 1, "b": 2}, {"a": 1.0, "b": 2}),
        ([1, [2]], [1.0, [2]]),
        ([1, 2], 2),
        ([[1, 2]], [1, 2]),
        ({}, {}),
        ([], []),
        (Regex("x", "i"), Regex("x", "i")),
        (Timestamp(1, 2), Timestamp(1, 2)),
        (DBRef("rooms", 1), {"$ref": "rooms", "$id": 1}),
        ("a\ud800", "a\ud800"),
    ],
)
def test_equality_is_that_of_bson(value, constant):
    """Whether it is implicit, $eq or $in. $ne and $nin are its opposites."""
    document = {"a": value}
    assert compile_filter({"a": {"$eq": constant}})(document)
    assert compile_filter({"a": {"$all": [constant]}})(document)
    assert compile_filter({"a": constant})(document)
    assert compile_filter({"a": {"$in": ["other", 99, {"x": 1}, constant]}})(document)
    assert not compile_filter({"a": {"$nin": [constant]}})(document)
    if not isinstance(constant, Regex):
        assert not compile_filter({"a": {"$ne": constant}})(document)


@pytest.mark.parametrize(
    ("value", "constant"),
    [
        (True, 1),
        (1, True),
        (False, 0),
        (0, False),
        ("1", 1),
        (str(ID), ID),
        (ID, str(ID)),
        (NAN, 1),
        (1, NAN),
        (0, None),
        (False, None),
        ({"b": 2, "a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": True}, {"a": 1}),
        ([1, 2], [2, 1]),
        ([1, 2], [1]),
        ([[1, 2]], 1),
        ([], None),
        (Code("x"), "x"),
        ("x", Code("x")),
        (Binary(b"x", 0), Binary(b"x", 5)),
        (Binary(b"x", 5), b"x"),
        (Timestamp(1, 2), DatetimeMS(1000)),
        (9007199254740993, 9007199254740992.0),
        (MinKey(), MaxKey()),
        (MaxKey(), MinKey()),
        ("x", MaxKey()),
    ],
)
def test_values_of_other_brackets_are_never_equal(value, constant):
    """Nor are objects with another order of fields."""
    document = {"a": value}
    assert not compile_filter({"a": {"$eq": constant}})(document)
    assert not compile_filter({"a": {"$in": [constant]}})(document)
    assert compile_filter({"a": {"$ne": constant}})(document)
    assert compile_filter({"a": {"$nin": [constant]}})(document)


@pytest.mark.parametrize(
    ("value", "constant", "holding"),
    [
        (2, 1, "$gt $gte"),
        (1, 1.0, "$gte $lte"),
        (1.5, 2, "$lt $lte"),
        (Decimal128("2.5"), 2, "$gt $gte"),
        (2, Decimal128("2.5"), "$lt $lte"),
        (Int64(2**62), 2.0**62, "$gte $lte"),
        ("b", "a", "$gt $gte"),
        ("a", 1, ""),
        (True, 0, ""),
        (1, False, ""),
        (True, False, "$gt $gte"),
        (None, None, "$gte $lte"),
        (0, None, ""),
        (NAN, 1, ""),
        (1, NAN, ""),
        (DECIMAL_NAN, 1, ""),
        (1, DECIMAL_NAN, ""),
        (NAN, DECIMAL_NAN, "$gte $lte"),
        (DECIMAL_NAN, NAN, "$gte $lte"),
        ([1, 5], 3, "$gt $gte $lt $lte"),
        ([1, 5], [1, 4], "$gt $gte"),
        ([[1, 5]], [1, 4], "$gt $gte"),
        ([], 1, ""),
        ({"x": 2}, {"x": 1}, "$gt $gte"),
        ({"x": 2}, 1, ""),
        (DatetimeMS(2), DatetimeMS(1), "$gt $gte"),
        (datetime(2024, 5, 1), DatetimeMS(1), "$gt $gte"),
        (DatetimeMS(1), Timestamp(1, 1), ""),
        (ID, ObjectId("0" * 24), "$gt $gte"),
        (b"ab", b"c", "$gt $gte"),
        (Code("b"), "a", ""),
        ("x", MinKey(), "$gt $gte"),
        ("x", MaxKey(), "$lt $lte"),
        (None, MaxKey(), "$lt $lte"),
        (MaxKey(), MaxKey(), "$gte $lte"),
        (MinKey(), MinKey(), "$gte $lte"),
        (MaxKey(), MinKey(), "$gt $gte"),
        (MaxKey(), 1, ""),
    ],
)
def test_values_of_one_bracket_are_ordered(value, constant, holding):
    """NaN is not. MinKey and MaxKey compare with all."""
    operators = ("$gt", "$gte", "$lt", "$lte")
    held = [name for name in operators if compile_filter({"a": {name: constant}})({"a": value})]
    assert held == holding.split()


@pytest.mark.parametrize(
    ("filter", "matches"),
    [
        ({"a": None}, True),
        ({"a": {"$gte": None}}, True),
        ({"a": {"$lte": None}}, True),
        ({"a": {"$gt": None}}, False),
        ({"a": {"$lt": MaxKey()}}, True),
        ({"a": {"$gte": MinKey()}}, True),
        ({"a": {"$in": [1, None]}}, True),
        ({"a": {"$in": [1]}}, False),
        ({"a": {"$ne": 1}}, True),
        ({"a": {"$ne": None}}, False),
        ({"a": {"$nin": [1, None]}}, False),
        ({"a": {"$not": {"$gt": 1}}}, True),
        ({"a": {"$not": Regex("x")}}, True),
        ({"a": {"$type": "null"}}, False),
        ({"a": {"$size": 0}}, False),
        ({"a": {"$mod": [1, 0]}}, False),
        ({"a": {"$regex": ""}}, False),
        ({"a": {"$all": [None]}}, True),
        ({"a": {"$elemMatch": {}}}, False),
        ({"a": 0}, False),
        ({"a": ""}, False),
        ({"a": False}, False),
    ],
)
def test_a_missing_field_matches_like_null(filter, matches):
    """But it has no type. Negations match it."""
    assert compile_filter(filter)({"b": 1}) is matches


@pytest.mark.parametrize(
    ("filter", "value", "matches"),
    [
        # $not, $ne, $nin: of the whole, not of one element
        ({"$ne": 1}, [1, 2], False),
        ({"$ne": 3}, [1, 2], True),
        ({"$nin": [2]}, [1, 2], False),
        ({"$not": {"$gt": 1}}, [1, 2], False),
        ({"$not": {"$gt": 1, "$lt": 0}}, 2, True),
        ({"$gt": 1, "$lt": 2}, [0, 3], True),
        # $in with patterns
        ({"$in": [Regex("^h"), 1]}, "hello", True),
        ({"$in": [re.compile("^h")]}, ["x", "hello"], True),
        ({"$in": [Regex("^h")]}, Regex("^h"), True),
        ({"$in": [Regex("^h")]}, Regex("^h", "i"), False),
        ({"$in": [Regex("^h")]}, Code("hello"), False),
        ({"$in": []}, None, False),
        ({"$in": [[1]]}, [1], True),
        ({"$in": [1, True]}, True, True),
        ({"$in": [1, 2]}, True, False),
        ({"$in": [Decimal128("1")]}, 1, True),
        ({"$in": [1]}, Decimal128("1"), True),
        ({"$nin": [Regex("^h")]}, "hello", False),
        # $regex
        ({"$regex": "^h"}, "hello", True),
        ({"$regex": "^h"}, Regex("^h"), True),
        ({"$regex": "^h"}, 5, False),
        ({"$regex": "^h"}, ["x", "hello"], True),
        ({"$regex": "l", "$gt": "i"}, "hello", False),
        ({"$eq": Regex("^h")}, "hello", False),
        ({"$not": {"$regex": "^h"}}, "hello", False),
        # $exists
        ({"$exists": True}, None, True),
        ({"$exists": False}, None, False),
        ({"$exists": True}, [], True),
        # $type
        ({"$type": "number"}, Decimal128("1"), True),
        ({"$type": "int"}, Int64(1), False),
        ({"$type": "long"}, 2**31, True),
        ({"$type": "bool"}, True, True),
        ({"$type": "number"}, True, False),
        ({"$type": ["string", "null"]}, None, True),
        ({"$type": "array"}, [1], True),
        ({"$type": "array"}, [], True),
        ({"$type": "int"}, [1], True),
        ({"$type": "string"}, [1], False),
        ({"$type": 3}, DBRef("x", 1), True),
        ({"$type": "javascriptWithScope"}, Code("x", {}), True),
        ({"$type": -1}, MinKey(), True),
        # $size
        ({"$size": 2}, [1, 2], True),
        ({"$size": 2}, [[1, 2]], False),
        ({"$size": 0}, [], True),
        ({"$size": 1}, "x", False),
        # $mod
        ({"$mod": [4, 3]}, 7, True),
        ({"$mod": [4, -3]}, -7, True),
        ({"$mod": [-4, 3]}, 7, True),
        ({"$mod": [4, 1]}, -7, False),
        ({"$mod": [4, 3]}, 7.9, True),
        ({"$mod": [4, -3]}, -7.9, True),
        ({"$mod": [4, 3]}, Decimal128("7.9"), True),
        ({"$mod": [4.9, 3.9]}, 7, True),
        ({"$mod": [1, 0]}, NAN, False),
        ({"$mod": [1, 0]}, float("inf"), False),
        ({"$mod": [1, 0]}, 1e30, False),
        ({"$mod": [1, 0]}, Decimal128("1E+6000"), False),
        ({"$mod": [1, 0]}, DECIMAL_NAN, False),
        ({"$mod": [1, 0]}, True, False),
        ({"$mod": [1, 0]}, "1", False),
        ({"$mod": [4, 3]}, [1, 7], True),
        # $all
        ({"$all": []}, [], False),
        ({"$all": ["a", "b"]}, ["b", "a"], True),
        ({"$all": ["a", "c"]}, ["a", "b"], False),
        ({"$all": ["a"]}, "a", True),
        ({"$all": [["a", "b"]]}, ["a", "b"], True),
        ({"$all": [Regex("^a"), "b"]}, ["abc", "b"], True),
        ({"$all": [{"$elemMatch": {"k": 1}}, {"$elemMatch": {"k": 2}}]}, [{"k": 1}, {"k": 2}], True),
        ({"$all": [{"$elemMatch": {"k": 1, "l": 1}}]}, [{"k": 1}, {"l": 1}], False),
        ({"$not": {"$all": []}}, 1, True),
        # $elemMatch of values
        ({"$elemMatch": {"$gt": 1, "$lt": 3}}, [0, 2], True),
        ({"$elemMatch": {"$gt": 1, "$lt": 3}}, [0, 4], False),
        ({"$elemMatch": {"$gt": 1}}, 2, False),
        ({"$elemMatch": {"$gt": 1}}, [[2]], False),
        ({"$elemMatch": {"$elemMatch": {"$gt": 1}}}, [[2]], True),
        ({"$elemMatch": {"$size": 2}}, [[1], [1, 2]], True),
        ({"$elemMatch": {"$ne": 1}}, [1, 2], True),
        ({"$elemMatch": {"$ne": 1}}, [1, 1], False),
        ({"$elemMatch": {"$nin": [1]}}, [], False),
        ({"$elemMatch": {"$in": [None]}}, [None], True),
        ({"$elemMatch": {"$exists": True}}, [None], True),
        ({"$elemMatch": {"$exists": False}}, [None], False),
        ({"$elemMatch": {"$regex": "^h"}}, ["x", "hello"], True),
        ({"$elemMatch": {"$all": [[1]]}}, [[1]], True),
        ({"$elemMatch": {"$all": []}}, [1], False),
        ({"$elemMatch": {"$not": {"$gt": 1, "$lt": 3}}}, [2], False),
        ({"$elemMatch": {"$type": "array"}}, [[1]], True),
        # $elemMatch of objects
        ({"$elemMatch": {"k": 1, "l": 2}}, [{"k": 1}, {"l": 2}], False),
        ({"$elemMatch": {"k": 1, "l": 2}}, [{"k": 1, "l": 2}], True),
        ({"$elemMatch": {"k": 1}}, {"k": 1}, False),
        ({"$elemMatch": {"k": None}}, [1, "x", None], False),
        ({"$elemMatch": {"k": None}}, [{}], True),
        ({"$elemMatch": {"k": None}}, [[]], True),
        ({"$elemMatch": {"1": 6}}, [[5, 6]], True),
        ({"$elemMatch": {"0.k": 6}}, [[{"k": 6}]], True),
        ({"$elemMatch": {"$or": [{"k": 1}, {"l": 1}]}}, [{"l": 1}], True),
        ({"$elemMatch": {"$nor": [{"k": 1}]}}, [{"k": 1}], False),
        ({"$elemMatch": {}}, [1], False),
        ({"$elemMatch": {}}, [{}], True),
        ({"$elemMatch": {"$id": 1}}, [DBRef("rooms", 1)], True),
    ],
)
def test_each_operator_follows_its_rules(filter, value, matches):
    """One rule a line."""
    assert compile_filter({"a": filter})({"a": value}) is matches


@pytest.mark.parametrize(
    ("filter", "document", "matches"),
    [
        ({"a.b": None}, {"a": []}, False),
        ({"a.b": None}, {"a": [1]}, False),
        ({"a.b": None}, {"a": [{}]}, True),
        ({"a.b": None}, {"a": 5}, True),
        ({"a.b": {"$ne": None}}, {"a": []}, True),
        ({"a.b": {"$exists": False}}, {"a": [{"b": 1}, {}]}, False),
        ({"a.b": {"$exists": False}}, {"a": [1, 2]}, True),
        ({"a.1.b": None}, {"a": [5, {"b": 4}]}, True),
        ({"a.0": 1}, {"a": [[1, 2]]}, False),
        ({"a.0": [1, 2]}, {"a": [[1, 2]]}, True),
        ({"a.b": {"$size": 2}}, {"a": [{"b": [1]}, {"b": [1, 2]}]}, True),
        ({"a.0": {"$elemMatch": {"$gt": 1}}}, {"a": [[1, 2]]}, True),
        ({"a.b": {"$elemMatch": {"k": 1}}}, {"a": [{"b": [{"k": 1}]}]}, True),
        ({"a.b": {"$gt": 1, "$lt": 2}}, {"a": [{"b": 0}, {"b": 3}]}, True),
        ({"a.$id": 7}, {"a": DBRef("rooms", 7)}, True),
        ({"": 1}, {"": 1}, True),
    ],
)
def test_conditions_reach_into_arrays(filter, document, matches):
    """Conditions on what lies behind arrays."""
    assert compile_filter(filter)(document) is matches


@pytest.mark.parametrize(
    ("filter", "matches"),
    [
        ({"$or": [{"a": 1}, {"a": 2}]}, True),
        ({"$or": [{"a": 2}, {"b": 1}, {"a": 3}]}, False),
        ({"$nor": [{"a": 2}, {"b": 1}]}, True),
        ({"$nor": [{"a": 2}, {"a": 1}]}, False),
        ({"$nor": [{}]}, False),
        ({"$and": [{"a": 1}, {"a": {"$lt": 2}}, {"b": None}]}, True),
        ({"$and": [{"a": 1}, {"a": {"$lt": 2}}, {"b": 1}]}, False),
        ({"$or": [{"b": 1}], "a": 1}, False),
        ({"$expr": "$a"}, True),
        ({"$expr": "$b"}, False),
        ({"$expr": 0}, False),
        ({"$expr": {"$gt": ["$a", "$b"]}, "a": 1}, True),
    ],
)
def test_conditions_are_combined(filter, matches):
    """Conditions together."""
    assert compile_filter(filter)({"a": 1}) is matches


def test_no_document_matches_nothing():
    """Not even the empty filter."""
    assert compile_filter({})(None) is False
    assert compile_filter({"a": None})(None) is False


def test_an_expr_that_fails_is_an_error_of_the_document():
    """What $expr cannot compute for a document is an error of that document."""
    matches = compile_filter({"$expr": {"$divide": [1, "$a"]}})
    assert matches({"a": 1})
    with pytest.raises(MqlError):
        matches({"a": "x"})


# Properties

documents = st.fixed_dictionaries({}, optional={"a": values, "b": values})


def is_constant(value):
    """Whether the value stands for itself in every place of a filter."""
    return not isinstance(value, Regex) and not (isinstance(value, dict) and any(name[:1] == "$" for name in value))


constants = values.filter(is_constant)
conditions = st.one_of(
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte"]), constants),
    st.lists(constants, max_size=3).map(lambda members: {"$in": members}),
    st.sampled_from([{"$exists": True}, {"$type": "number"}, {"$size": 1}, {"$mod": [2, 1]}, {"$regex": "a"}]),
    st.builds(lambda value: {"$elemMatch": {"$gte": value}}, constants),
)
filters = st.builds(
    lambda path, condition: {path: condition}, st.sampled_from(["a", "b", "a.0", "a.b", "b.a.0"]), conditions
)


@given(constants, documents)
def test_every_value_is_equal_to_itself(value, document):
    """$eq, $in, $gte and $lte find the very value of a document, whatever its type."""
    for condition in ({"$eq": value}, {"$in": [value, "x"]}, {"$gte": value}, {"$lte": value}):
        assert compile_filter({"a": condition})({**document, "a": value})


@given(st.lists(constants, max_size=4), documents)
def test_in_is_an_or_of_equalities(members, document):
    """And $nin is its opposite."""
    any_of = any(compile_filter({"a": {"$eq": member}})(document) for member in members)
    assert compile_filter({"a": {"$in": members}})(document) is any_of
    assert compile_filter({"a": {"$nin": members}})(document) is not any_of


@given(st.sampled_from(["a", "a.0", "a.b"]), conditions, documents)
def test_not_and_nor_match_what_their_condition_does_not(path, condition, document):
    """$not matches what its condition does not, and so does $nor."""
    matches = compile_filter({path: condition})(document)
    assert compile_filter({path: {"$not": condition}})(document) is not matches
    assert compile_filter({"$nor": [{path: condition}]})(document) is not matches


@given(st.lists(filters, min_size=1, max_size=4), documents)
def test_and_or_and_nor_obey_de_morgan(members, document):
    """An $and is the $nor of its members' opposites, in any order; an $or is no $nor."""
    opposites = [{"$nor": [member]} for member in members]
    every = compile_filter({"$and": members})(document)
    assert compile_filter({"$and": members[::-1]})(document) is every
    assert compile_filter({"$nor": opposites})(document) is every
    assert compile_filter({"$or": members})(document) is not compile_filter({"$nor": members})(document)


@given(constants, st.lists(values, max_size=4))
def test_elements_and_elem_match_agree(constant, array):
    """An array matches $eq when an element does on its own, or the whole array."""
    by_element = compile_filter({"a": {"$elemMatch": {"$eq": constant}}})({"a": array})
    whole = compile_filter({"a": {"$elemMatch": {"$eq": constant}}})({"a": [array]})
    assert compile_filter({"a": {"$eq": constant}})({"a": array}) is (by_element or whole)
