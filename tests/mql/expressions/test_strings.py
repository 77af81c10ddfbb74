"""Operators on text."""

import pytest
from bson import Code, DatetimeMS, Decimal128, Int64, ObjectId, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.bson_types import MISSING, type_name
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions import Scope, compile_expression
from changesource.mql.expressions.compiler import variables_with


def value_of(expression, **document):
    """What the expression gives for a document, once its type is one that was announced."""
    node = compile_expression(expression, Scope())
    value = node.evaluate(document, variables_with(Budget()))
    assert node.gives is None or type_name(value) in node.gives
    return value


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"$concat": ["$s", "-", "$s"]}, "aB-aB"),
        ({"$concat": []}, ""),
        ({"$concat": "$s"}, "aB"),
        ({"$concat": ["$s", "$nothing", "$n"]}, None),
        ({"$concat": ["$null", "$n"]}, None),
        ({"$toUpper": "$s"}, "AB"),
        ({"$toLower": "$s"}, "ab"),
        ({"$toUpper": "straße é"}, "STRAßE é"),
        ({"$toLower": "ÀB İ"}, "Àb İ"),
        ({"$toLower": "$null"}, ""),
        ({"$toUpper": "$nothing"}, ""),
        ({"$toLower": "$n"}, "5"),
        ({"$toLower": Int64(2**40)}, "1099511627776"),
        ({"$toLower": 1234567.0}, "1.23457e+06"),
        ({"$toLower": Decimal128("1E+3")}, "1e+3"),
        ({"$toLower": "$date"}, "1970-01-01t00:00:00.001z"),
        ({"$toUpper": "$code"}, "X()"),
        ({"$strcasecmp": ["abc", "ABD"]}, -1),
        ({"$strcasecmp": ["É", "é"]}, -1),
        ({"$strcasecmp": ["b", "$null"]}, 1),
        ({"$strcasecmp": ["$s", "Ab"]}, 0),
        ({"$trim": {"input": "\0 \t\u200aa b\u00a0\u1680\r\n"}}, "a b"),
        ({"$trim": {"input": "\u200ba\u2028"}}, "\u200ba\u2028"),
        ({"$ltrim": {"input": " a "}}, "a "),
        ({"$rtrim": {"input": " a "}}, " a"),
        ({"$trim": {"input": "xyaxy", "chars": "yx"}}, "a"),
        ({"$trim": {"input": " a ", "chars": ""}}, " a "),
        ({"$trim": {"input": "$s", "chars": "$nothing"}}, None),
        ({"$trim": {"input": "$null", "chars": "$n"}}, None),
        ({"$strLenCP": "é😀"}, 2),
        ({"$strLenBytes": "é😀"}, 6),
        ({"$substrCP": ["é😀x", 1, 1]}, "😀"),
        ({"$substrCP": ["abc", 5, 2]}, ""),
        ({"$substrCP": ["$n", 0, 1.0]}, "5"),
        ({"$substrCP": ["$null", 0, 1]}, ""),
        ({"$substrBytes": ["éx", 2, 1]}, "x"),
        ({"$substr": ["abc", 1, -1]}, "bc"),
        ({"$substrBytes": ["abc", 1.9, 1]}, "b"),
        ({"$substrBytes": ["abc", 9, 1]}, ""),
        ({"$indexOfCP": ["é😀x", "x"]}, 2),
        ({"$indexOfCP": ["foobar", "bar", 0, 4]}, 3),
        ({"$indexOfCP": ["foobar", "bar", 0, 3]}, -1),
        ({"$indexOfCP": ["foobar", "f", 1]}, -1),
        ({"$indexOfCP": ["", ""]}, 0),
        ({"$indexOfCP": ["abc", "", 3]}, -1),
        ({"$indexOfCP": ["abc", "a", 3, 1]}, -1),
        ({"$indexOfCP": ["$null", 5]}, None),
        ({"$indexOfBytes": ["éx", "x"]}, 2),
        ({"$indexOfBytes": ["foobar", "bar", 0, 4]}, -1),
        ({"$indexOfBytes": ["abc", "", 3]}, 3),
        ({"$indexOfBytes": ["abc", "c", 5]}, -1),
        ({"$split": ["a,b,,c", ","]}, ["a", "b", "", "c"]),
        ({"$split": ["", ","]}, [""]),
        ({"$split": ["$s", "$nothing"]}, None),
        ({"$replaceOne": {"input": "aaa", "find": "a", "replacement": "$nothing"}}, None),
        ({"$replaceOne": {"input": "aaa", "find": "a", "replacement": "b"}}, "baa"),
        ({"$replaceAll": {"input": "a.a", "find": "a", "replacement": "b"}}, "b.b"),
        ({"$replaceAll": {"input": "ab", "find": "", "replacement": "-"}}, "-a-b-"),
        ({"$replaceAll": {"input": "ab", "find": "$null", "replacement": "-"}}, None),
    ],
)
def test_each_operator_gives_what_mongodb_gives(expression, expected):
    """Each operator gives what MongoDB gives."""
    document = {"s": "aB", "n": 5, "null": None, "date": DatetimeMS(1), "code": Code("x()")}
    assert value_of(expression, **document) == expected


