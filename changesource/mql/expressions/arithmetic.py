"""Arithmetic operators: $add $subtract $multiply $divide $mod $abs $floor $ceil $round $trunc.

MongoDB: src/mongo/db/exec/expression/evaluate_math.cpp. A result has the widest type of its arguments, in the order int,
long, double, decimal. An int that overflows becomes a long; a long that overflows, a double. Null or missing gives null.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from bson import DatetimeMS, Decimal128, Int64

from changesource.mql.bson_types import (
    MAX_LONG,
    MIN_LONG,
    MISSING,
    NUMBERS,
    is_nullish,
    long_or_int,
    milliseconds_of,
    type_name,
)
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions.coercions import whole_number
from changesource.mql.expressions.compiler import (
    AT_ANY_NULL,
    AT_FIRST_NULL,
    Node,
    Scope,
    apply_in_order,
    compile_arguments,
    operator,
    special,
)
from changesource.mql.expressions.conversions import decimal_of_double
from changesource.mql.expressions.date_units import within_dates
from changesource.mql.ordering import STEPS_OF_DECIMAL, as_number

INT, LONG, DOUBLE, DECIMAL = range(4)
WIDTHS: Final = {"int": INT, "long": LONG, "double": DOUBLE, "decimal": DECIMAL}

NUMBER_OR_NULL: Final = NUMBERS | {"null"}

DECIMAL_DIGITS = 34
DECIMAL_CONTEXT: Final = Context(
    prec=DECIMAL_DIGITS, rounding=ROUND_HALF_EVEN, Emin=-6143, Emax=6144, clamp=1, traps=[]
)
"""IEEE 754's decimal128. Nothing is trapped: overflow gives Infinity, and an operation without a result gives NaN."""

_ONE = Decimal(1)

_REMAINDER_CONTEXT = Context(prec=12_400, Emin=-6143, Emax=6144, traps=[])
"""Enough digits for the whole quotient of the largest decimal128 and the smallest."""


@operator("$add", arguments=(0, None), gives=NUMBER_OR_NULL | {"date"}, ends_at_null=AT_ANY_NULL, pays=True)
def _add(budget: Budget, *values: Any) -> Any:
    """After a date, each number is rounded to whole milliseconds."""
    total: Any = 0
    width, is_date = INT, False
    for value in values:
        if value is None or value is MISSING:
            return None
        kind = type_name(value)
        if kind == "date":
            if is_date:
                raise MqlError("$add takes one date at most. Use $subtract for the time between two dates.")
            total, is_date = within_dates(_whole_milliseconds(total) + milliseconds_of(value)), True
        elif kind not in WIDTHS:
            raise MqlError(f"$add takes numbers and a date, not {kind}. Convert it first.")
        elif is_date:
            total = within_dates(total + _whole_milliseconds(as_number(value)))
        else:
            total, width = _sum(total, width, value, WIDTHS[kind], budget)
    return DatetimeMS(total) if is_date else _bson_number(total, width)


def _sum(total: Any, width: int, value: Any, width_of_value: int, budget: Budget) -> tuple[Any, int]:
    width = max(width, width_of_value)
    if width == DECIMAL:
        budget.spend_steps(STEPS_OF_DECIMAL)
        return DECIMAL_CONTEXT.add(_decimal(total), _decimal(value)), DECIMAL
    if width < DOUBLE and MIN_LONG <= total + value <= MAX_LONG:
        return total + value, width
    return float(total) + float(value), DOUBLE


@operator("$subtract", arguments=2, gives=NUMBER_OR_NULL | {"date"}, pays=True)
def _subtract(budget: Budget, left: Any, right: Any) -> Any:
    left_kind, right_kind = type_name(left), type_name(right)
    if left_kind in WIDTHS and right_kind in WIDTHS:
        return _difference(left, right, max(WIDTHS[left_kind], WIDTHS[right_kind]), budget)
    if is_nullish(left) or is_nullish(right):
        return None
    if left_kind == "date" and right_kind == "date":
        return Int64(within_dates(milliseconds_of(left) - milliseconds_of(right)))
    if left_kind == "date" and right_kind in WIDTHS:
        return DatetimeMS(within_dates(milliseconds_of(left) - _whole_milliseconds(as_number(right))))
    raise MqlError(f"$subtract cannot take {right_kind} from {left_kind}. Convert them first.")


