"""text.py: mappings as people write them and as they are stored."""

import json
from typing import Any

import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.errors import MqlError
from changesource.mql.text import normal_mapping_text, read_mapping_text


@pytest.mark.parametrize("text", ["", "  \n\t"])
def test_no_text_is_the_mapping_of_whole_documents(text: str) -> None:
    """So is an empty object."""
    assert read_mapping_text(text) == {}
    assert normal_mapping_text(text) == ""
    assert normal_mapping_text("{ }") == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"$oid": "0123456789abcdef01234567"}', ObjectId("0123456789abcdef01234567")),
        ('{"$date": "2024-05-01T00:00:00Z"}', DatetimeMS(1_714_521_600_000)),
        ('{"$date": {"$numberLong": "5"}}', DatetimeMS(5)),
        ('{"$numberLong": "5"}', Int64(5)),
        ('{"$numberInt": "5"}', 5),
        ('{"$numberDouble": "5"}', 5.0),
        ('{"$numberDecimal": "5.10"}', Decimal128("5.10")),
        ('{"$binary": {"base64": "AQI=", "subType": "80"}}', Binary(b"\1\2", 0x80)),
        ('{"$timestamp": {"t": 1, "i": 2}}', Timestamp(1, 2)),
        ('{"$regularExpression": {"pattern": "^a", "options": "i"}}', Regex("^a", "i")),
        ('{"$minKey": 1}', MinKey()),
        ('{"$maxKey": 1}', MaxKey()),
        ("5", 5),
        ("5.0", 5.0),
        ("true", True),
        ("null", None),
    ],
)
def test_extended_json_gives_values_with_their_types(text: str, value: Any) -> None:
    """In its relaxed and its canonical form."""
    found = read_mapping_text(f'{{"filter": {{"a": {text}}}}}')["filter"]["a"]
    assert found == value
    assert type(found) is type(value)


def test_operators_stay_operators() -> None:
    """Even if they look like Extended JSON of version 1."""
    text = '{"filter": {"a": {"$regex": "^x", "$options": "i"}, "b": {"$type": "string"}, "c": {"$regex": "y"}}}'
    assert read_mapping_text(text)["filter"] == {
        "a": {"$regex": "^x", "$options": "i"},
        "b": {"$type": "string"},
        "c": {"$regex": "y"},
    }


def test_the_order_of_names_is_kept() -> None:
    """It counts in MongoDB."""
    text = '{"projection":{"z":1,"a":1,"m":{"y":1,"b":1}}}'
    assert normal_mapping_text(text) == text
    assert list(read_mapping_text(text)["projection"]) == ["z", "a", "m"]


def test_normal_text_has_one_form() -> None:
    """Texts that differ in white space and escapes only are no change of a version."""
    spacious = '{ "filter" : {\n "name": "\\u00e9" } }'
    assert normal_mapping_text(spacious) == normal_mapping_text('{"filter":{"name":"é"}}') == '{"filter":{"name":"é"}}'


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: "\0" not in repr(value) and "\\x00" not in repr(value))


@given(st.dictionaries(st.text(), json_values, max_size=3))
def test_normal_text_says_the_same(value: dict[str, Any]) -> None:
    """It is its own normal form, and reads as the text from which it was made."""
    text = json.dumps(value, indent=1)
    try:
        normal = normal_mapping_text(text)
    except MqlError:
        return
    assert normal_mapping_text(normal) == normal
    assert outcome(normal) == outcome(text)


def outcome(text: str) -> object:
    try:
        return repr(read_mapping_text(text))
    except MqlError as error:
        return error.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"filter": }', "line 1, column 12"),
        ('{"filter": {}\n "projection": {}}', "line 2, column 2"),
        ("[]", "is a JSON object"),
        ('"filter"', "is a JSON object"),
        ('{"filter": {"a": 1, "a": 2}}', "'a' twice"),
        ('{"filter": {"a": NaN}}', "NaN is not JSON"),
        ('{"filter": {"a": -Infinity}}', "Infinity is not JSON"),
        ('{"filter": {"a": {"$oid": "short"}}}', "not Extended JSON"),
        ('{"filter": {"a": {"$numberDecimal": "x"}}}', "not Extended JSON"),
        ('{"filter": {"a": "\\u0000"}}', "U+0000"),
        ('{"filter": {"a": {"$regularExpression": {"pattern": "\\ud800", "options": ""}}}}', "lone surrogates"),
        ('{"filter": {"a": 1e999}}', "beyond what a double can hold"),
        ('{"filter": {"a": 1}} and more', "not JSON"),
        ("[" * 100_000, ""),
        ('{"filter":' + '{"a":' * 200 + "1" + "}" * 201, "nested"),
    ],
)
def test_what_is_not_the_text_of_a_mapping_is_refused(text: str, reason: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(MqlError) as refused:
        read_mapping_text(text)
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    "value",
    ['{"$date": "yesterday"}', '{"$date": []}', '{"$numberLong": "x"}', '{"$numberLong": 5}', '{"$binary": "x"}',
     '{"$binary": {"base64": "!", "subType": "zz"}}', '{"$timestamp": 5}', '{"$timestamp": {"t": -1, "i": 0}}',
     '{"$regularExpression": {"pattern": 5}}', '{"$uuid": "x"}', '{"$numberInt": {}}', '{"$minKey": 2}', '{"$oid": 5}',
     '{"$numberDouble": "x"}', '{"$date": {"$numberLong": "99999999999999999999"}}',
     '{"$numberLong": "99999999999999999999"}', '{"$timestamp": {"t": 99999999999, "i": 0}}',
     '{"$binary": {"base64": "AQI=", "subType": 5}}'],
)  # fmt: skip
def test_a_wrong_value_in_extended_json_is_refused_as_a_mapping(value: str) -> None:
    """No other exception leaves the reader."""
    outcome(f'{{"filter": {{"a": {value}}}}}')


@given(
    st.text(max_size=30)
    | st.dictionaries(st.sampled_from(["$date", "$oid", "$uuid", "$binary", "a"]), json_values).map(repr)
)
def test_any_text_is_a_mapping_or_refused_as_one(text: str) -> None:
    """Is a mapping or refused as one."""
    outcome(text)


@pytest.mark.timeout(20)
def test_a_repeated_name_among_many_is_found_at_once() -> None:
    """The last of 200,000."""
    names = ", ".join(f'"a{i}": 1' for i in range(200_000))
    with pytest.raises(MqlError, match="'a199999' twice"):
        read_mapping_text(f'{{{names}, "a199999": 1}}')
