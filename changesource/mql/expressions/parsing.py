"""Numbers, dates and ObjectIds from text, in the forms that MongoDB's conversions accept."""

from __future__ import annotations

import decimal
import math
import re
import sys
from decimal import Decimal
from typing import Final

from bson import Decimal128, ObjectId

from changesource.mql.errors import MqlError
from changesource.mql.expressions.gregorian import MILLISECONDS_PER_DAY, days_in_month, days_of


class ConversionFailure(MqlError):
    """A value cannot be converted to the wanted type. This is what the `onError` of $convert catches."""


_INTEGER = re.compile(r"[+-]?([0-9]+)", re.ASCII)
_LONGEST_INTEGER = 19
"""Digits of 2^63."""

_DECIMAL_NUMBER = r"[+-]?(?:([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_DOUBLE = re.compile(_DECIMAL_NUMBER + r"|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[+-]0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
"""MongoDB refuses the prefix 0x, but not after a sign, where C's strtod accepts it."""

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}", re.ASCII)

DECIMAL128: Final = decimal.Context(
    prec=34,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=-6143,
    Emax=6144,
    clamp=1,
    traps=[decimal.InvalidOperation, decimal.Overflow, decimal.Underflow],
)
"""IEEE 754's decimal128. What does not fit is an error."""


def integer_of_text(text: str, least: int, most: int) -> int:
    """The number in decimal digits, with or without a sign and nothing else. Raises `ConversionFailure`."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise ConversionFailure("The text is not a whole number in decimal digits.")
    digits = match[1].lstrip("0") or "0"
    if len(digits) > _LONGEST_INTEGER:
        raise ConversionFailure("The whole number in the text is too large for the type.")
    number = -int(digits) if text[0] == "-" else int(digits)
    if not least <= number <= most:
        raise ConversionFailure("The whole number in the text is too large for the type.")
    return number


def double_of_text(text: str) -> float:
    """The number that C's strtod reads, if it reads all of the text. Raises `ConversionFailure`.

    MongoDB (base/parse_number.cpp) refuses numbers that are too large, and numbers so small that they lose digits.
    """
    match = _DOUBLE.fullmatch(text)
    if match is None:
        return _double_of_hexadecimal(text)
    number = float(text)
    if match[1] and _is_out_of_range(number, Decimal(text) if abs(number) < sys.float_info.min else None):
        raise ConversionFailure("The number in the text is too large, or too close to zero, for a double.")
    return number


def _double_of_hexadecimal(text: str) -> float:
    if _HEXADECIMAL.fullmatch(text) is None:
        raise ConversionFailure("The text is not a number.")
    try:
        return float.fromhex(text)
    except OverflowError as error:
        raise ConversionFailure("The number in the text is too large for a double.") from error


def _is_out_of_range(number: float, small: Decimal | None) -> bool:
    """`small` is the exact value when `number` is too small to be a normal double."""
    return math.isinf(number) or (small is not None and Decimal(number) != small)


def double_of_decimal(value: Decimal128) -> float:
    """The nearest double. Raises `ConversionFailure` for a number that is too large, or so small that it loses digits."""
    exact = value.to_decimal()
    if not exact.is_finite():
        return float("nan") if exact.is_nan() else float(exact)
    number = float(exact)
    if _is_out_of_range(number, exact if abs(number) < sys.float_info.min else None):
        raise ConversionFailure("The decimal is too large, or too close to zero, for a double.")
    return number


def decimal_of_text(text: str) -> Decimal128:
    """The number, rounded to 34 digits. Raises `ConversionFailure`."""
    if _DOUBLE.fullmatch(text) is None:
        raise ConversionFailure("The text is not a number.")
    try:
        return Decimal128(DECIMAL128.create_decimal(text))
    except decimal.DecimalException as error:
        raise ConversionFailure("The number in the text is too large, or too close to zero, for a decimal.") from error


def object_id_of_text(text: str) -> ObjectId:
    """The ObjectId in 24 hexadecimal digits. Raises `ConversionFailure`."""
    if _OBJECT_ID.fullmatch(text) is None:
        raise ConversionFailure("The text is not the 24 hexadecimal digits of an objectId.")
    return ObjectId(text)


_DATE = re.compile(
    r"""
    (?P<year>[0-9]{4}) (?P<dash>[-/]?) (?P<month>[0-9]{2}) (?P=dash) (?P<day>[0-9]{2})
    (?: (?:[Tt]|[ \t]+)
        (?P<hour>[0-9]{1,2}) (?P<colon>:?) (?P<minute>[0-9]{2})
        (?: (?P=colon) (?P<second>[0-9]{2}) (?: [.,](?P<fraction>[0-9]+) )? )?
        [ ]* (?: [Zz] | UTC | GMT | (?P<sign>[+-]) (?P<zone_hours>[0-9]{2}) (?: :? (?P<zone_minutes>[0-9]{2}) )? )?
    )?
    """,
    re.ASCII | re.VERBOSE,
)
_MICROSECONDS = 6


def date_of_text(text: str) -> int:
    """A date in ISO 8601 as milliseconds since the epoch, in UTC unless the text has an offset. Raises `ConversionFailure`.

    MongoDB reads whatever timelib can read, including "July 4, 2017". This function reads the forms of ISO 8601 with a year,
    a month and a day: with or without separators, a blank in place of the T, seconds, and fractions of seconds.
    """
    match = _DATE.fullmatch(text.strip(" \t\n"))
    if match is None:
        raise ConversionFailure("The text is not a date in ISO 8601, such as 2024-05-01T12:30:00.000Z.")
    year, month, day, hour, minute, second = (
        int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    if not (1 <= month <= 12 and 1 <= day <= days_in_month(year, month) and hour < 24 and minute < 60 and second < 60):
        raise ConversionFailure("The text has the form of a date, but the calendar or the clock has no such time.")
    microseconds = int((match["fraction"] or "")[:_MICROSECONDS].ljust(_MICROSECONDS, "0"))
    seconds = (hour * 60 + minute) * 60 + second - _offset_seconds(match)
    milliseconds = days_of(year, month, day) * MILLISECONDS_PER_DAY + seconds * 1000
    # MongoDB rounds towards 1970.
    before_epoch = milliseconds < 0 and microseconds % 1000
    return milliseconds + microseconds // 1000 + (1 if before_epoch else 0)


def _offset_seconds(match: re.Match[str]) -> int:
    if match["sign"] is None:
        return 0
    seconds = int(match["zone_hours"]) * 3600 + int(match["zone_minutes"] or 0) * 60
    return -seconds if match["sign"] == "-" else seconds
