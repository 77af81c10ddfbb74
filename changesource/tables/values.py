"""BSON → JSON: what a value of a document becomes in a column. This is the only place that has these rules.

| BSON | string column | number column | boolean column | inside json |
|---|---|---|---|---|
| missing, null, undefined | null | null | null | null |
| string, symbol | itself | does not fit | does not fit | string |
| boolean | `true`, `false` | does not fit | itself | boolean |
| int32, int64 up to ±(2^53 - 1) | decimal digits | number | does not fit | number |
| int64 beyond | decimal digits | does not fit | does not fit | string |
| double | as JavaScript writes it | number | does not fit | number |
| double or decimal from 2^63 to 10^21 | its text | does not fit | does not fit | number, string |
| NaN, ±Infinity (also decimal) | null | null | does not fit | null |
| decimal128 | exact text | nearest double, if there is one | does not fit | string |
| date | ISO 8601, UTC, milliseconds | epoch milliseconds | does not fit | epoch milliseconds |
| date beyond ±(2^53 - 1) ms | decimal digits of its milliseconds | does not fit | does not fit | string |
| timestamp | `seconds:increment` | epoch milliseconds | does not fit | string |
| ObjectId | 24 hex digits | does not fit | does not fit | string |
| UUID (binary subtype 4 of 16 bytes) | 8-4-4-4-12 hex digits | does not fit | does not fit | string |
| other binary | Base64 | does not fit | does not fit | string |
| regular expression | `/pattern/flags` | does not fit | does not fit | string |
| code | its text | does not fit | does not fit | string |
| MinKey, MaxKey | `MinKey`, `MaxKey` | does not fit | does not fit | string |
| binary whose bytes are not valid BSON | does not fit | does not fit | does not fit | does not fit |
| text of an `_id` that is not UTF-8 | does not fit | does not fit | does not fit | does not fit |
| document, array, DBRef | its JSON text | does not fit | does not fit | object or array |

A number from 2^63 to 10^21 does not fit a number column. JavaScript writes it with all its digits, so zero-cache writes it
into its change log as an integer, reads it back as one that is too large for SQLite, and fails permanently.

U+0000 in a string column becomes U+FFFD. zero-cache keeps the stream in PostgreSQL, which cannot give back JSON with it, and
would continue to acknowledge while none of its replicas advances. JSON text holds only its escape, which is harmless.

A number never goes into a string column as a number: zero-cache would store 5 as `"5.0"`. A value that does not fit
causes a row error; nothing is guessed.

Values are what PyMongo decodes with `CODEC_OPTIONS`; `datetime.datetime` is accepted as well.
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UUID_SUBTYPE, UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion

from changesource.mql import NUMBERS, TYPE_NUMBERS, Undecodable, fields_of_reference, milliseconds_of, regex_parts
from changesource.tables.definition import ColumnType

CODEC_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)
"""How documents are decoded, so that none stops the stream. Dates come as milliseconds, for any year. Invalid UTF-8 in text
becomes U+FFFD (but see `mongo/decoding.py` for an `_id`). UUIDs come as `Binary`, because MongoDB also stores some that do
not have 16 bytes, of which PyMongo refuses to make a `UUID`."""

MAX_SAFE_INTEGER = 2**53 - 1
"""JavaScript's Number.MAX_SAFE_INTEGER. zero-cache cannot read larger integers."""

MIN_TOO_LONG = 2.0**63
END_TOO_LONG = 1e21
"""JavaScript writes whole doubles below this bound without an exponent. zero-cache reads such digits as integers, for which
SQLite has 64 bits (Zero: shared/src/bigint-json.ts)."""

UUID_BYTES = 16

JsonScalar = str | int | float | bool | None


class DoesNotFit(Exception):
    """A value has no form in a column. The message says why, without the value."""


Converter = Callable[[Any], JsonScalar]


def convert(column_type: ColumnType, value: object) -> JsonScalar:
    """The JSON value of `value` in a column: for a json column, JSON text (or None for null).

    Raises `DoesNotFit`.
    """
    converter = CONVERTERS[column_type].get(type(value))
    if converter is None:
        converter = _converter_of_base(column_type, value)
    return converter(value)


