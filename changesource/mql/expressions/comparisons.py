"""Comparison operators: $eq $ne $gt $gte $lt $lte $cmp. All values compare, in BSON's order; missing is less than null."""

from __future__ import annotations

from typing import Any

from changesource.mql.budget import Budget
from changesource.mql.expressions.compiler import operator
from changesource.mql.ordering import compare, equal


@operator("$eq", arguments=2, gives={"bool"}, pays=True)
def _eq(budget: Budget, left: Any, right: Any) -> bool:
    return equal(left, right, budget)


@operator("$ne", arguments=2, gives={"bool"}, pays=True)
def _ne(budget: Budget, left: Any, right: Any) -> bool:
    return not equal(left, right, budget)


@operator("$gt", arguments=2, gives={"bool"}, pays=True)
def _gt(budget: Budget, left: Any, right: Any) -> bool:
    return compare(left, right, budget) > 0


@operator("$gte", arguments=2, gives={"bool"}, pays=True)
def _gte(budget: Budget, left: Any, right: Any) -> bool:
    return compare(left, right, budget) >= 0


@operator("$lt", arguments=2, gives={"bool"}, pays=True)
def _lt(budget: Budget, left: Any, right: Any) -> bool:
    return compare(left, right, budget) < 0


@operator("$lte", arguments=2, gives={"bool"}, pays=True)
def _lte(budget: Budget, left: Any, right: Any) -> bool:
    return compare(left, right, budget) <= 0


@operator("$cmp", arguments=2, gives={"int"}, pays=True)
def _cmp(budget: Budget, left: Any, right: Any) -> int:
    return compare(left, right, budget)