def _difference(left: Any, right: Any, width: int, budget: Budget) -> Any:
    if width == DECIMAL:
        budget.spend_steps(STEPS_OF_DECIMAL)
        return Decimal128(DECIMAL_CONTEXT.subtract(_decimal(left), _decimal(right)))
    if width < DOUBLE and MIN_LONG <= left - right <= MAX_LONG:
        return _bson_number(left - right, width)
    return float(left) - float(right)


@operator("$multiply", arguments=(0, None), gives=NUMBER_OR_NULL, ends_at_null=AT_ANY_NULL, pays=True)
def _multiply(budget: Budget, *values: Any) -> Any:
    """A product of doubles is computed beside the one of integers, and is the result when the latter overflows."""
    width, whole, double, exact = INT, 1, 1.0, Decimal(1)
    for value in values:
        if value is None or value is MISSING:
            return None
        previous, width = width, max(width, _width(value, "$multiply", budget))
        if width == DECIMAL:
            if previous != DECIMAL:
                exact = _decimal(double if previous == DOUBLE else whole)
            exact = DECIMAL_CONTEXT.multiply(exact, _decimal(value))
            continue
        double *= float(value)
        if width < DOUBLE:
            whole *= value
            if not MIN_LONG <= whole <= MAX_LONG:
                width = DOUBLE
    return _bson_number(exact if width == DECIMAL else double if width == DOUBLE else whole, width)


@operator("$divide", arguments=2, gives={"double", "decimal", "null"}, pays=True)
def _divide(budget: Budget, left: Any, right: Any) -> Any:
    if is_nullish(left) or is_nullish(right):
        return None
    width = max(_width(left, "$divide", budget), _width(right, "$divide", budget))
    if width == DECIMAL:
        dividend, divisor = _decimal(left), _decimal(right)
        _refuse_zero(divisor, "$divide")
        return Decimal128(DECIMAL_CONTEXT.divide(dividend, divisor))
    _refuse_zero(right, "$divide")
    return float(left) / float(right)


@operator("$mod", arguments=2, gives=NUMBER_OR_NULL, pays=True)
def _mod(budget: Budget, left: Any, right: Any) -> Any:
    """The result has the sign of the dividend."""
    if is_nullish(left) or is_nullish(right):
        return None
    width = max(_width(left, "$mod", budget), _width(right, "$mod", budget))
    if width == DECIMAL:
        dividend, divisor = _decimal(left), _decimal(right)
        _refuse_zero(divisor, "$mod")
        return Decimal128(_REMAINDER_CONTEXT.remainder(dividend, divisor))
    _refuse_zero(right, "$mod")
    if width == DOUBLE:
        return math.nan if math.isinf(left) else math.fmod(left, right)
    remainder = abs(left) % abs(right)
    return _bson_number(-remainder if left < 0 else remainder, width)


def _refuse_zero(divisor: Any, name: str) -> None:
    if divisor.is_zero() if isinstance(divisor, Decimal) else divisor == 0:
        raise MqlError(f"{name} by zero. Choose another result for it with $cond.")


# One number


@operator("$abs", arguments=1, gives=NUMBER_OR_NULL, pays=True)
def _abs(budget: Budget, value: Any) -> Any:
    if is_nullish(value):
        return None
    width = _width(value, "$abs", budget)
    if width == DECIMAL:
        return Decimal128(value.to_decimal().copy_abs())
    if value == MIN_LONG and width == LONG:
        raise MqlError("$abs of the least long is not a long. Use $toDecimal first.")
    return _bson_number(abs(value), width)


@operator("$floor", arguments=1, gives=NUMBER_OR_NULL, pays=True)
def _floor(budget: Budget, value: Any) -> Any:
    return _to_whole(value, "$floor", math.floor, ROUND_FLOOR, budget)


@operator("$ceil", arguments=1, gives=NUMBER_OR_NULL, pays=True)
def _ceil(budget: Budget, value: Any) -> Any:
    return _to_whole(value, "$ceil", math.ceil, ROUND_CEILING, budget)


