"""What operators take in place of a date, a text or an integer, without being asked to convert it.

MongoDB: Value::coerceToDate, coerceToString, integral64Bit (src/mongo/db/exec/document_value/value.cpp).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from bson import Code, DatetimeMS, Decimal128, ObjectId, Timestamp

from changesource.mql.bson_types import (
    MAX_INT,
    MAX_LONG,
    MIN_INT,
    MIN_LONG,
    is_nullish,
    milliseconds_of,
    type_name,
)
from changesource.mql.budget import Budget
from changesource.mql.errors import MappingError
from changesource.mql.expressions.date_formats import iso_text


def date_milliseconds(operator: str, value: Any) -> int:
    """Milliseconds since the epoch of a date, or of the time in an ObjectId or a timestamp. Raises `MappingError`."""
    if isinstance(value, DatetimeMS | datetime):
        return milliseconds_of(value)
    if isinstance(value, ObjectId):
        return object_id_milliseconds(value)
    if isinstance(value, Timestamp):
        return value.time * 1000
    raise MappingError(
        f"{operator} takes a date, a timestamp or an objectId, not {type_name(value)}. Use $toDate before it."
    )


def object_id_milliseconds(value: ObjectId) -> int:
    """MongoDB reads the seconds in it as a signed number (src/mongo/bson/oid.h): those after 2038 lie before 1970."""
    return int.from_bytes(value.binary[:4], "big", signed=True) * 1000


_TEXTS: Final[Mapping[str, Callable[[Any], str]]] = {
    "string": str,
    "int": str,
    "long": lambda value: str(int(value)),
    "double": lambda value: f"{value:g}",
    "decimal": str,
    "date": lambda value: iso_text(milliseconds_of(value)),
    "javascript": lambda value: str.__str__(value) if isinstance(value, Code) else str(value),
}
"""Six digits of a double are MongoDB's choice, which is not that of $toString (src/mongo/bson/util/builder.h)."""


STEPS_OF_TEXT: Final = 16
"""What it takes to write a date or a decimal."""


def coerced_text(operator: str, value: Any, budget: Budget) -> str:
    """Text of a string, number, date or code; "" of null and missing. Raises `MappingError`."""
    if type(value) is str:
        return value
    if is_nullish(value):
        return ""
    text = _TEXTS.get(type_name(value))
    if text is None:
        raise MappingError(f"{operator} takes a string, not {type_name(value)}. Use $toString before it.")
    budget.spend_steps(STEPS_OF_TEXT)
    return text(value)


def whole_number(value: Any) -> int | None:
    """The value of a number of any type that is whole and fits a long; None for every other value."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() and MIN_LONG <= value < MAX_LONG + 1 else None
    if not isinstance(value, Decimal128):
        return None
    decimal = value.to_decimal()
    if not decimal.is_finite() or decimal.adjusted() > 18 or decimal != decimal.to_integral_value():
        return None
    return int(decimal) if MIN_LONG <= decimal <= MAX_LONG else None


def int_argument(operator: str, argument: str, value: Any) -> int:
    """A number that is whole, fits an int, and is not negative. Raises `MappingError`."""
    number = whole_number(value)
    if number is None or not MIN_INT <= number <= MAX_INT:
        raise MappingError(f"{operator} takes a whole number of 32 bits as {argument}, and here is {type_name(value)}.")
    if number < 0:
        raise MappingError(f"{operator} takes a number from 0 on as {argument}, not a negative one.")
    return number
