"""Conversions between BSON's types: $convert, $toString and the like, and the operators that tell a value's type.

MongoDB: manual/reference/operator/aggregation/convert and src/mongo/db/exec/expression/evaluate_convert.cpp.
"""

from __future__ import annotations

import base64
import decimal
import math
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from bson import DatetimeMS, Decimal128, Int64

from changesource.mql.bson_types import (
    MAX_INT,
    MAX_LONG,
    MIN_INT,
    MIN_LONG,
    NUMBERS,
    TYPE_NUMBERS,
    is_nullish,
    is_number,
    is_truthy,
    milliseconds_of,
    type_name,
)
from changesource.mql.budget import FREE_CHARACTERS, Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions.coercions import object_id_milliseconds, whole_number
from changesource.mql.expressions.compiler import (
    BUDGET,
    Document,
    Node,
    Scope,
    Types,
    Variables,
    compile_within,
    constant,
    folded,
    named_arguments,
    operator,
    special,
)
from changesource.mql.expressions.date_formats import iso_text
from changesource.mql.expressions.parsing import (
    DECIMAL128,
    ConversionFailure,
    date_of_text,
    decimal_of_text,
    double_of_decimal,
    double_of_text,
    integer_of_text,
    object_id_of_text,
)
from changesource.mql.ordering import STEPS_OF_DECIMAL

Convert = Callable[[Any], Any]
PaidConvert = Callable[[Budget, Any], Any]

STEPS: Final = 3
"""The cost of a conversion."""

PAYING: Final = frozenset({"string", "binData", "javascript", "javascriptWithScope", "decimal", "date"})
"""Types whose values can be long, or take long to convert."""

PASSES_OVER_TEXT: Final = 8
"""Text is read as a number or a date by regular expressions, which take longer than other C functions."""

OF_MONGODB_8: Final = ("base", "format", "byteOrder")


@operator("$type", arguments=1, gives={"string"})
def _type(value: Any) -> str:
    return type_name(value)


@operator("$isNumber", arguments=1, gives={"bool"})
def _is_number(value: Any) -> bool:
    return is_number(value)


@special("$convert", steps=STEPS)
def _convert(specification: Any, scope: Scope) -> Node:
    if isinstance(specification, Mapping):
        for name in OF_MONGODB_8:
            if name in specification:
                raise MqlError(f"{name!r} is refused: MongoDB has it only from version 8 on.")
    arguments = named_arguments("$convert", specification, ("input", "to"), ("onError", "onNull"))
    nodes = {name: compile_within(name, value, scope) for name, value in arguments.items()}
    value, to = nodes["input"], nodes["to"]
    on_null = nodes.get("onNull") or constant(None)
    on_error = nodes.get("onError")
    converters = _constant_converters(to)
    types = _types_given(to, on_null, on_error)

    def evaluate(document: Document, variables: Variables) -> Any:
        convert = converters or _converters_to(to.evaluate(document, variables))
        found = value.evaluate(document, variables)
        if is_nullish(found):
            return on_null.evaluate(document, variables)
        if convert is None:
            return None
        try:
            return convert(variables[BUDGET], found)
        except ConversionFailure:
            if on_error is None:
                raise
            return on_error.evaluate(document, variables)

    return folded(evaluate, nodes.values(), types, scope)


def _constant_converters(to: Node) -> PaidConvert | None:
    return _converters_to(to.value) if to.is_constant else None


def _types_given(to: Node, on_null: Node, on_error: Node | None) -> Types:
    error_types = frozenset[str]() if on_error is None else on_error.gives
    if not to.is_constant or on_null.gives is None or error_types is None:
        return None
    target = "null" if is_nullish(to.value) else _target_name(to.value)
    return frozenset({target}) | on_null.gives | error_types


def _converters_to(target: Any) -> PaidConvert | None:
    return None if is_nullish(target) else _converter_to(_target_name(target))


def _target_name(target: Any) -> str:
    """The name of the type that `to` gives by name or number. Raises `MqlError`."""
    number = whole_number(target)
    names = [name for name in TYPE_NUMBERS if name == target or (number is not None and TYPE_NUMBERS[name] == number)]
    if not names:
        raise MqlError("'to' names no type of BSON. Write a type's name or number: 'string', 'int', 'date' …")
    return names[0]


def _converter_to(target: str, converters: Mapping[str, Convert] | None = None) -> PaidConvert:
    converters = CONVERTERS.get(target, {}) if converters is None else converters
    paying = PAYING if target != "decimal" else PAYING | NUMBERS

    def convert(budget: Budget, value: Any) -> Any:
        kind = type_name(value)
        if kind in paying:
            _pay_for_conversion(value, budget)
        converter = converters.get(kind)
        if converter is None:
            raise ConversionFailure(
                f"There is no conversion from {kind} to {target}. "
                "Convert another value, or use $convert with an onError."
            )
        return converter(value)

    return convert


def _pay_for_conversion(value: Any, budget: Budget) -> None:
    if not isinstance(value, str | bytes):
        budget.spend_steps(STEPS_OF_DECIMAL)
    elif len(value) > FREE_CHARACTERS:
        budget.make_text(len(value))
        budget.read_text(len(value) * PASSES_OVER_TEXT)


# To string