def _to_whole(value: Any, name: str, of_double: Callable[[float], int], rounding: str, budget: Budget) -> Any:
    """A decimal that is infinite, or has more than 34 digits before the point, becomes NaN, as in MongoDB."""
    if is_nullish(value):
        return None
    width = _width(value, name, budget)
    if width == DECIMAL:
        return Decimal128(value.to_decimal().quantize(_ONE, rounding, DECIMAL_CONTEXT))
    if width < DOUBLE or not math.isfinite(value):
        return value
    return math.copysign(of_double(value), value)


MIN_PLACE, MAX_PLACE = -20, 100
"""MongoDB: manual/reference/operator/aggregation/round."""


@special("$round")
def _compile_round(specification: Any, scope: Scope) -> Node:
    return _compile_rounding("$round", ROUND_HALF_EVEN, specification, scope)


@special("$trunc")
def _compile_trunc(specification: Any, scope: Scope) -> Node:
    return _compile_rounding("$trunc", ROUND_DOWN, specification, scope)


def _compile_rounding(name: str, rounding: str, specification: Any, scope: Scope) -> Node:
    arguments = compile_arguments(name, specification, scope, 1, 2)
    if len(arguments) == 2 and arguments[1].is_constant:
        _check_place(arguments[1].value, name)

    def round_number(budget: Budget, value: Any, place: Any = 0) -> Any:
        if is_nullish(value):
            return None
        budget.spend_steps(STEPS_OF_DECIMAL)  # doubles are converted to decimals, too
        width = _width(value, name, budget)
        place = _check_place(place, name)
        return None if place is None else _round(value, width, place, rounding)

    return apply_in_order(round_number, arguments, AT_FIRST_NULL, NUMBER_OR_NULL, scope, pays=True)


def _check_place(place: Any, name: str) -> int | None:
    if is_nullish(place):
        return None
    whole = whole_number(place)
    if whole is None or not MIN_PLACE <= whole <= MAX_PLACE:
        raise MqlError(f"{name} takes a whole number from {MIN_PLACE} to {MAX_PLACE} as its place.")
    return whole


def _round(value: Any, width: int, place: int, rounding: str) -> Any:
    if width < DOUBLE:
        if place >= 0:
            return value
        rounded = int(_quantize(Decimal(value), place, rounding))
        if not MIN_LONG <= rounded <= MAX_LONG:
            raise MqlError("The rounded number is not a long. Use $toDecimal first.")
        return _bson_number(rounded, width)
    if width == DOUBLE:
        return float(_quantize(Decimal(value), place, rounding))
    return Decimal128(_quantize(value.to_decimal(), place, rounding))


def _quantize(value: Decimal, place: int, rounding: str) -> Decimal:
    """`value` with `place` digits after the point, or with fewer when it would have more than 34 digits in all
    (mongo::Decimal128::quantize)."""
    if not value.is_finite():
        return value
    exponent = -place
    if value:
        exponent = max(exponent, value.adjusted() - DECIMAL_DIGITS + 1)
    return value.quantize(Decimal((0, (1,), exponent)), rounding, DECIMAL_CONTEXT)


# Numbers


def _width(value: Any, name: str, budget: Budget) -> int:
    kind = type_name(value)
    width = WIDTHS.get(kind)
    if width == DECIMAL:
        budget.spend_steps(STEPS_OF_DECIMAL)
    if width is None:
        raise MqlError(f"{name} takes numbers, not {kind}. Convert it first.")
    return width


def _is_finite(number: int | float | Decimal) -> bool:
    return number.is_finite() if isinstance(number, Decimal) else math.isfinite(number)


def _bson_number(number: Any, width: int) -> Any:
    if width == INT:
        return long_or_int(number)
    if width == LONG:
        return Int64(number)
    return Decimal128(number) if width == DECIMAL else number


def _decimal(number: Any) -> Decimal:
    if isinstance(number, Decimal128):
        return number.to_decimal()
    return decimal_of_double(number).to_decimal() if isinstance(number, float) else Decimal(number)


# Dates


def _whole_milliseconds(number: int | float | Decimal) -> int:
    """The milliseconds that `number` adds to a date: halves are rounded away from zero in a double, to even in a decimal."""
    if isinstance(number, int):
        return number
    if not _is_finite(number):
        raise MqlError("NaN or Infinity cannot be added to a date, nor taken from it.")
    rounding = ROUND_HALF_UP if isinstance(number, float) else ROUND_HALF_EVEN
    return within_dates(int(Decimal(number).to_integral_value(rounding, DECIMAL_CONTEXT)))
