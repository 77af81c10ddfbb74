"""The arguments of $type, $size and $mod, in the form that their tests need."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

from changesource.mql.bson_types import MAX_LONG, MIN_LONG, NUMBERS, TYPE_NUMBERS, is_number
from changesource.mql.errors import MqlError
from changesource.mql.ordering import as_number

_DECODED_AS: Final = {"undefined": "null", "symbol": "string", "dbPointer": "a reference"}
"""Types that MongoDB deprecated long ago. PyMongo decodes them as others, so that they cannot be told apart."""


def types_of(argument: Any) -> frozenset[str]:
    """The aliases that the argument of $type names: an alias, a number, or an array of these."""
    named = argument if isinstance(argument, list | tuple) else [argument]
    if not named:
        raise MqlError("$type takes one type or more.")
    return frozenset().union(*map(_types_named, named))


def size_of(argument: Any) -> int:
    """The argument of $size."""
    size = _whole(argument)
    if size is None or size < 0:
        raise MqlError("$size takes a whole number that is not negative.")
    return size


def divisor_and_remainder(argument: Any) -> tuple[int, int]:
    """The argument of $mod. Fractions are cut off, as in mongod."""
    if not isinstance(argument, list | tuple) or len(argument) != 2:
        raise MqlError("$mod takes an array of two numbers: the divisor and the remainder.")
    divisor, remainder = (truncated(number) for number in argument)
    if divisor is None or remainder is None:
        raise MqlError("$mod takes finite numbers of 64 bits at most.")
    if divisor == 0:
        raise MqlError("The divisor of $mod is 0. Take another one.")
    return divisor, remainder


def truncated(value: Any) -> int | None:
    """A number without its fraction; None for any other value, and for an infinite one or one beyond 64 bits."""
    if not _is_number(value):
        return None
    number = as_number(value)
    if isinstance(number, Decimal):
        # a Decimal128 can have 6145 digits before the point
        if not number.is_finite() or number.adjusted() > 18:
            return None
    elif not math.isfinite(number):
        return None
    whole = int(number)
    return whole if MIN_LONG <= whole <= MAX_LONG else None


def _whole(value: Any) -> int | None:
    whole = truncated(value)
    return whole if whole is not None and whole == as_number(value) else None


def _is_number(value: Any) -> bool:
    try:
        return is_number(value)
    except TypeError:
        return False


def _types_named(name: Any) -> frozenset[str]:
    if name == "number":
        return NUMBERS
    alias = name if isinstance(name, str) else _ALIASES.get(_whole(name))
    if alias is None or alias not in TYPE_NUMBERS:
        raise MqlError("$type takes an alias such as 'string', 'number', or a number of a BSON type.")
    if alias in _DECODED_AS:
        raise MqlError(f"$type {alias} is refused: such a value is read as {_DECODED_AS[alias]}. Ask for that.")
    return frozenset({alias})


_ALIASES: Final[dict[int | None, str]] = {number: alias for alias, number in TYPE_NUMBERS.items()}