def _converter_of_base(column_type: ColumnType, value: object) -> Converter:
    """The converter for a subclass of a BSON type. PyMongo never gives one, but a caller may."""
    for base in type(value).__mro__[1:]:
        if base in CONVERTERS[column_type]:
            return CONVERTERS[column_type][base]
    raise DoesNotFit(f"{type(value).__name__} is not a BSON type")


# Strings


def _without_nul(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def _iso_of_milliseconds(milliseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)  # years before 1 and after 9999 would need a sign in ISO 8601
    return (
        f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
        if moment.year >= 1000
        else _pad_year(moment, milliseconds)
    )


def _pad_year(moment: datetime, milliseconds: int) -> str:
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def _text_of_double(value: float) -> str | None:
    """A double as JavaScript writes it: 5.0 → "5", 1e21 → "1e+21". NaN and ±Infinity have no JSON and become null."""
    if not math.isfinite(value):
        return None
    if value == 0:
        return "0"
    digits = repr(abs(value))
    mantissa, _, exponent_text = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    significant = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent_text or 0)
    if whole == "0":
        point = int(exponent_text or 0) - (len(fraction) - len(fraction.lstrip("0")))
    significant = significant.rstrip("0")
    sign = "-" if value < 0 else ""
    return sign + _javascript_digits(significant, point)


