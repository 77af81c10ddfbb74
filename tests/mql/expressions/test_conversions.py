"""Conversions between BSON's types."""

import math
import uuid

import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.bson_types import MAX_LONG, MIN_LONG, type_name
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions import Scope, compile_expression
from changesource.mql.expressions.compiler import variables_with

ID = ObjectId("507f1f77bcf86cd799439011")
UUID_TEXT = "00112233-4455-6677-8899-aabbccddeeff"
SAMPLES = {
    "string": "1",
    "int": 1,
    "long": Int64(1),
    "double": 1.0,
    "decimal": Decimal128("1"),
    "bool": True,
    "date": DatetimeMS(1),
    "objectId": ID,
    "timestamp": Timestamp(1, 2),
    "object": {"a": 1},
    "array": [1],
    "binData": Binary(b"\x01"),
    "regex": Regex("a"),
    "javascript": Code("a"),
    "minKey": MinKey(),
    "maxKey": MaxKey(),
}
SHORTCUTS = {
    "$toString": "string",
    "$toInt": "int",
    "$toLong": "long",
    "$toDouble": "double",
    "$toDecimal": "decimal",
    "$toBool": "bool",
    "$toDate": "date",
    "$toObjectId": "objectId",
}
CONVERSIONS = {
    "string": {"string", "int", "long", "double", "decimal", "bool", "date", "objectId"},
    "int": {"string", "int", "long", "double", "decimal", "bool"},
    "long": {"string", "int", "long", "double", "decimal", "bool", "date"},
    "double": {"string", "int", "long", "double", "decimal", "bool", "date"},
    "decimal": {"string", "int", "long", "double", "decimal", "bool", "date"},
    "bool": {"string", "int", "long", "double", "decimal", "bool"},
    "date": {"string", "long", "double", "decimal", "bool", "date"},
    "objectId": {"string", "bool", "date", "objectId"},
    "timestamp": {"bool", "date"},
}
"""manual/reference/operator/aggregation/convert; of all others, only the one to bool."""


def converted(name, value):
    """The value and its type, once it is one of those that were announced."""
    node = compile_expression({name: "$v"}, Scope())
    result = node.evaluate({"v": value}, variables_with(Budget()))
    assert type_name(result) in node.gives
    return result


@pytest.mark.parametrize("source", SAMPLES)
@pytest.mark.parametrize("target", SHORTCUTS.values())
def test_there_are_the_conversions_of_mongodb_and_no_others(source, target):
    """For all others there is onError."""
    text = {"objectId": str(ID), "date": "2024-01-01"}.get(target, "1")
    value = text if source == "string" else SAMPLES[source]
    expression = {"$convert": {"input": "$v", "to": target, "onError": "failed"}}
    result = compile_expression(expression, Scope()).evaluate({"v": value}, variables_with(Budget()))
    if target in CONVERSIONS.get(source, {"bool"}):
        assert (type_name(result), result == "failed") == (target, False)
    else:
        assert result == "failed"
        with pytest.raises(MqlError, match="no conversion"):
            compile_expression({"$convert": {"input": "$v", "to": target}}, Scope()).evaluate(
                {"v": value}, variables_with(Budget())
            )


