"""BSON's order of all values, which comparison operators of filters and expressions follow.

MongoDB: manual/reference/bson-type-comparison-order. Numbers compare by value whatever their type; NaN is equal to
itself and less than every other number. A missing field comes before null.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from bson import Binary, Code, DBRef, Decimal128, Int64, Regex
from bson.binary import UUID_SUBTYPE

from changesource.mapping.bson_types import milliseconds_of, type_name

BRACKETS: Final[Mapping[str, int]] = {
    "minKey": -1,
    "missing": 0,
    "null": 5,
    "int": 10,
    "long": 10,
    "double": 10,
    "decimal": 10,
    "string": 15,
    "object": 20,
    "array": 25,
    "binData": 30,
    "objectId": 35,
    "bool": 40,
    "date": 45,
    "timestamp": 47,
    "regex": 50,
    "javascript": 60,
    "javascriptWithScope": 65,
    "maxKey": 127,
}
"""Values of types with the same number compare by value, others by it."""

_PLAIN = frozenset({str, int, Int64})


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1."""
    if type(left) is type(right) and type(left) in _PLAIN:
        return _compare_plain(left, right)
    left_bracket, right_bracket = bracket(left), bracket(right)
    if left_bracket != right_bracket:
        return -1 if left_bracket < right_bracket else 1
    compare_values = _COMPARE.get(left_bracket)
    return 0 if compare_values is None else compare_values(left, right)


def equal(left: Any, right: Any) -> bool:
    return compare(left, right) == 0


def bracket(value: object) -> int:
    """The place of the value's type in BSON's order."""
    return BRACKETS[type_name(value)]


def as_number(value: Any) -> int | float | Decimal:
    """A number in a form that Python compares with the others."""
    return value.to_decimal() if isinstance(value, Decimal128) else value


def _compare_plain(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _compare_numbers(left: Any, right: Any) -> int:
    left, right = as_number(left), as_number(right)
    left_is_nan, right_is_nan = _is_nan(left), _is_nan(right)
    if left_is_nan or right_is_nan:
        return right_is_nan - left_is_nan
    return _compare_plain(left, right)


def _is_nan(number: int | float | Decimal) -> bool:
    return number.is_nan() if isinstance(number, Decimal) else number != number


def _compare_objects(left: Any, right: Any) -> int:
    """Field by field: by the type of the value, then the name, then the value; the one with fewer fields is less."""
    left, right = _fields(left), _fields(right)
    for (left_name, left_value), (right_name, right_value) in zip(left.items(), right.items(), strict=False):
        result = _compare_plain(bracket(left_value), bracket(right_value))
        result = result or _compare_plain(left_name, right_name) or compare(left_value, right_value)
        if result:
            return result
    return _compare_plain(len(left), len(right))


def _fields(value: Any) -> Mapping[str, Any]:
    return value.as_doc() if isinstance(value, DBRef) else value


def _compare_arrays(left: Sequence[Any], right: Sequence[Any]) -> int:
    for left_item, right_item in zip(left, right, strict=False):
        if result := compare(left_item, right_item):
            return result
    return _compare_plain(len(left), len(right))


def _compare_binaries(left: Any, right: Any) -> int:
    """By length, then by subtype, then by bytes."""
    return _compare_plain(_binary_parts(left), _binary_parts(right))


def _binary_parts(value: Any) -> tuple[int, int, bytes]:
    if isinstance(value, uuid.UUID):
        return len(value.bytes), UUID_SUBTYPE, value.bytes
    return len(value), value.subtype if isinstance(value, Binary) else 0, bytes(value)


def _compare_dates(left: Any, right: Any) -> int:
    return _compare_plain(milliseconds_of(left), milliseconds_of(right))


def _compare_regexes(left: Any, right: Any) -> int:
    return _compare_plain(_regex_parts(left), _regex_parts(right))


def _regex_parts(value: Any) -> tuple[str, str]:
    regex = value if isinstance(value, Regex) else Regex.from_native(value)
    pattern = regex.pattern if isinstance(regex.pattern, str) else regex.pattern.decode("utf-8", "replace")
    return pattern, "".join(letter for letter, bit in REGEX_OPTIONS if regex.flags & bit)


REGEX_OPTIONS: Final = (("i", 2), ("l", 4), ("m", 8), ("s", 16), ("u", 32), ("x", 64))
"""BSON's letters, in its order, and Python's bits for them (bson.regex)."""


def _compare_codes(left: Code, right: Code) -> int:
    result = _compare_plain(str(left), str(right))
    if result or left.scope is None or right.scope is None:
        return result
    return _compare_objects(left.scope, right.scope)


_COMPARE: Final[Mapping[int, Callable[[Any, Any], int]]] = {
    BRACKETS["int"]: _compare_numbers,
    BRACKETS["string"]: _compare_plain,
    BRACKETS["object"]: _compare_objects,
    BRACKETS["array"]: _compare_arrays,
    BRACKETS["binData"]: _compare_binaries,
    BRACKETS["objectId"]: _compare_plain,
    BRACKETS["bool"]: _compare_plain,
    BRACKETS["date"]: _compare_dates,
    BRACKETS["timestamp"]: _compare_plain,
    BRACKETS["regex"]: _compare_regexes,
    BRACKETS["javascript"]: _compare_codes,
    BRACKETS["javascriptWithScope"]: _compare_codes,
}
