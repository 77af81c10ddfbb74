"""Hashable keys of BSON values: two values have the same key if and only if MongoDB considers them equal.

1, 1.0, a long and a decimal of 1 are equal, and so is NaN to NaN; true is not 1, nor is null a missing value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

from bson import Decimal128, Int64, ObjectId

from changesource.mql.bson_types import milliseconds_of
from changesource.mql.budget import Budget
from changesource.mql.ordering import (
    BRACKETS,
    STEPS_OF_DECIMAL,
    binary_parts,
    bracket,
    fields_of,
    is_nan_number,
    pay_for_bytes,
    regex_parts,
)

_ITS_OWN_KEY: Final = frozenset({str, int, Int64, ObjectId})
"""Types whose values Python finds equal to exactly those values, of any type, that MongoDB considers equal to them."""

_NAN: Final = (BRACKETS["double"], "NaN")


def equality_key(value: Any, budget: Budget) -> Hashable:
    """The key of `value`, which may be `MISSING`. Raises `BudgetExceeded`."""
    if type(value) in _ITS_OWN_KEY:
        return value  # type: ignore[no-any-return]
    place = bracket(value)
    make = _KEYS.get(place)
    return (place, None) if make is None else make(place, value, budget)


def _of_number(_place: int, value: Any, budget: Budget) -> Hashable:
    number = value
    if isinstance(value, Decimal128):
        budget.spend_steps(STEPS_OF_DECIMAL)
        number = value.to_decimal()
    return _NAN if is_nan_number(number) else number


def _of_text(_place: int, value: Any, _budget: Budget) -> Hashable:
    return str.__str__(value)


def _of_object(place: int, value: Any, budget: Budget) -> Hashable:
    fields: Mapping[str, Any] = fields_of(value, budget)
    budget.spend_steps(len(fields))
    return place, tuple([(name, equality_key(member, budget)) for name, member in fields.items()])


def _of_array(place: int, value: Any, budget: Budget) -> Hashable:
    budget.spend_steps(len(value))
    return place, tuple([equality_key(item, budget) for item in value])


def _of_binary(place: int, value: Any, budget: Budget) -> Hashable:
    pay_for_bytes(value, budget)
    return place, binary_parts(value)


def _of_code(place: int, value: Any, budget: Budget) -> Hashable:
    scope = None if value.scope is None else _of_object(BRACKETS["object"], value.scope, budget)
    return place, str.__str__(value), scope


_KEYS: Final[Mapping[int, Callable[[int, Any, Budget], Hashable]]] = {
    BRACKETS["int"]: _of_number,
    BRACKETS["string"]: _of_text,
    BRACKETS["object"]: _of_object,
    BRACKETS["array"]: _of_array,
    BRACKETS["binData"]: _of_binary,
    BRACKETS["objectId"]: lambda _, value, __: ObjectId(value),
    BRACKETS["bool"]: lambda place, value, _: (place, value),
    BRACKETS["date"]: lambda place, value, _: (place, milliseconds_of(value)),
    BRACKETS["timestamp"]: lambda place, value, _: (place, value.time, value.inc),
    BRACKETS["regex"]: lambda place, value, _: (place, regex_parts(value)),
    BRACKETS["javascript"]: _of_code,
    BRACKETS["javascriptWithScope"]: _of_code,
}
"""By bracket of BSON's order. All values of any other type are equal to each other."""