@pytest.mark.parametrize("name", SHORTCUTS)
def test_null_and_missing_become_null(name):
    """Null and missing become null."""
    assert converted(name, None) is None
    assert compile_expression({name: "$nothing"}, Scope()).evaluate({}, variables_with(Budget())) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, "1"),
        (42.9, "42.9"),
        (-0.0, "-0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e15, "1000000000000000"),
        (1e16, "1e+16"),
        (1.5e300, "1.5e+300"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
        (5, "5"),
        (2**40, "1099511627776"),
        (Int64(-3), "-3"),
        (Decimal128("1.50"), "1.50"),
        (Decimal128("1E+3"), "1E+3"),
        (Decimal128("-Infinity"), "-Infinity"),
        (True, "true"),
        (False, "false"),
        (ID, "507f1f77bcf86cd799439011"),
        (DatetimeMS(-1), "1969-12-31T23:59:59.999Z"),
        (DatetimeMS(-62_167_219_200_000), "0000-01-01T00:00:00.000Z"),
        (DatetimeMS(253_402_300_799_999), "9999-12-31T23:59:59.999Z"),
        (Binary(b"\xff\xfe"), "//4="),
        (Binary(uuid.UUID(UUID_TEXT).bytes, 4), UUID_TEXT),
        (uuid.UUID(UUID_TEXT), UUID_TEXT),
    ],
)
def test_text_is_written_as_in_mongodb(value, expected):
    """Text as MongoDB writes it."""
    assert converted("$toString", value) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("$toInt", -1.9, -1),
        ("$toInt", Decimal128("-2147483648.9"), -(2**31)),
        ("$toInt", 2147483647.0, 2**31 - 1),
        ("$toInt", "+007", 7),
        ("$toInt", "-2147483648", -(2**31)),
        ("$toInt", True, 1),
        ("$toLong", 5, Int64(5)),
        ("$toLong", -(2.0**63), Int64(-(2**63))),
        ("$toLong", DatetimeMS(-5), Int64(-5)),
        ("$toLong", "9223372036854775807", Int64(2**63 - 1)),
        ("$toDouble", "42.9", 42.9),
        ("$toDouble", "1.e2", 100.0),
        ("$toDouble", "-.5", -0.5),
        ("$toDouble", "-Infinity", -math.inf),
        ("$toDouble", "-0x10", -16.0),
        ("$toDouble", DatetimeMS(7), 7.0),
        ("$toDouble", Decimal128("Infinity"), math.inf),
        ("$toDouble", "0e-999", 0.0),
        ("$toBool", "", True),
        ("$toBool", "false", True),
        ("$toBool", 0, False),
        ("$toBool", -0.0, False),
        ("$toBool", math.nan, True),
        ("$toBool", Decimal128("0.00"), False),
        ("$toBool", DatetimeMS(0), True),
        ("$toBool", [], True),
        ("$toBool", MinKey(), True),
        ("$toDate", Int64(5), DatetimeMS(5)),
        ("$toDate", -1.9, DatetimeMS(-1)),
        ("$toDate", Decimal128("1500.9"), DatetimeMS(1500)),
        ("$toDate", ID, DatetimeMS(1350508407000)),
        ("$toDate", ObjectId("f" * 24), DatetimeMS(-1000)),
        ("$toDate", Timestamp(4294967295, 9), DatetimeMS(4294967295000)),
        ("$toObjectId", "507F1f77bcf86cd799439011", ID),
    ],
)
def test_values_and_types_are_those_of_mongodb(name, value, expected):
    """Values and types as in MongoDB."""
    result = converted(name, value)
    assert (result, type_name(result)) == (expected, type_name(expected))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2.5, "2.50000000000000"),
        (0.1, "0.100000000000000"),
        (1e20, "1.00000000000000E+20"),
        (123456789.123456789, "123456789.123457"),
        (0.0, "0"),
        (-0.0, "-0"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (7, "7"),
        (2**63 - 1, "9223372036854775807"),
        (DatetimeMS(-4), "-4"),
        (False, "0"),
        ("1.50", "1.50"),
        ("nan", "NaN"),
        ("1" * 40, "1.111111111111111111111111111111111E+39"),
        ("1e6144", "1.000000000000000000000000000000000E+6144"),
    ],
)
def test_a_double_becomes_a_decimal_of_15_digits(value, expected):
    """Text gives up to 34."""
    assert str(converted("$toDecimal", value)) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("$toInt", 2**31),
        ("$toInt", 2147483647.5),
        ("$toInt", math.nan),
        ("$toInt", Decimal128("2147483648")),
        ("$toInt", Decimal128("NaN")),
        ("$toInt", Decimal128("1E+6000")),
        ("$toInt", "2147483648"),
        ("$toInt", "9" * 5000),
        ("$toInt", "1.0"),
        ("$toInt", " 1"),
        ("$toInt", "1\n"),
        ("$toInt", "1_0"),
        ("$toInt", "٣"),
        ("$toInt", "0x1"),
        ("$toInt", ""),
        ("$toInt", "-"),
        ("$toLong", 2.0**63),
        ("$toLong", math.inf),
        ("$toLong", Decimal128("9223372036854775808")),
        ("$toDouble", " 1"),
        ("$toDouble", "1 "),
        ("$toDouble", "1_0"),
        ("$toDouble", "٣"),
        ("$toDouble", "0x10"),
        ("$toDouble", "."),
        ("$toDouble", "1e"),
        ("$toDouble", "1e400"),
        ("$toDouble", "1e-400"),
        ("$toDouble", "4e-324"),
        ("$toDouble", "+0x1p99999"),
        ("$toDouble", Decimal128("1E+400")),
        ("$toDouble", Decimal128("1E-400")),
        ("$toDecimal", "0x10"),
        ("$toDecimal", "1e7000"),
        ("$toDecimal", "1e-7000"),
        ("$toDecimal", "1e99999999999999999999"),
        ("$toDecimal", "x"),
        ("$toDate", 1),
        ("$toDate", True),
        ("$toDate", 1e300),
        ("$toObjectId", "507f1f77bcf86cd79943901"),
        ("$toObjectId", "507f1f77bcf86cd79943901g"),
        ("$toObjectId", "507f1f77bcf86cd799439011\n"),
    ],
)
def test_a_failed_conversion_goes_to_on_error(name, value):
    """What has no counterpart in the type fails, and goes to onError."""
    with pytest.raises(MqlError):
        converted(name, value)
    expression = {"$convert": {"input": "$v", "to": SHORTCUTS[name], "onError": "failed"}}
    assert compile_expression(expression, Scope()).evaluate({"v": value}, variables_with(Budget())) == "failed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01", 1714521600000),
        ("20240501", 1714521600000),
        ("2024/05/01", 1714521600000),
        ("2024-05-01T12:30", 1714566600000),
        ("2024-05-01T12:30:45Z", 1714566645000),
        ("2024-05-01t12:30:45z", 1714566645000),
        ("20240501T123045Z", 1714566645000),
        (" 2024-05-01 12:30:45.1 ", 1714566645100),
        ("2024-05-01T12:30:45,123456789Z", 1714566645123),
        ("2024-05-01T12:30:45.123+02:00", 1714559445123),
        ("2024-05-01 12:30:45 -0530", 1714586445000),
        ("2024-05-01T12:30:45+02", 1714559445000),
        ("2024-05-01T12:30:45 UTC", 1714566645000),
        ("0000-02-29", -62162121600000),
        ("1969-12-31T23:59:59.9995Z", 0),
        ("1969-12-31T23:59:58.001Z", -1999),
    ],
)
def test_dates_are_read_in_the_usual_forms_of_iso_8601(text, expected):
    """Without an offset they are in UTC."""
    assert converted("$toDate", text) == DatetimeMS(expected)