@pytest.mark.parametrize(
    "expression",
    [
        {"$concat": ["$n", "$nothing"]},
        {"$concat": ["$code"]},
        {"$toLower": "$array"},
        {"$toUpper": "$bool"},
        {"$toLower": "$timestamp"},
        {"$toLower": "$id"},
        {"$toLower": "$far"},
        {"$trim": {"input": "$n"}},
        {"$trim": {"input": "$s", "chars": "$n"}},
        {"$strLenCP": "$null"},
        {"$strLenBytes": "$n"},
        {"$substrCP": ["$s", "$negative", 1]},
        {"$substrCP": ["$s", 0, "$negative"]},
        {"$substrCP": ["$s", 0, "$half"]},
        {"$substrCP": ["$s", "$bool", 1]},
        {"$substrCP": ["$s", 0, "$long"]},
        {"$substrBytes": ["$accent", 1, 1]},
        {"$substrBytes": ["$accent", 0, 1]},
        {"$substrBytes": ["$s", "$negative", 1]},
        {"$substrBytes": ["$s", "$s", 1]},
        {"$substrBytes": ["$s", "$nan", 1]},
        {"$indexOfCP": ["$s", "$null"]},
        {"$indexOfCP": ["$n", "a"]},
        {"$indexOfCP": ["$s", "a", "$negative"]},
        {"$split": ["$s", "$empty"]},
        {"$split": ["$n", ","]},
        {"$replaceOne": {"input": "$null", "find": "$n", "replacement": "x"}},
    ],
)
def test_a_value_that_mongodb_refuses_is_an_error_of_the_document(expression):
    """The expression compiles, and the message holds no value."""
    node = compile_expression(expression, Scope())
    document = {
        "s": "secret", "n": 5, "null": None, "array": [], "bool": True, "timestamp": Timestamp(1, 1), "id": ObjectId(),
        "negative": -1, "half": 0.5, "long": Int64(2**40), "accent": "é", "empty": "", "nan": float("nan"),
        "code": Code("x"), "far": DatetimeMS(10**15),
    }  # fmt: skip
    with pytest.raises(MqlError) as caught:
        node.evaluate(document, variables_with(Budget()))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        {"$toLower": ["a", "b"]},
        {"$trim": "$s"},
        {"$trim": {"chars": "x"}},
        {"$trim": {"input": "$s", "characters": "x"}},
        {"$trim": {"input": "$s", "chars": 5}},
        {"$trim": {"input": "$s", "chars": "x" * 4097}},
        {"$substrCP": ["$s", 1]},
        {"$indexOfCP": ["$s"]},
        {"$split": ["a", ""]},
        {"$concat": ["a", 5]},
        {"$replaceOne": {"input": "$s", "find": "x"}},
    ],
)
def test_what_no_document_could_make_right_does_not_compile(expression):
    """What no document makes right does not compile."""
    with pytest.raises(MqlError):
        compile_expression(expression, Scope())


def test_concat_evaluates_nothing_after_a_null():
    """An error after it does not count."""
    assert value_of({"$concat": ["$nothing", {"$toString": "$object"}]}, object={}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ObjectId("507f1f77bcf86cd799439011"), "UH8fd7z4bNeZQ5AR"),
        ("507f1f77bcf86cd799439011", "UH8fd7z4bNeZQ5AR"),
        ("FBEF", "--8"),
        ("ff", "_w"),
        ("0xff", "_w"),
        ("0x0x", MISSING),
        ("0xf", MISSING),
        ("", ""),
        ("abc", MISSING),
        ("zz", MISSING),
        ("ab cd ", MISSING),
        ("ab\n", MISSING),
        ("٠٠", MISSING),
        (12, MISSING),
        (None, MISSING),
        (MISSING, MISSING),
    ],
)
def test_hexadecimal_text_and_object_ids_become_base64url(value, expected):
    """Without padding. Any other value gives a missing one."""
    assert value_of({"$hexToBase64Url": "$v"}, **({} if value is MISSING else {"v": value})) == expected


@given(st.text(), st.integers(0, 12), st.integers(0, 12))
def test_parts_are_found_where_they_are_cut(text, start, length):
    """A part of the text begins at or before the place that it was cut from."""
    part = value_of({"$substrCP": ["$t", start, length]}, t=text)
    assert part == "".join(list(text)[start : start + length])
    if part:
        assert 0 <= value_of({"$indexOfCP": ["$t", "$p"]}, t=text, p=part) <= start


@given(st.lists(st.text(alphabet="abé", min_size=1), min_size=1))
def test_split_undoes_concat(texts):
    """Texts joined with a separator that is in none of them come apart again."""
    joined = value_of({"$concat": ["$" + name for pair in zip("abcdefgh", texts, strict=False) for name in (pair[0], "s")]},
                      s=",", **dict(zip("abcdefgh", texts, strict=False)))  # fmt: skip
    assert value_of({"$split": ["$t", ","]}, t=joined) == [*texts[:8], ""]
