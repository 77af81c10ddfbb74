"""The parsed form of a filter, compiled to functions of a document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bson import Code, Decimal128, Regex

from changesource.mql.bson_types import MISSING, is_truthy, type_name
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions.compiler import variables_with, weight
from changesource.mql.filters.arguments import truncated
from changesource.mql.filters.paths import Predicate, Test, as_object, leads_to
from changesource.mql.filters.regexes import compile_regex
from changesource.mql.filters.tree import (
    All,
    And,
    Compare,
    ElemMatch,
    ElemMatchValue,
    Exists,
    Expr,
    FieldCondition,
    Filter,
    HasRemainder,
    HasSize,
    HasType,
    In,
    MatchesPattern,
    Nor,
    Not,
    Or,
    Path,
    Related,
    Variable,
    VariableCondition,
)
from changesource.mql.filters.value_tests import comparison, membership
from changesource.mql.ordering import STEPS_OF_DECIMAL, equal


def compile_predicate(filter: Filter) -> Predicate:
    """A predicate that says whether a document matches.

    The predicate raises `MqlError` for a document on which a pattern or an $expr fails.
    """
    if isinstance(filter, And):
        return _all([compile_predicate(member) for member in filter.members])
    if isinstance(filter, Or):
        return _any([compile_predicate(member) for member in filter.members])
    if isinstance(filter, Nor):
        return _none([compile_predicate(member) for member in filter.members])
    if isinstance(filter, Not):
        return _not(compile_predicate(filter.member))
    if isinstance(filter, Expr):
        return _compile_expr(filter)
    if isinstance(filter, All):
        return _all([compile_predicate(member) for member in filter.members]) if filter.members else _never
    if isinstance(filter, VariableCondition | Related):
        raise TypeError(f"{type(filter).__name__} is not about one document")
    elements = not isinstance(filter, HasSize | ElemMatch | ElemMatchValue)
    return leads_to(filter.path, _compile_test(filter), elements=elements)


def _compile_expr(filter: Expr) -> Predicate:
    evaluate = filter.node.evaluate
    return lambda document, budget: is_truthy(evaluate(document, variables_with(budget)))


def filter_weight(filter: Filter) -> int:
    """About how many steps the predicate takes for a document, without those that its tests pay themselves."""
    if isinstance(filter, And | Or | Nor | All):
        return sum(map(filter_weight, filter.members))
    if isinstance(filter, Not):
        return filter_weight(filter.member)
    return weight(filter.expression) if isinstance(filter, Expr) else 1


# One value


def compile_value_test(filter: Filter) -> Test:
    """The test of a filter without paths, which is about a single value, such as an element of an array."""
    if isinstance(filter, And):
        return _all([compile_value_test(member) for member in filter.members])
    if isinstance(filter, All):
        return _all([compile_value_test(member) for member in filter.members]) if filter.members else _never
    if isinstance(filter, Not):
        return _not(compile_value_test(filter.member))
    if isinstance(filter, Or | Nor | Expr | VariableCondition | Related):
        raise TypeError(f"{type(filter).__name__} is not about one value")
    return _compile_test(filter)


def _compile_test(condition: FieldCondition) -> Test:
    match condition:
        case Compare(_, _, Variable()) | In(_, Variable(), _):
            raise TypeError("a variable has no value yet")
        case Compare(_, operator, value):
            return comparison(operator, value)
        case In(path, tuple() as values, patterns):
            return _is_in(path, values, patterns)
        case Exists():
            return lambda value, _: value is not MISSING
        case HasType(_, types):
            return lambda value, _: type_name(value) in types
        case MatchesPattern(path, pattern):
            return _matches_pattern(path, pattern)
        case HasSize(_, size):
            return lambda value, _: isinstance(value, list) and len(value) == size
        case HasRemainder(_, divisor, remainder):
            return _has_remainder(divisor, remainder)
        case ElemMatch(_, filter):
            return _has_object(compile_predicate(filter), filter_weight(filter))
        case ElemMatchValue(_, filter):
            return _has_element(compile_value_test(filter), filter_weight(filter))
        case _:
            raise TypeError(f"{type(condition).__name__} is not about one value")


def _is_in(path: Path, values: Sequence[Any], patterns: Sequence[Regex[str]]) -> Test:
    is_member = membership(values)
    if not patterns:
        return is_member
    return _any([is_member, *[_matches_pattern(path, pattern) for pattern in patterns]])


def _matches_pattern(path: Path, pattern: Regex[str]) -> Test:
    search = compile_regex(pattern)

    def matches(value: Any, budget: Budget) -> bool:
        if isinstance(value, str) and not isinstance(value, Code):
            try:
                return search(value, budget)
            except MqlError as error:
                raise error.within(".".join(path), "$regex") from error
        return isinstance(value, Regex | re.Pattern) and equal(value, pattern)

    return matches


def _has_remainder(divisor: int, remainder: int) -> Test:
    def has_remainder(value: Any, budget: Budget) -> bool:
        if isinstance(value, Decimal128):
            budget.spend_steps(STEPS_OF_DECIMAL)
        number = truncated(value)
        if number is None:
            return False
        rest = abs(number) % abs(divisor)  # with the sign of the number, as in C++
        return (rest if number >= 0 else -rest) == remainder

    return has_remainder


def _has_object(matches: Predicate, steps: int) -> Test:
    def has_object(value: Any, budget: Budget) -> bool:
        if not isinstance(value, list):
            return False
        budget.spend_steps(len(value) * steps)
        for element in value:
            inner = _indexed(element, budget) if isinstance(element, list) else as_object(element, budget)
            if inner is not None and matches(inner, budget):
                return True
        return False

    return has_object


def _indexed(array: list[Any], budget: Budget) -> dict[str, Any]:
    """An array in the form that it has in BSON: an object whose keys are the indexes."""
    budget.make_elements(len(array))
    return {str(index): element for index, element in enumerate(array)}


def _has_element(test: Test, steps: int) -> Test:
    def has_element(value: Any, budget: Budget) -> bool:
        if not isinstance(value, list):
            return False
        budget.spend_steps(len(value) * steps)
        return any(test(element, budget) for element in value)

    return has_element


# All, any, none, not


def _all(tests: Sequence[Test]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda subject, budget: first(subject, budget) and second(subject, budget)

    def all_match(subject: Any, budget: Budget) -> bool:
        for test in tests:  # noqa: SIM110 - a generator takes three times as long
            if not test(subject, budget):
                return False
        return True

    return tests[0] if len(tests) == 1 else all_match


def _any(tests: Sequence[Test]) -> Test:
    def any_matches(subject: Any, budget: Budget) -> bool:
        for test in tests:  # noqa: SIM110 - a generator takes three times as long
            if test(subject, budget):
                return True
        return False

    return tests[0] if len(tests) == 1 else any_matches


def _none(tests: Sequence[Test]) -> Test:
    return _not(_any(tests))


def _not(test: Test) -> Test:
    return lambda subject, budget: not test(subject, budget)


def _never(_: Any, __: Budget) -> bool:
    return False
