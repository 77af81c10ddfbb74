"""Evaluates an expression for a document, and compares values with their types."""

from collections.abc import Mapping
from typing import Any

from changesource.mql.budget import Budget
from changesource.mql.expressions import Node, Scope, compile_expression
from changesource.mql.expressions.compiler import variables_with


def compiled(expression: Any) -> Node:
    return compile_expression(expression, Scope())


def evaluated(expression: Any, document: Mapping[str, Any] | None = None, budget: Budget | None = None) -> Any:
    return compiled(expression).evaluate(document or {}, variables_with(budget or Budget()))


def reads_of(expression: Any) -> set[str]:
    scope = Scope()
    compile_expression(expression, scope)
    return scope.reads


def exactly(value: Any) -> Any:
    """A form that is equal for values of the same type and text, even NaN, but not for -0.0 and 0.0, or an int and a long."""
    if isinstance(value, list):
        return [exactly(item) for item in value]
    if isinstance(value, Mapping):
        return [(name, exactly(item)) for name, item in value.items()]
    return type(value), repr(value)