def text_of_double(value: float) -> str:
    """The fewest digits that give back the same double, without ".0": 1.5, 1, 1e+16, 1e-05, NaN, Infinity, -0."""
    if math.isfinite(value):
        return repr(value).removesuffix(".0")
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _text_of_binary(value: Any) -> str:
    """MongoDB's format "auto": a UUID as a UUID, other bytes in Base64."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if getattr(value, "subtype", 0) == 4 and len(value) == 16:
        return str(uuid.UUID(bytes=bytes(value)))
    return base64.b64encode(value).decode("ascii")


# To numbers


def _checked_int(value: Any) -> int:
    if MIN_INT <= value <= MAX_INT:
        return int(value)
    raise ConversionFailure("The number is too large for an int. Use $toLong or $toDouble.")


def _int_of_double(value: float) -> int:
    """MongoDB compares before it cuts off the fraction: 2147483647.5 is too large."""
    return int(_checked_range(value, MIN_INT, MAX_INT))


def _long_of_double(value: float) -> Int64:
    # No double is 2^63 - 1, and 2^63 is too large.
    return Int64(int(_checked_range(value, MIN_LONG, math.nextafter(2.0**63, 0))))


def _checked_range(value: float, least: float, most: float) -> float:
    if math.isfinite(value) and least <= value <= most:
        return value
    raise ConversionFailure("The double is not finite, or too large for the type.")


def _integer_of_decimal(value: Decimal128, least: int, most: int) -> int:
    exact = value.to_decimal()
    if exact.is_finite() and exact.adjusted() <= 18 and least <= int(exact) <= most:
        return int(exact)
    raise ConversionFailure("The decimal is not finite, or too large for the type.")


def _int_of_decimal(value: Decimal128) -> int:
    return _integer_of_decimal(value, MIN_INT, MAX_INT)


def _long_of_decimal(value: Decimal128) -> Int64:
    return Int64(_integer_of_decimal(value, MIN_LONG, MAX_LONG))


def decimal_of_double(value: float) -> Decimal128:
    """The decimal of 15 digits that MongoDB makes of a double: 2.5 becomes 2.50000000000000."""
    exact = Decimal(value)
    if not exact.is_finite() or not exact:
        return Decimal128(exact)
    rounded = _FIFTEEN_DIGITS.create_decimal(exact)
    return Decimal128(rounded.quantize(Decimal((0, (1,), rounded.adjusted() - 14)), context=DECIMAL128))


_FIFTEEN_DIGITS = decimal.Context(prec=15, rounding=decimal.ROUND_HALF_EVEN)


def _decimal_of_integer(value: int) -> Decimal128:
    return Decimal128(Decimal(int(value)))


# To date


def _date_of_integer(value: int) -> DatetimeMS:
    return DatetimeMS(int(value))


def _same(value: Any) -> Any:
    return value


CONVERTERS: Final[Mapping[str, Mapping[str, Convert]]] = {
    "string": {
        "string": _same,
        "double": text_of_double,
        "int": str,
        "long": lambda value: str(int(value)),
        "decimal": str,
        "bool": lambda value: "true" if value else "false",
        "objectId": str,
        "date": lambda value: iso_text(milliseconds_of(value)),
    },
    "int": {
        "int": _same,
        "long": _checked_int,
        "double": _int_of_double,
        "decimal": _int_of_decimal,
        "bool": int,
        "string": lambda value: integer_of_text(value, MIN_INT, MAX_INT),
    },
    "long": {
        "int": Int64,
        "long": Int64,
        "double": _long_of_double,
        "decimal": _long_of_decimal,
        "bool": Int64,
        "date": lambda value: Int64(milliseconds_of(value)),
        "string": lambda value: Int64(integer_of_text(value, MIN_LONG, MAX_LONG)),
    },
    "double": {
        "double": _same,
        "int": float,
        "long": float,
        "decimal": double_of_decimal,
        "bool": float,
        "date": lambda value: float(milliseconds_of(value)),
        "string": double_of_text,
    },
    "decimal": {
        "decimal": _same,
        "int": _decimal_of_integer,
        "long": _decimal_of_integer,
        "double": decimal_of_double,
        "bool": _decimal_of_integer,
        "date": lambda value: _decimal_of_integer(milliseconds_of(value)),
        "string": decimal_of_text,
    },
    "bool": dict.fromkeys(TYPE_NUMBERS, is_truthy),
    "date": {
        "date": _same,
        "long": _date_of_integer,
        "double": lambda value: _date_of_integer(_long_of_double(value)),
        "decimal": lambda value: _date_of_integer(_long_of_decimal(value)),
        "string": lambda value: DatetimeMS(date_of_text(value)),
        "objectId": lambda value: DatetimeMS(object_id_milliseconds(value)),
        "timestamp": lambda value: DatetimeMS(value.time * 1000),
    },
    "objectId": {"objectId": _same, "string": object_id_of_text},
}
"""For each target type, the conversion from each type. There are no others."""


# $toString and the like


def _register_shortcut(name: str, target: str, converters: Mapping[str, Convert]) -> None:
    """Registers {name: x} as {$convert: {input: x, to: target}}."""
    convert = _converter_to(target, converters)
    register = operator(name, arguments=1, gives={target, "null"}, pays=True, steps=STEPS)
    register(lambda budget, value: None if is_nullish(value) else convert(budget, value))


for _name, _target in {
    "$toInt": "int",
    "$toLong": "long",
    "$toDouble": "double",
    "$toDecimal": "decimal",
    "$toBool": "bool",
    "$toDate": "date",
    "$toObjectId": "objectId",
}.items():
    _register_shortcut(_name, _target, CONVERTERS[_target])
_register_shortcut("$toString", "string", {**CONVERTERS["string"], "binData": _text_of_binary})