def _javascript_digits(digits: str, point: int) -> str:
    """ECMAScript's Number::toString. `digits` has no leading or trailing zeros; the decimal point follows `point` of them."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    exponent = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return (f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits) + exponent


def _text_of_decimal(value: Decimal128) -> str | None:
    return str(value) if value.to_decimal().is_finite() else None


def _text_of_regex(value: Regex[Any]) -> str:
    pattern, options = regex_parts(value)
    return f"/{pattern}/{options}"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _refuse_undecodable() -> JsonScalar:
    raise DoesNotFit(
        "the bytes of the value are not valid BSON, or not UTF-8; write the field of the document again "
        "(for an _id: the document, by another one)"
    )


def _text_of_binary(value: Binary) -> str:
    if value.subtype == UUID_SUBTYPE and len(value) == UUID_BYTES:
        return str(uuid.UUID(bytes=bytes(value)))
    return _base64(value)


_STRING: dict[type, Converter] = {
    type(None): lambda _: None,
    str: _without_nul,
    bool: lambda value: "true" if value else "false",
    int: str,
    Int64: lambda value: str(int(value)),
    float: _text_of_double,
    Decimal128: _text_of_decimal,
    DatetimeMS: lambda value: _iso_of_milliseconds(int(value)),
    datetime: lambda value: _iso_of_milliseconds(milliseconds_of(value)),
    Timestamp: lambda value: f"{value.time}:{value.inc}",
    ObjectId: str,
    uuid.UUID: str,
    bytes: _base64,
    Binary: _text_of_binary,
    Regex: lambda value: _without_nul(_text_of_regex(value)),
    Code: lambda value: _without_nul(str.__str__(value)),
    MinKey: lambda _: "MinKey",
    MaxKey: lambda _: "MaxKey",
    dict: lambda value: _json_text(value),
    list: lambda value: _json_text(value),
    DBRef: lambda value: _json_text(value),
    Undecodable: lambda _: _refuse_undecodable(),
}


# Numbers and booleans


def _safe_integer(value: int) -> int:
    if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return int(value)
    raise DoesNotFit("an integer beyond ±(2^53 - 1) does not fit a number column; use a string column")


def _number_of_double(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    if MIN_TOO_LONG <= abs(value) < END_TOO_LONG:
        raise DoesNotFit("a number from 2^63 to 10^21 does not fit a number column; use a string column")
    return value


def _number_of_decimal(value: Decimal128) -> float | int | None:
    exact = value.to_decimal()
    if not exact.is_finite():
        return None
    nearest = float(exact)
    if not math.isfinite(nearest):
        raise DoesNotFit("a decimal beyond the doubles does not fit a number column; use a string column")
    if abs(nearest) > MAX_SAFE_INTEGER and exact == exact.to_integral_value() and Decimal(nearest) != exact:
        raise DoesNotFit("a whole number beyond ±(2^53 - 1) does not fit a number column; use a string column")
    return _number_of_double(nearest)


def _misfit(bson_name: str, column_type: ColumnType, remedy: str) -> Converter:
    message = f"a BSON {bson_name} does not fit a {column_type} column; {remedy}"

    def refuse(_: object) -> JsonScalar:
        raise DoesNotFit(message)

    return refuse


_BSON_NAMES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "int",
    Int64: "long",
    float: "double",
    Decimal128: "decimal",
    DatetimeMS: "date",
    datetime: "date",
    Timestamp: "timestamp",
    ObjectId: "objectId",
    uuid.UUID: "UUID",
    bytes: "binData",
    Binary: "binData",
    Regex: "regex",
    Code: "javascript",
    MinKey: "minKey",
    MaxKey: "maxKey",
    dict: "object",
    list: "array",
    DBRef: "dbPointer",
}

_NUMBER: dict[type, Converter] = {
    **{kind: _misfit(name, "number", "use a string or json column") for kind, name in _BSON_NAMES.items()},
    type(None): lambda _: None,
    Undecodable: lambda _: _refuse_undecodable(),
    int: _safe_integer,
    Int64: _safe_integer,
    float: _number_of_double,
    Decimal128: _number_of_decimal,
    DatetimeMS: lambda value: _safe_integer(int(value)),
    datetime: milliseconds_of,
    Timestamp: lambda value: value.time * 1000,
}

_BOOLEAN: dict[type, Converter] = {
    **{kind: _misfit(name, "boolean", "use a string or json column") for kind, name in _BSON_NAMES.items()},
    type(None): lambda _: None,
    Undecodable: lambda _: _refuse_undecodable(),
    bool: lambda value: value,
}


# json


def _json_text(value: object) -> str:
    try:
        return orjson.dumps(value, _json_of_bson, _JSON_OPTIONS).decode()
    except TypeError:
        return _json_text_with_long_integers(value)


_JSON_OPTIONS = orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_DATETIME
"""With strict integers, one beyond 53 bits is an error. Such integers are then written as strings."""


def _json_text_with_long_integers(value: object) -> str:
    try:
        return orjson.dumps(_integers_as_text(value), _json_of_bson, _JSON_OPTIONS).decode()
    except (TypeError, RecursionError) as error:
        if isinstance(error.__cause__, DoesNotFit):
            raise error.__cause__ from error
        raise DoesNotFit("a value nested too deep, or with a key that is not text, has no JSON") from error


def _integers_as_text(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= MAX_SAFE_INTEGER else str(int(value))
    if isinstance(value, DatetimeMS):
        return _integers_as_text(int(value))
    if isinstance(value, Mapping):
        return {key: _integers_as_text(item) for key, item in value.items()}
    if isinstance(value, DBRef):
        return _integers_as_text(fields_of_reference(value))
    if isinstance(value, list):
        return [_integers_as_text(item) for item in value]
    return value


def _json_of_bson(value: Any) -> object:
    """The JSON of types that orjson does not know: dates become numbers, all others are as in a string column."""
    if isinstance(value, DatetimeMS):
        return int(value)
    if isinstance(value, datetime):
        return milliseconds_of(value)
    if isinstance(value, DBRef):
        return fields_of_reference(value)
    if isinstance(value, Mapping):
        return dict(value)
    converter = _STRING.get(type(value)) or _converter_of_base("string", value)
    return converter(value)


_JSON: dict[type, Converter] = {
    type(None): lambda _: None,
    **dict.fromkeys(_BSON_NAMES, _json_text),
    Undecodable: lambda _: _refuse_undecodable(),
    float: lambda value: _json_text(value) if math.isfinite(value) else None,
    Decimal128: lambda value: _json_text(value) if value.to_decimal().is_finite() else None,
}

CONVERTERS: Mapping[ColumnType, Mapping[type, Converter]] = {
    "string": _STRING,
    "number": _NUMBER,
    "boolean": _BOOLEAN,
    "json": _JSON,
}
"""For each type of column, the function that turns a value of a BSON type into JSON. Only the exact type is looked up."""

TYPES_WITHOUT_VALUE = frozenset({"null", "missing"})
"""BSON types whose values are null in every column."""

_ALL_TYPES = frozenset(TYPE_NUMBERS)

FITTING_TYPES: Mapping[ColumnType, frozenset[str]] = {
    "string": _ALL_TYPES,
    "number": NUMBERS | {"date", "timestamp"},
    "boolean": frozenset({"bool"}),
    "json": _ALL_TYPES,
}
"""For each type of column, the BSON types of which at least some values fit it."""
