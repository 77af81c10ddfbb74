"""BSON's order of all values, which the comparison operators of filters and expressions follow.

MongoDB: manual/reference/bson-type-comparison-order. Numbers compare by value, whatever their type; NaN is equal
to itself and less than every other number. A missing field comes before null.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from bson import Binary, Code, DBRef, Decimal128, Int64, Regex
from bson.binary import UUID_SUBTYPE

from changesource.mql.bson_types import fields_of_reference, milliseconds_of, type_name
from changesource.mql.budget import Budget

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
"""Values whose types have the same number compare by value; all others compare by that number."""

_PLAIN = frozenset({str, int, Int64})

STEPS_OF_MEMBER: Final = 5
"""The cost of comparing two members of objects or arrays."""

STEPS_OF_DECIMAL: Final = 24
"""The cost of unpacking decimals, which PyMongo does."""

LONG_TEXT: Final = 4096
"""Texts with more characters than this take longer than a step to compare."""


def compare(left: Any, right: Any, budget: Budget | None = None) -> int:
    """-1, 0 or 1. Pass a budget where both values can be large: the size of a document is bounded, that of a computed value
    is not."""
    kind = type(left)
    if kind is type(right) and kind in _PLAIN:
        if kind is str and budget is not None and len(left) > LONG_TEXT:
            budget.read_text(len(left))
        return _compare_plain(left, right)
    left_bracket, right_bracket = bracket(left), bracket(right)
    if left_bracket != right_bracket:
        return -1 if left_bracket < right_bracket else 1
    compare_values = _COMPARE.get(left_bracket)
    if compare_values is not None:
        return compare_values(left, right)
    compare_paying = _COMPARE_PAYING.get(left_bracket)
    return 0 if compare_paying is None else compare_paying(left, right, budget)


def equal(left: Any, right: Any, budget: Budget | None = None) -> bool:
    return compare(left, right, budget) == 0


def bracket(value: object) -> int:
    """The place of the value's type in BSON's order."""
    return BRACKETS[type_name(value)]


def as_number(value: Any) -> int | float | Decimal:
    """A number in a form that Python compares with other numbers."""
    return value.to_decimal() if isinstance(value, Decimal128) else value


def _compare_plain(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _compare_numbers(left: Any, right: Any, budget: Budget | None) -> int:
    if budget is not None and (type(left) is Decimal128 or type(right) is Decimal128):
        budget.spend_steps(STEPS_OF_DECIMAL)
    left, right = as_number(left), as_number(right)
    left_is_nan, right_is_nan = is_nan_number(left), is_nan_number(right)
    if left_is_nan or right_is_nan:
        return right_is_nan - left_is_nan
    return _compare_plain(left, right)


def is_nan_number(number: int | float | Decimal) -> bool:
    return number.is_nan() if isinstance(number, Decimal) else number != number


def _compare_objects(left: Any, right: Any, budget: Budget | None) -> int:
    """Compares field by field: by the type of the value, then the name, then the value. If all are equal, the object with
    fewer fields is less."""
    left, right = fields_of(left, budget), fields_of(right, budget)
    for (left_name, left_value), (right_name, right_value) in zip(left.items(), right.items(), strict=False):
        if budget is not None:
            budget.spend_steps(STEPS_OF_MEMBER)
        result = _compare_plain(bracket(left_value), bracket(right_value))
        result = result or _compare_plain(left_name, right_name) or compare(left_value, right_value, budget)
        if result:
            return result
    return _compare_plain(len(left), len(right))


def fields_of(value: Any, budget: Budget | None) -> Mapping[str, Any]:
    """The fields of an object. PyMongo decodes some objects as DBRefs, whose fields are copied at each call."""
    if not isinstance(value, DBRef):
        return value  # type: ignore[no-any-return]
    fields = fields_of_reference(value)
    if budget is not None:
        budget.spend_steps(len(fields) * STEPS_OF_MEMBER)
    return fields


def _compare_arrays(left: Sequence[Any], right: Sequence[Any], budget: Budget | None) -> int:
    for left_item, right_item in zip(left, right, strict=False):
        if budget is not None:
            budget.spend_steps(STEPS_OF_MEMBER)
        if result := compare(left_item, right_item, budget):
            return result
    return _compare_plain(len(left), len(right))


def _compare_binaries(left: Any, right: Any, budget: Budget | None) -> int:
    """Compares by length, then by subtype, then by bytes."""
    if budget is not None:
        pay_for_bytes(left, budget)
        pay_for_bytes(right, budget)
    return _compare_plain(binary_parts(left), binary_parts(right))


def pay_for_bytes(value: Any, budget: Budget) -> None:
    """Pays for the copy that `binary_parts` makes."""
    if not isinstance(value, uuid.UUID):
        budget.read_text(len(value))


def binary_parts(value: Any) -> tuple[int, int, bytes]:
    if isinstance(value, uuid.UUID):
        return len(value.bytes), UUID_SUBTYPE, value.bytes
    return len(value), value.subtype if isinstance(value, Binary) else 0, bytes(value)


def _compare_dates(left: Any, right: Any) -> int:
    return _compare_plain(milliseconds_of(left), milliseconds_of(right))


def _compare_regexes(left: Any, right: Any) -> int:
    return _compare_plain(regex_parts(left), regex_parts(right))


def regex_parts(value: Any) -> tuple[str, str]:
    """The pattern and the letters of the options."""
    regex = value if isinstance(value, Regex) else Regex.from_native(value)
    pattern = regex.pattern if isinstance(regex.pattern, str) else regex.pattern.decode("utf-8", "replace")
    return pattern, "".join(letter for letter, bit in REGEX_OPTIONS if regex.flags & bit)


REGEX_OPTIONS: Final = (("i", 2), ("l", 4), ("m", 8), ("s", 16), ("u", 32), ("x", 64))
"""BSON's letters, in BSON's order, and Python's bits for them (bson.regex)."""


def _compare_codes(left: Code, right: Code, budget: Budget | None) -> int:
    if budget is not None:
        budget.read_text(len(left))
    result = _compare_plain(str(left), str(right))
    if result or left.scope is None or right.scope is None:
        return result
    return _compare_objects(left.scope, right.scope, budget)


_COMPARE: Final[Mapping[int, Callable[[Any, Any], int]]] = {
    BRACKETS["string"]: _compare_plain,
    BRACKETS["objectId"]: _compare_plain,
    BRACKETS["bool"]: _compare_plain,
    BRACKETS["date"]: _compare_dates,
    BRACKETS["timestamp"]: _compare_plain,
    BRACKETS["regex"]: _compare_regexes,
}

_COMPARE_PAYING: Final[Mapping[int, Callable[[Any, Any, Budget | None], int]]] = {
    BRACKETS["int"]: _compare_numbers,
    BRACKETS["object"]: _compare_objects,
    BRACKETS["array"]: _compare_arrays,
    BRACKETS["binData"]: _compare_binaries,
    BRACKETS["javascript"]: _compare_codes,
    BRACKETS["javascriptWithScope"]: _compare_codes,
}
