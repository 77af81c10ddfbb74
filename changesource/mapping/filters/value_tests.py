"""Tests of one value against constants: equality, order, membership.

Only values of one bracket of types compare (`ordering.BRACKETS`); null stands for missing too; NaN is neither less nor
greater than anything (mongod: matcher/expression_leaf.cpp). Exact Python types are tried first, as nearly all values
have them; what is left goes through `ordering`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bson import Binary, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

from changesource.mapping.bson_types import Missing, is_nullish, milliseconds_of
from changesource.mapping.filters.paths import Test
from changesource.mapping.filters.tree import ComparisonOperator
from changesource.mapping.ordering import bracket, compare, equal

_NUMBER_TYPES: Final = frozenset({int, Int64, float})
_PLAIN: Final[Mapping[type, frozenset[type]]] = {
    **dict.fromkeys(_NUMBER_TYPES, _NUMBER_TYPES),
    **{kind: frozenset({kind}) for kind in (str, bool, ObjectId, DatetimeMS, Binary, Timestamp)},
}
"""For a constant's type, the types whose values Python's == and hash compare with it as MongoDB does; but for NaN."""

_NEVER_EQUAL: Final[Mapping[type, frozenset[type]]] = {
    kind: frozenset({*_PLAIN, list, dict, type(None), Missing} - kinds) for kind, kinds in _PLAIN.items()
}
"""For a constant's type, types of other brackets."""


def comparison(name: ComparisonOperator, constant: Any) -> Test:
    """The test of $eq, $gt, $gte, $lt or $lte."""
    return equality(constant) if name == "$eq" else _order(name, constant)


def equality(constant: Any) -> Test:
    if constant is None:
        return is_nullish
    constant = _plain_date(constant)
    if not is_plain(constant):
        return lambda value: equal(value, constant)
    kinds, others = _PLAIN[type(constant)], _NEVER_EQUAL[type(constant)]

    def is_equal(value: Any) -> bool:
        kind = type(value)
        if kind in kinds:
            return bool(value == constant)
        return kind not in others and equal(value, constant)

    return is_equal


def membership(constants: Sequence[Any]) -> Test:
    """The test of $in, but for its regular expressions."""
    constants = [_plain_date(constant) for constant in constants]
    plain = [constant for constant in constants if is_plain(constant)]
    # A set for each type, as to Python True and 1 are the same.
    sets = {kind: frozenset(constant for constant in plain if kind in _PLAIN[type(constant)]) for kind in _PLAIN}
    other_tests = [equality(constant) for constant in constants if not is_plain(constant)]
    all_tests = [equality(constant) for constant in constants]

    def is_member(value: Any) -> bool:
        members = sets.get(type(value))
        if members is None:
            return any(test(value) for test in all_tests)
        return value in members or (bool(other_tests) and any(test(value) for test in other_tests))

    return is_member


def is_plain(constant: Any) -> bool:
    """Whether Python compares the constant with most values as MongoDB does."""
    return type(constant) in _PLAIN and not is_nan(constant)


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
        return is_nullish if holds(0, 0) else _never
    if isinstance(constant, MinKey | MaxKey):
        return lambda value: holds(compare(value, constant), 0)  # of all types
    if is_nan(constant):
        return is_nan if holds(0, 0) else _never
    constant = _plain_date(constant)
    constant_bracket = bracket(constant)

    def is_ordered(value: Any) -> bool:
        return bracket(value) == constant_bracket and not is_nan(value) and holds(compare(value, constant), 0)

    if type(constant) not in (str, int, Int64, float, DatetimeMS, ObjectId):
        return is_ordered
    kinds = _PLAIN[type(constant)]

    def is_plainly_ordered(value: Any) -> bool:
        return holds(value, constant) if type(value) in kinds else is_ordered(value)

    return is_plainly_ordered


def _never(_: Any) -> bool:
    return False
