"""Operators of comparisons: $eq $ne $gt $gte $lt $lte $cmp. All values compare, in BSON's order; missing is below null."""

from __future__ import annotations

from typing import Any

from changesource.mapping.expressions.compiler import operator
from changesource.mapping.ordering import compare, equal


@operator("$eq", arguments=2, gives={"bool"})
def _eq(left: Any, right: Any) -> bool:
    return equal(left, right)


@operator("$ne", arguments=2, gives={"bool"})
def _ne(left: Any, right: Any) -> bool:
    return not equal(left, right)


@operator("$gt", arguments=2, gives={"bool"})
def _gt(left: Any, right: Any) -> bool:
    return compare(left, right) > 0


@operator("$gte", arguments=2, gives={"bool"})
def _gte(left: Any, right: Any) -> bool:
    return compare(left, right) >= 0


@operator("$lt", arguments=2, gives={"bool"})
def _lt(left: Any, right: Any) -> bool:
    return compare(left, right) < 0


@operator("$lte", arguments=2, gives={"bool"})
def _lte(left: Any, right: Any) -> bool:
    return compare(left, right) <= 0


@operator("$cmp", arguments=2, gives={"int"})
def _cmp(left: Any, right: Any) -> int:
    return compare(left, right)
