"""The values that operators accept in place of a date, a text or an integer without an explicit conversion.

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
from changesource.mql.errors import MqlError
from changesource.mql.expressions.date_formats import iso_text


def date_milliseconds(operator: str, value: Any) -> int:
    """A date, or the time in an ObjectId or a timestamp, as milliseconds since the epoch. Raises `MqlError`."""
    if isinstance(value, DatetimeMS | datetime):
        return milliseconds_of(value)
    if isinstance(value, ObjectId):
        return object_id_milliseconds(value)
    if isinstance(value, Timestamp):
        return value.time * 1000
    raise MqlError(
        f"{operator} takes a date, a timestamp or an objectId, not {type_name(value)}. Use $toDate before it."
    )


def object_id_milliseconds(value: ObjectId) -> int:
    """The time in an ObjectId. MongoDB reads its seconds as a signed number (src/mongo/bson/oid.h), so that times after 2038
    lie before 1970."""
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
"""MongoDB writes six digits of a double here, unlike $toString (src/mongo/bson/util/builder.h)."""


STEPS_OF_TEXT: Final = 16
"""The cost of writing a date or a decimal."""


def coerced_text(operator: str, value: Any, budget: Budget) -> str:
    """The text of a string, a number, a date or code; "" for null and missing. Raises `MqlError`."""
    if type(value) is str:
        return value
    if is_nullish(value):
        return ""
    text = _TEXTS.get(type_name(value))
    if text is None:
        raise MqlError(f"{operator} takes a string, not {type_name(value)}. Use $toString before it.")
    budget.spend_steps(STEPS_OF_TEXT)
    return text(value)


def whole_number(value: Any) -> int | None:
    """The value of a number of any type that is whole and fits a long; None for any other value."""
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
    """The value of a number that is whole, fits an int, and is not negative. Raises `MqlError`."""
    number = whole_number(value)
    if number is None or not MIN_INT <= number <= MAX_INT:
        raise MqlError(f"{operator} takes a whole number of 32 bits as {argument}, not {type_name(value)}.")
    if number < 0:
        raise MqlError(f"{operator} takes a number from 0 on as {argument}, not a negative one.")
    return number
