"""changesource/tables/values.py"""

import json
import math
import struct
import subprocess
import uuid
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given

from changesource.mql.bson_types import Undecodable
from changesource.tables.definition import COLUMN_TYPES, ColumnType
from changesource.tables.values import CODEC_OPTIONS, MAX_SAFE_INTEGER, DoesNotFit, convert
from tests.mql import bson_values
from zerosources.embedded.node import node_executable

MISFIT = object()
OID = ObjectId("507f1f77bcf86cd799439011")
HEX = "507f1f77bcf86cd799439011"
UUID = "00112233-4455-6677-8899-aabbccddeeff"

CEST = timezone(timedelta(hours=2))

RULES: list[tuple[Any, Any, Any, Any, Any]] = [
    # value, in a string column, in a number column, in a boolean column, as JSON
    (None, None, None, None, None),
    ("text", "text", MISFIT, MISFIT, "text"),
    ("", "", MISFIT, MISFIT, ""),
    ("5", "5", MISFIT, MISFIT, "5"),
    ("a\0b", "a\ufffdb", MISFIT, MISFIT, "a\0b"),
    (True, "true", MISFIT, True, True),
    (False, "false", MISFIT, False, False),
    (5, "5", 5, MISFIT, 5),
    (Int64(5), "5", 5, MISFIT, 5),
    (MAX_SAFE_INTEGER, str(MAX_SAFE_INTEGER), MAX_SAFE_INTEGER, MISFIT, MAX_SAFE_INTEGER),
    (Int64(2**53), "9007199254740992", MISFIT, MISFIT, "9007199254740992"),
    (Int64(-(2**63)), "-9223372036854775808", MISFIT, MISFIT, "-9223372036854775808"),
    (1.5, "1.5", 1.5, MISFIT, 1.5),
    (5.0, "5", 5.0, MISFIT, 5.0),
    (-0.0, "0", 0.0, MISFIT, 0.0),
    (1e21, "1e+21", 1e21, MISFIT, 1e21),
    (2.0**62, "4611686018427388000", 2.0**62, MISFIT, 2.0**62),
    (2.0**63, "9223372036854776000", MISFIT, MISFIT, 2.0**63),
    (-1e19, "-10000000000000000000", MISFIT, MISFIT, -1e19),
    (Decimal128("12345678901234567890.5"), "12345678901234567890.5", MISFIT, MISFIT, "12345678901234567890.5"),
    (1e300, "1e+300", 1e300, MISFIT, 1e300),
    (math.nan, None, None, MISFIT, None),
    (math.inf, None, None, MISFIT, None),
    (-math.inf, None, None, MISFIT, None),
    (Decimal128("1.10"), "1.10", 1.1, MISFIT, "1.10"),
    (Decimal128("123456789012345678.5"), "123456789012345678.5", 123456789012345678.5, MISFIT, "123456789012345678.5"),
    (Decimal128("9007199254740993"), "9007199254740993", MISFIT, MISFIT, "9007199254740993"),
    (Decimal128("1E+6144"), "1.000000000000000000000000000000000E+6144", MISFIT, MISFIT, None),
    (Decimal128("NaN"), None, None, MISFIT, None),
    (Decimal128("-Infinity"), None, None, MISFIT, None),
    (DatetimeMS(1714521600123), "2024-05-01T00:00:00.123Z", 1714521600123, MISFIT, 1714521600123),
    (DatetimeMS(-1), "1969-12-31T23:59:59.999Z", -1, MISFIT, -1),
    (DatetimeMS(-62135596800000), "0001-01-01T00:00:00.000Z", -62135596800000, MISFIT, -62135596800000),
    (DatetimeMS(253402300800000), "253402300800000", 253402300800000, MISFIT, 253402300800000),
    (DatetimeMS(2**62), str(2**62), MISFIT, MISFIT, str(2**62)),
    (datetime(2024, 5, 1), "2024-05-01T00:00:00.000Z", 1714521600000, MISFIT, 1714521600000),
    (datetime(2024, 5, 1, 2, tzinfo=CEST), "2024-05-01T00:00:00.000Z", 1714521600000, MISFIT, 1714521600000),
    (Timestamp(1714521600, 7), "1714521600:7", 1714521600000, MISFIT, "1714521600:7"),
    (OID, HEX, MISFIT, MISFIT, HEX),
    (uuid.UUID(UUID), UUID, MISFIT, MISFIT, UUID),
    (Binary(uuid.UUID(UUID).bytes, 4), UUID, MISFIT, MISFIT, UUID),
    (Binary(b"abc", 4), "YWJj", MISFIT, MISFIT, "YWJj"),
    (Binary(uuid.UUID(UUID).bytes, 3), "ABEiM0RVZneImaq7zN3u/w==", MISFIT, MISFIT, "ABEiM0RVZneImaq7zN3u/w=="),
    (b"\0\1\xff", "AAH/", MISFIT, MISFIT, "AAH/"),
    (Binary(b"\0\1\xff", 128), "AAH/", MISFIT, MISFIT, "AAH/"),
    (Regex("^a.*$", "im"), "/^a.*$/im", MISFIT, MISFIT, "/^a.*$/im"),
    (Code("f()"), "f()", MISFIT, MISFIT, "f()"),
    (Code("f()", {"x": 1}), "f()", MISFIT, MISFIT, "f()"),
    (MinKey(), "MinKey", MISFIT, MISFIT, "MinKey"),
    (MaxKey(), "MaxKey", MISFIT, MISFIT, "MaxKey"),
    ({"a": [1, OID]}, '{"a":[1,"' + HEX + '"]}', MISFIT, MISFIT, {"a": [1, HEX]}),
    ([], "[]", MISFIT, MISFIT, []),
    ([math.nan, Int64(2**60)], '[null,"1152921504606846976"]', MISFIT, MISFIT, [None, str(2**60)]),
    (DBRef("c", 5), '{"$ref":"c","$id":5}', MISFIT, MISFIT, {"$ref": "c", "$id": 5}),
]  # fmt: skip


