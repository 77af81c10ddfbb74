"""What $type, $size and $mod take, in the form that they need it in."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

from changesource.mql.bson_types import MAX_LONG, MIN_LONG, NUMBERS, TYPE_NUMBERS, is_number
from changesource.mql.errors import MappingError
from changesource.mql.ordering import as_number

_DECODED_AS: Final = {"undefined": "null", "symbol": "string", "dbPointer": "a reference"}
"""Types that were given up long ago: PyMongo decodes them as others, so that nobody can tell."""


def types_of(argument: Any) -> frozenset[str]:
    """The aliases that an argument of $type names, be it an alias, a number, or an array of them."""
    named = argument if isinstance(argument, list | tuple) else [argument]
    if not named:
        raise MappingError("$type takes one type or more.")
    return frozenset().union(*map(_types_named, named))


def size_of(argument: Any) -> int:
    """The argument of $size."""
    size = _whole(argument)
    if size is None or size < 0:
        raise MappingError("$size takes a whole number that is not negative.")
    return size


def divisor_and_remainder(argument: Any) -> tuple[int, int]:
    """The argument of $mod. Fractions are cut off, as mongod does."""
    if not isinstance(argument, list | tuple) or len(argument) != 2:
        raise MappingError("$mod takes an array of two numbers: the divisor and the remainder.")
    divisor, remainder = (truncated(number) for number in argument)
    if divisor is None or remainder is None:
        raise MappingError("$mod takes finite numbers of 64 bits at most.")
    if divisor == 0:
        raise MappingError("The divisor of $mod is 0. Take another one.")
    return divisor, remainder


def truncated(value: Any) -> int | None:
    """A number without its fraction; None for what is none, or not finite, or beyond 64 bits."""
    if not _is_number(value):
        return None
    number = as_number(value)
    if isinstance(number, Decimal):
        # Decimal128 reaches to 10^6144, whose digits nobody wants
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
        raise MappingError("$type takes an alias such as 'string', 'number', or a number of a BSON type.")
    if alias in _DECODED_AS:
        raise MappingError(f"$type {alias} is refused: such a value is read as {_DECODED_AS[alias]}. Ask for that.")
    return frozenset({alias})


_ALIASES: Final[dict[int | None, str]] = {number: alias for alias, number in TYPE_NUMBERS.items()}
