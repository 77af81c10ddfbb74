"""BSON's types as MongoDB names and orders them, for the values that PyMongo decodes.

`datetime`, `re.Pattern`, `bytes` and `uuid.UUID` stand for the types that PyMongo would encode them as.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp


class Missing:
    """The value of a field that a document does not have. It is not null."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


class Undecodable(Binary):
    """The stand-in for a value of a document that cannot be decoded: a binary, or text in an `_id`. It fits no column, and
    filters and expressions see a binary.

    In an `_id` it holds the value's own bytes, which tell one document from another.
    """

    def __new__(cls, raw: bytes = b"") -> Undecodable:
        return super().__new__(cls, raw)

    def __repr__(self) -> str:
        return f"Undecodable({bytes(self)!r})"


MIN_INT, MAX_INT = -(2**31), 2**31 - 1
MIN_LONG, MAX_LONG = -(2**63), 2**63 - 1

_NAMES: dict[type, str] = {
    Missing: "missing",
    type(None): "null",
    bool: "bool",
    int: "int",
    Int64: "long",
    float: "double",
    Decimal128: "decimal",
    str: "string",
    dict: "object",
    DBRef: "object",
    list: "array",
    Binary: "binData",
    bytes: "binData",
    uuid.UUID: "binData",
    ObjectId: "objectId",
    DatetimeMS: "date",
    datetime: "date",
    Timestamp: "timestamp",
    Regex: "regex",
    re.Pattern: "regex",
    Code: "javascript",
    MinKey: "minKey",
    MaxKey: "maxKey",
}

NUMBERS: Final = frozenset({"int", "long", "double", "decimal"})

TYPE_NUMBERS: Final[Mapping[str, int]] = {
    "double": 1,
    "string": 2,
    "object": 3,
    "array": 4,
    "binData": 5,
    "undefined": 6,
    "objectId": 7,
    "bool": 8,
    "date": 9,
    "null": 10,
    "regex": 11,
    "dbPointer": 12,
    "javascript": 13,
    "symbol": 14,
    "javascriptWithScope": 15,
    "int": 16,
    "timestamp": 17,
    "long": 18,
    "decimal": 19,
    "minKey": -1,
    "maxKey": 127,
}
"""MongoDB: manual/reference/bson-types. Anything else is not a type."""


def type_name(value: object) -> str:
    """MongoDB's alias for the type of `value`: "int", "string" …; "missing" for `MISSING`.

    Raises `TypeError` for a value that is not BSON.
    """
    name = _NAMES.get(type(value)) or _name_of_base(value)
    if name == "int":
        return "int" if MIN_INT <= value <= MAX_INT else "long"  # type: ignore[operator]
    if name == "javascript" and value.scope is not None:  # type: ignore[attr-defined]
        return "javascriptWithScope"
    return name


def _name_of_base(value: object) -> str:
    for base in type(value).__mro__[1:]:
        if base in _NAMES:
            return _NAMES[base]
    if isinstance(value, Mapping):
        return "object"
    raise TypeError(f"{type(value).__name__} is not a BSON type")


def fields_of_reference(reference: DBRef) -> dict[str, Any]:
    """The object that PyMongo has decoded as a DBRef.

    `DBRef.as_doc` gives the same, but searches a list of all earlier fields for each field (bson/son.py, `__setitem__`). For
    an object with 50,000 fields beside $ref and $id, that takes 25 seconds.
    """
    fields = {"$ref": reference.collection, "$id": reference.id}
    if reference.database is not None:
        fields["$db"] = reference.database
    others: dict[str, Any] = reference._DBRef__kwargs
    return {**fields, **others}


def without_references(value: Any) -> Any:
    """`value` with an object in place of each DBRef. Objects encode to the same bytes, in time proportional to their size."""
    if isinstance(value, DBRef):
        value = fields_of_reference(value)
    if isinstance(value, Mapping):
        return {name: without_references(member) for name, member in value.items()}
    return [without_references(item) for item in value] if isinstance(value, list) else value


def is_nullish(value: object) -> bool:
    """Whether the value is null or missing, for which most operators return null."""
    return value is None or value is MISSING


def is_number(value: object) -> bool:
    return type_name(value) in NUMBERS


def is_truthy(value: object) -> bool:
    """MongoDB's truth in expressions: everything but false, null, missing and zero. NaN, "" and [] are true."""
    if value is True:
        return True
    if value is None or value is MISSING or value is False:
        return False
    if isinstance(value, Decimal128):
        return not _is_zero(value)
    return not (isinstance(value, int | float) and value == 0)


def _is_zero(value: Decimal128) -> bool:
    """Whether a decimal is zero. Unpacking it takes PyMongo ten times as long. IEEE 754: two set bits after the sign mean
    infinity, NaN, or digits in a form that Decimal128 does not use."""
    bits = int.from_bytes(value.bid, "little")
    if bits >> 125 & 3 == 3:
        return value.to_decimal().is_zero()
    return bits & _DECIMAL_DIGITS == 0


_DECIMAL_DIGITS: Final = (1 << 113) - 1


def milliseconds_of(date: Any) -> int:
    """A date as milliseconds since the epoch. A naive `datetime` is UTC, as everywhere in BSON."""
    if isinstance(date, datetime) and date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return int(date if isinstance(date, DatetimeMS) else DatetimeMS(date))


def long_or_int(value: int) -> int:
    """An integer in the narrowest BSON type that holds it, int or long."""
    return value if MIN_INT <= value <= MAX_INT else Int64(value)
