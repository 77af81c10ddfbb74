"""Operators that evaluate only what they need: $cond $switch $ifNull $and $or; and $not, $let, $literal.

What they skip is not evaluated and so raises no error: `{"$cond": [{"$eq": ["$n", 0]}, 0, {"$divide": [1, "$n"]}]}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from changesource.mql.bson_types import MISSING, is_truthy
from changesource.mql.errors import MqlError
from changesource.mql.expressions.compiler import (
    Document,
    Node,
    Scope,
    Types,
    Variables,
    compile_arguments,
    compile_within,
    constant,
    folded,
    named_arguments,
    operator,
    special,
)

BOOL: Types = frozenset({"bool"})


@special("$cond")
def _compile_cond(specification: Any, scope: Scope) -> Node:
    if isinstance(specification, Mapping):
        named_arguments("$cond", specification, ("if", "then", "else"))
        nodes = [compile_within(name, specification[name], scope) for name in ("if", "then", "else")]
    else:
        nodes = compile_arguments("$cond", specification, scope, 3, 3)
    condition, then, otherwise = nodes
    if condition.is_constant:
        return then if is_truthy(condition.value) else otherwise
    test, when_true, when_false = (node.evaluate for node in nodes)

    def evaluate(document: Document, variables: Variables) -> Any:
        chosen = when_true if is_truthy(test(document, variables)) else when_false
        return chosen(document, variables)

    return Node(evaluate, _types_of_any((then, otherwise)))


@special("$switch")
def _compile_switch(specification: Any, scope: Scope) -> Node:
    named_arguments("$switch", specification, ("branches",), ("default",))
    branches = specification["branches"]
    if not isinstance(branches, list | tuple) or not branches:
        raise MqlError("$switch needs an array of at least one {case, then} as its branches.")
    cases = [_compile_branch(index, branch, scope) for index, branch in enumerate(branches)]
    default = compile_within("default", specification["default"], scope) if "default" in specification else None
    cases, default = _without_decided(cases, default)
    if not cases:
        return default or _no_branch_matches({}, {})
    tests = [(case.evaluate, then.evaluate) for case, then in cases]
    otherwise = default.evaluate if default else _no_branch_matches

    def evaluate(document: Document, variables: Variables) -> Any:
        for test, then in tests:
            if is_truthy(test(document, variables)):
                return then(document, variables)
        return otherwise(document, variables)

    return Node(evaluate, _types_of_any([*(then for _, then in cases), *([default] if default else [])]))


def _without_decided(
    cases: list[tuple[Node, Node]], default: Node | None
) -> tuple[list[tuple[Node, Node]], Node | None]:
    """The branches that depend on the document. Constant false ones are dropped; a constant true one becomes the default."""
    undecided = []
    for case, then in cases:
        if not case.is_constant:
            undecided.append((case, then))
        elif is_truthy(case.value):
            return undecided, then
    return undecided, default


def _compile_branch(index: int, branch: Any, scope: Scope) -> tuple[Node, Node]:
    place = f"branches[{index}]"
    try:
        named_arguments("A branch of $switch", branch, ("case", "then"))
    except MqlError as error:
        raise error.within(place) from error
    case, then = (compile_within(f"{place}.{name}", branch[name], scope) for name in ("case", "then"))
    return case, then


def _no_branch_matches(_document: Document, _variables: Variables) -> NoReturn:
    raise MqlError("No branch of $switch matches, and it has no default. Give it one.")


@special("$ifNull")
def _compile_if_null(specification: Any, scope: Scope) -> Node:
    nodes = compile_arguments("$ifNull", specification, scope, 2, None)
    *firsts, last = nodes
    evaluates, replacement = [node.evaluate for node in firsts], last.evaluate

    def evaluate(document: Document, variables: Variables) -> Any:
        for candidate in evaluates:
            value = candidate(document, variables)
            if value is not None and value is not MISSING:
                return value
        return replacement(document, variables)

    return folded(evaluate, nodes, _types_of_any([*(_never_null(node) for node in firsts), last]), scope)


def _never_null(node: Node) -> Node:
    return node if node.gives is None else node._replace(gives=node.gives - {"null", "missing"})


@special("$and")
def _compile_and(specification: Any, scope: Scope) -> Node:
    nodes = compile_arguments("$and", specification, scope, 0, None)
    evaluates = [node.evaluate for node in nodes]

    def evaluate(document: Document, variables: Variables) -> bool:
        for operand in evaluates:  # noqa: SIM110 - a generator costs more than the operands
            if not is_truthy(operand(document, variables)):
                return False
        return True

    return folded(evaluate, nodes, BOOL, scope)


@special("$or")
def _compile_or(specification: Any, scope: Scope) -> Node:
    nodes = compile_arguments("$or", specification, scope, 0, None)
    evaluates = [node.evaluate for node in nodes]

    def evaluate(document: Document, variables: Variables) -> bool:
        for operand in evaluates:  # noqa: SIM110 - as above
            if is_truthy(operand(document, variables)):
                return True
        return False

    return folded(evaluate, nodes, BOOL, scope)


@operator("$not", arguments=1, gives={"bool"})
def _not(value: Any) -> bool:
    return not is_truthy(value)


@special("$literal")
def _compile_literal(specification: Any, _scope: Scope) -> Node:
    return constant(specification)


@special("$let", steps=4)
def _compile_let(specification: Any, scope: Scope) -> Node:
    named_arguments("$let", specification, ("vars", "in"))
    if not isinstance(specification["vars"], Mapping):
        raise MqlError("$let takes an object of names and expressions as its vars.")
    for name in specification["vars"]:
        check_variable_name(name)
    nodes = {name: compile_within(f"vars.{name}", value, scope) for name, value in specification["vars"].items()}
    inner = compile_within("in", specification["in"], scope.with_variables(*nodes))
    if inner.is_constant:
        return inner
    evaluates, result = {name: node.evaluate for name, node in nodes.items()}, inner.evaluate

    def evaluate(document: Document, variables: Variables) -> Any:
        values = {name: value(document, variables) for name, value in evaluates.items()}
        return result(document, {**variables, **values})

    return Node(evaluate, inner.gives)


_VARIABLE_NAME = re.compile(r"[a-z\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*")


def check_variable_name(name: Any) -> None:
    """Raises `MqlError` for what cannot name a variable. MongoDB: variable_validation::validateNameForUserWrite.

    MongoDB also accepts CURRENT, which changes the meaning of all paths. It is refused here.
    """
    if not isinstance(name, str) or not _VARIABLE_NAME.fullmatch(name):
        raise MqlError(
            f"{name!r} cannot name a variable. Begin with a lowercase letter; continue with letters, digits and _."
        )


def _types_of_any(nodes: Iterable[Node]) -> Types:
    """The types that one of the nodes can give."""
    types: frozenset[str] = frozenset()
    for node in nodes:
        if node.gives is None:
            return None
        types |= node.gives
    return types