@pytest.mark.parametrize(
    "text",
    ["", "now", "tomorrow", "Friday", "2024", "2024-13-01", "2023-02-29", "2024-05-00", "2024-05-01T24:00:00Z",
     "2024-05-01T12:60Z", "2024-05-01T12:30:60Z", "2024-05-01T", "2024-05-01T12:30:45 America/New_York",
     "2024-05-01x", "2024-05/01", "٢٠٢٤-٠٥-٠١"],
)  # fmt: skip
def test_other_text_is_not_a_date(text):
    """Dates that do not exist, and words, are errors."""
    with pytest.raises(MqlError):
        converted("$toDate", text)


@pytest.mark.parametrize(
    ("arguments", "document", "expected"),
    [
        ({"to": "int"}, {"v": "5"}, 5),
        ({"to": 16}, {"v": "5"}, 5),
        ({"to": 16.0}, {"v": "5"}, 5),
        ({"to": Int64(2)}, {"v": 5}, "5"),
        ({"to": "$t"}, {"v": "5", "t": "long"}, Int64(5)),
        ({"to": "$t"}, {"v": "5"}, None),
        ({"to": "$t", "onNull": "n", "onError": "e"}, {"v": "5"}, None),
        ({"to": "int"}, {}, None),
        ({"to": "int", "onNull": 0}, {}, 0),
        ({"to": "int", "onNull": 0}, {"v": None}, 0),
        ({"to": "int", "onNull": "$$REMOVE", "onError": "e"}, {"v": "x"}, "e"),
        ({"to": "int", "onError": "$v"}, {"v": "x"}, "x"),
        ({"to": "object", "onError": "e"}, {"v": "x"}, "e"),
        ({"to": "regex", "onError": "e"}, {}, None),
        ({"to": "string", "onError": "e"}, {"v": Binary(b"x")}, "e"),
    ],
)
def test_convert_has_on_null_and_on_error(arguments, document, expected):
    """onNull is for null and missing, onError for failed conversions, and `to` may come from the document."""
    node = compile_expression({"$convert": {"input": "$v", **arguments}}, Scope())
    value = node.evaluate(document, variables_with(Budget()))
    assert value == expected
    assert node.gives is None or type_name(value) in node.gives