def outcome(column_type: ColumnType, value: object) -> object:
    try:
        return convert(column_type, value)
    except DoesNotFit:
        return MISFIT


def reason_of(column_type: ColumnType, value: object) -> str:
    try:
        convert(column_type, value)
    except DoesNotFit as misfit:
        return str(misfit)
    return ""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule[0]).__name__}-{rule[0]!r}"[:40])
def test_each_value_becomes_what_the_table_says(rule: tuple[Any, Any, Any, Any, Any]) -> None:
    """In a column of each type."""
    value, as_string, as_number, as_boolean, as_json = rule
    assert outcome("string", value) == as_string
    assert outcome("number", value) == as_number
    assert outcome("boolean", value) is as_boolean
    if as_json is None and isinstance(value, Decimal128) and value.to_decimal().is_finite():
        return  # text of the decimal, which the string column has shown
    found = outcome("json", value)
    assert found is None if as_json is None else json.loads(str(found)) == as_json


@pytest.mark.parametrize("column_type", COLUMN_TYPES)
@given(value=bson_values.values)
def test_every_value_has_a_form_or_does_not_fit(column_type: ColumnType, value: object) -> None:
    """Never another exception, and never a form that zero-cache would store as something else."""
    stored = bson.decode(bson.encode({"x": value}), CODEC_OPTIONS)["x"]
    converted = outcome(column_type, stored)
    if converted is MISFIT or converted is None:
        return
    match column_type:
        case "string":
            assert type(converted) is str
            assert "\0" not in converted
        case "number":
            assert type(converted) in (int, float)
            assert isinstance(converted, int | float)
            assert math.isfinite(converted)
            assert type(converted) is float or abs(converted) <= MAX_SAFE_INTEGER
            assert not 2**63 <= abs(converted) < 10**21
        case "boolean":
            assert type(converted) is bool
        case "json":
            assert type(converted) is str
            assert "\0" not in converted
            assert no_long_integers(json.loads(converted))


def no_long_integers(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(no_long_integers, value.values()))
    if isinstance(value, list):
        return all(map(no_long_integers, value))
    return not isinstance(value, int) or abs(value) <= MAX_SAFE_INTEGER


def test_doubles_are_written_as_javascript_does() -> None:
    """Thousands of doubles, against String(n) of Node."""
    rng = Random(1)
    doubles = [struct.unpack("d", rng.randbytes(8))[0] for _ in range(5_000)]
    doubles += [rng.choice([1, -1]) * rng.randrange(10**6) * 10.0 ** rng.randrange(-12, 24) for _ in range(5_000)]
    doubles = [value for value in doubles if math.isfinite(value)]
    script = "console.log(JSON.stringify(JSON.parse(require('fs').readFileSync(0)).map(String)))"
    done = subprocess.run(
        [str(node_executable()), "-e", script], input=json.dumps(doubles), capture_output=True, text=True, check=True
    )
    assert [convert("string", value) for value in doubles] == json.loads(done.stdout)


def test_a_document_with_invalid_utf8_can_be_read() -> None:
    """U+FFFD stands for what is no text: one broken document must not stop a stream."""
    broken = bson.encode({"x": "abc"}).replace(b"abc", b"a\xffc")
    assert bson.decode(broken, CODEC_OPTIONS) == {"x": "a\ufffdc"}


def test_a_deep_document_is_refused_without_a_crash() -> None:
    """MongoDB stops at 100 levels; whatever comes, it is a misfit and no RecursionError."""
    value: object = Int64(2**60)
    for _ in range(5_000):
        value = [value]
    assert outcome("json", value) is MISFIT


def test_a_reason_names_types_and_not_the_value() -> None:
    """Reasons are shown and logged."""
    for column_type in COLUMN_TYPES:
        for value in ("secret", Int64(2**62), {"secret": 1}, datetime(1987, 6, 5, tzinfo=UTC)):
            reason = reason_of(column_type, value)
            assert "secret" not in reason
            assert str(2**62) not in reason


def test_a_value_that_is_not_bson_is_refused() -> None:
    """It has a type that BSON does not have."""
    with pytest.raises(DoesNotFit, match="complex is not a BSON type"):
        convert("string", 1j)


def test_a_subclass_is_treated_as_its_base() -> None:
    """PyMongo gives none, callers of the mapping may."""

    class Text(str):
        pass

    assert convert("string", Text("a")) == "a"


@pytest.mark.parametrize("column_type", COLUMN_TYPES)
@pytest.mark.parametrize("value", [Undecodable(), {"a": [Undecodable()]}, [DBRef("city", Undecodable())]])
def test_a_value_that_could_not_be_decoded_fits_no_column(column_type: ColumnType, value: object) -> None:
    """Nor does what holds one; nothing is guessed."""
    with pytest.raises(DoesNotFit) as misfit:
        convert(column_type, value)
    if isinstance(value, Undecodable) or column_type in ("string", "json"):
        assert "not valid BSON" in str(misfit.value)
