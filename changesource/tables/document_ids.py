"""The `_id` of a document: which ids are the same to MongoDB, and the one form in which all of these become keys of rows.

An int, a long, a double and a decimal of 70 are the same number to MongoDB, and so the same `_id`, even inside an object. A
replacement may exchange one for another. Its event then names the document by the new one alone.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Mapping
from decimal import Context, Decimal
from typing import Any, Final

from bson import DBRef, Decimal128, Int64, ObjectId

from changesource.mql import MAX_LONG, MIN_LONG, Budget, Undecodable, equality_key, fields_of_reference, long_or_int

_THEIR_OWN_IDENTITY: Final = frozenset({ObjectId, str, int, Int64})
WITH_SEVERAL_FORMS: Final = frozenset({float, Decimal128, dict, list, DBRef})
"""The types whose values `normal_id` may change."""
_DIGITS: Final = Context(prec=34)
"""The digits of a Decimal128."""


def identity_of(document_id: Any) -> Hashable:
    """A key that is equal for two ids if and only if they are the same to MongoDB."""
    if type(document_id) in _THEIR_OWN_IDENTITY:
        return document_id  # type: ignore[no-any-return]
    # No mapping causes this work: there has been an event of a document with this id.
    return equality_key(document_id, Budget(sys.maxsize, sys.maxsize, sys.maxsize))


def normal_id(document_id: Any) -> Any:
    """The same value for all ids that are the same to MongoDB; `document_id` itself if that is this value.

    A number becomes an integer if it is whole and a long can hold it, else a double if one is equal to it, else a decimal
    without trailing zeros.
    """
    kind = type(document_id)
    if kind not in WITH_SEVERAL_FORMS:
        return document_id
    if kind is float:
        return _normal_double(document_id)
    if kind is Decimal128:
        return _normal_decimal(document_id)
    if kind is list:
        items = [normal_id(item) for item in document_id]
        is_changed = any(new is not old for new, old in zip(items, document_id, strict=True))
        return items if is_changed else document_id
    fields: Mapping[str, Any] = document_id if kind is dict else fields_of_reference(document_id)
    members = {name: normal_id(value) for name, value in fields.items()}
    return members if any(members[name] is not fields[name] for name in fields) else document_id


def is_readable(document_id: Any) -> bool:
    """Whether all of the id could be decoded. No command can name a document by an id that could not."""
    if isinstance(document_id, Undecodable):
        return False
    if isinstance(document_id, DBRef):
        document_id = fields_of_reference(document_id)
    if isinstance(document_id, Mapping):
        return all(map(is_readable, document_id.values()))
    return not isinstance(document_id, list) or all(map(is_readable, document_id))


def _normal_double(number: float) -> Any:
    # `int` drops the sign of minus zero.
    return long_or_int(int(number)) if number.is_integer() and MIN_LONG <= number <= MAX_LONG else number


def _normal_decimal(value: Decimal128) -> Any:
    number = value.to_decimal()
    if not number.is_finite():
        return math.nan if number.is_nan() else float(number)
    if MIN_LONG <= number <= MAX_LONG and number == number.to_integral_value():
        return long_or_int(int(number))
    nearest = float(number)
    if number == Decimal(nearest):
        return nearest
    normal = Decimal128(number.normalize(_DIGITS))
    return value if normal.bid == value.bid else normal