def test_on_error_and_on_null_are_evaluated_only_when_needed():
    """An error in onError or onNull counts only when they are needed."""
    failing = {"$toInt": "$bad"}
    expression = {"$convert": {"input": "$v", "to": "int", "onError": failing, "onNull": failing}}
    assert compile_expression(expression, Scope()).evaluate({"v": "5", "bad": "x"}, variables_with(Budget())) == 5


def test_on_error_catches_only_failed_conversions():
    """Not errors in the input, nor a `to` that is not a type."""
    for arguments in ({"input": {"$toInt": "$v"}, "to": "long"}, {"input": "$v", "to": "$v"}):
        node = compile_expression({"$convert": {**arguments, "onError": "e"}}, Scope())
        with pytest.raises(MqlError):
            node.evaluate({"v": "x"}, variables_with(Budget()))


@pytest.mark.parametrize(
    "arguments",
    [
        {"to": "integer"},
        {"to": 99},
        {"to": 16.5},
        {"to": True},
        {"to": {"type": "int"}},
        {},
        {"to": "int", "format": "hex"},
        {"to": "int", "base": 16},
        {"to": "int", "byteOrder": "big"},
        {"to": "int", "onerror": 1},
    ],
)
def test_convert_with_a_wrong_constant_does_not_compile(arguments):
    """A target that is not a type, or an argument that does not exist."""
    with pytest.raises(MqlError):
        compile_expression({"$convert": {"input": "$v", **arguments}}, Scope())


@pytest.mark.parametrize(
    ("arguments", "types"),
    [
        ({"to": "int"}, {"int", "null"}),
        ({"to": "int", "onNull": 0}, {"int"}),
        ({"to": "int", "onNull": 0, "onError": "x"}, {"int", "string"}),
        ({"to": "int", "onError": "$x"}, None),
        ({"to": "$t"}, None),
    ],
)
def test_the_types_of_convert_are_known_for_constant_targets(arguments, types):
    """And for known types of onNull and onError."""
    assert compile_expression({"$convert": {"input": "$v", **arguments}}, Scope()).gives == types


def test_type_gives_the_name_and_is_number_knows_four():
    """A missing value has the type "missing"."""
    for name, value in SAMPLES.items():
        assert converted("$type", value) == name
        assert converted("$isNumber", value) is (name in ("int", "long", "double", "decimal"))
    assert compile_expression({"$type": "$nothing"}, Scope()).evaluate({}, variables_with(Budget())) == "missing"
    assert compile_expression({"$isNumber": "$nothing"}, Scope()).evaluate({}, variables_with(Budget())) is False


@given(st.one_of(st.floats(), st.integers(MIN_LONG, MAX_LONG), st.booleans()))
def test_a_number_survives_its_text(value):
    """A number's text gives the number back."""
    name = {"double": "$toDouble", "int": "$toInt", "long": "$toLong"}.get(type_name(value), "$toBool")
    if abs(value) < 2.3e-308 and value:
        return  # C's strtod calls those out of range
    again = converted(name, converted("$toString", value)) if name != "$toBool" else value
    assert again == value or (again != again and value != value)


@given(st.integers(-62_167_219_200_000, 253_402_300_799_999))
def test_a_date_of_the_years_0_to_9999_survives_its_text(milliseconds):
    """The text of a date of the years 0 to 9999 gives the date back."""
    date = DatetimeMS(milliseconds)
    assert converted("$toDate", converted("$toString", date)) == date
