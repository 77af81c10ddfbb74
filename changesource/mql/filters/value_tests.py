"""Tests of one value against constants: equality, order, membership.

Only values of the same bracket of types compare (`ordering.BRACKETS`). Null also stands for missing. NaN is neither less
nor greater than anything (mongod: matcher/expression_leaf.cpp). Exact Python types are tried first, as nearly all values
have them; the rest goes through `ordering`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bson import Binary, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

from changesource.mql.bson_types import MISSING, Missing, milliseconds_of
from changesource.mql.budget import Budget
from changesource.mql.equality_keys import equality_key
from changesource.mql.filters.paths import Test
from changesource.mql.filters.tree import ComparisonOperator
from changesource.mql.ordering import LONG_TEXT, bracket, compare, equal

_NUMBER_TYPES: Final = frozenset({int, Int64, float})
_PLAIN: Final[Mapping[type, frozenset[type]]] = {
    **dict.fromkeys(_NUMBER_TYPES, _NUMBER_TYPES),
    **{kind: frozenset({kind}) for kind in (str, bool, ObjectId, DatetimeMS, Binary, Timestamp)},
}
"""For the type of a constant, the types whose values Python's == and hash compare with it as MongoDB does, except NaN."""

_NEVER_EQUAL: Final[Mapping[type, frozenset[type]]] = {
    kind: frozenset({*_PLAIN, list, dict, type(None), Missing} - kinds) for kind, kinds in _PLAIN.items()
}
"""For the type of a constant, types of other brackets."""


def comparison(name: ComparisonOperator, constant: Any) -> Test:
    """The test of $eq, $gt, $gte, $lt or $lte."""
    return equality(constant) if name == "$eq" else _order(name, constant)


def equality(constant: Any) -> Test:
    if constant is None:
        return _is_nullish
    constant = _plain_date(constant)
    if not is_plain(constant):
        return lambda value, budget: equal(value, constant, budget)
    kinds, others = _PLAIN[type(constant)], _NEVER_EQUAL[type(constant)]

    def is_equal(value: Any, budget: Budget) -> bool:
        kind = type(value)
        if kind in kinds:
            return bool(value == constant)
        return kind not in others and equal(value, constant, budget)

    return is_equal


def membership(constants: Sequence[Any]) -> Test:
    """The test of $in, without its regular expressions."""
    constants = [_plain_date(constant) for constant in constants]
    plain = [constant for constant in constants if is_plain(constant)]
    # A set for each type, because True equals 1 in Python.
    sets = {kind: frozenset(constant for constant in plain if kind in _PLAIN[type(constant)]) for kind in _PLAIN}
    all_are_plain = len(plain) == len(constants)
    of_constants = Budget()
    keys = {equality_key(constant, of_constants) for constant in constants}
    if any(constant is None for constant in constants):
        keys.add(equality_key(MISSING, of_constants))  # which null stands for

    def is_member(value: Any, budget: Budget) -> bool:
        members = sets.get(type(value))
        if members is not None:
            if value in members:
                return True
            if all_are_plain:
                return False
        return equality_key(value, budget) in keys

    return is_member


def is_plain(constant: Any) -> bool:
    """Whether Python compares the constant with most values as MongoDB does."""
    return type(constant) in _PLAIN and not is_nan(constant) and not is_long_text(constant)


def is_long_text(value: Any) -> bool:
    """Whether comparing the value takes longer than a step."""
    return type(value) is str and len(value) > LONG_TEXT


def is_nan(value: Any) -> bool:
    if isinstance(value, float):
        return value != value
    return isinstance(value, Decimal128) and value.to_decimal().is_nan()


def _plain_date(constant: Any) -> Any:
    return DatetimeMS(milliseconds_of(constant)) if isinstance(constant, datetime) else constant


_HOLDS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def _order(name: ComparisonOperator, constant: Any) -> Test:
    holds = _HOLDS[name]
    if constant is None:
        return _is_nullish if holds(0, 0) else _never
    if isinstance(constant, MinKey | MaxKey):
        return lambda value, budget: holds(compare(value, constant, budget), 0)  # of all types
    if is_nan(constant):
        return _is_nan if holds(0, 0) else _never
    constant = _plain_date(constant)
    constant_bracket = bracket(constant)

    def is_ordered(value: Any, budget: Budget) -> bool:
        return bracket(value) == constant_bracket and not is_nan(value) and holds(compare(value, constant, budget), 0)

    if type(constant) not in (str, int, Int64, float, DatetimeMS, ObjectId) or is_long_text(constant):
        return is_ordered
    kinds = _PLAIN[type(constant)]

    def is_plainly_ordered(value: Any, budget: Budget) -> bool:
        return holds(value, constant) if type(value) in kinds else is_ordered(value, budget)

    return is_plainly_ordered


def _is_nullish(value: Any, _: Budget) -> bool:
    return value is None or value is MISSING


def _is_nan(value: Any, _: Budget) -> bool:
    return is_nan(value)


def _never(_: Any, __: Budget) -> bool:
    return False
