"""The language of expressions: literals, paths, variables, objects and arrays; and the registry of operators.

An expression becomes a `Node`, whose `evaluate(document, variables)` gives a BSON value or `MISSING`. Compiling raises
`MqlError` for what is wrong whatever the document; evaluating raises it for what one document makes wrong. Operators over
constants are evaluated at compile time, so that `{"$divide": [1, 0]}` is found then.

Evaluation is paid for from the document's budget, which is one of the variables. A single evaluation of an expression costs
no more than the length of the expression, so only operators that go through arrays or texts, or make them, pay; those that
repeat an expression pay its `weight` each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from changesource.mql.bson_types import MISSING, type_name
from changesource.mql.budget import ELEMENT_BYTES, Budget, BudgetExceeded
from changesource.mql.errors import MqlError

Document = Mapping[str, Any]
Variables = Mapping[str, Any]
Evaluate = Callable[[Document, Variables], Any]
Types = frozenset[str] | None

AT_ANY_NULL = range(sys.maxsize)
AT_FIRST_NULL = range(1)

WHOLE_DOCUMENT = "$$ROOT"
"""In `Scope.reads`: all fields, not just some."""

BUDGET: Final = "$budget"
"""The name of the budget among the variables. No variable that people name begins with $."""

MAX_FOLDED_STEPS: Final = 100_000
MAX_FOLDED_BYTES: Final = 2**20
"""The limits for computing one constant when an expression is compiled. Anything larger is left to each document's budget."""
MAX_FOLDINGS: Final = 16
"""How often a whole mapping may reach these limits: the compiler runs on drafts that no person has reviewed."""

CHARACTERS_PER_WEIGHT: Final = 32

REFUSED_VARIABLES = frozenset({"NOW", "CLUSTER_TIME", "USER_ROLES", "SEARCH_META", "DESCEND", "PRUNE", "KEEP"})
"""MongoDB's variables that depend on more than the document, or belong to stages that are not supported here."""


class Node(NamedTuple):
    """A compiled expression. `gives` names the BSON types that it can give, including "missing"; None means any."""

    evaluate: Evaluate
    gives: Types = None
    is_constant: bool = False
    never_fails: bool = False
    """True for paths and variables: it makes no difference whether they are evaluated."""

    @property
    def value(self) -> Any:
        """The value of a constant."""
        return self.evaluate({}, {})


def variables_with(budget: Budget) -> Variables:
    """The variables of an expression outside of $let, $map and the like."""
    return {BUDGET: budget}


def folding_budget() -> Budget:
    """The budget for computing the constants of a whole mapping."""
    return Budget(MAX_FOLDINGS * MAX_FOLDED_STEPS, 0, MAX_FOLDINGS * MAX_FOLDED_BYTES)


@dataclass(frozen=True)
class Scope:
    """The variables that an expression may name, and the top-level fields of the document that it has been seen to read.

    `folding` is what is left of the budget for the constants of the mapping.
    """

    variables: frozenset[str] = frozenset()
    reads: set[str] = field(default_factory=set)
    folding: Budget = field(default_factory=folding_budget)

    def with_variables(self, *names: str) -> Scope:
        """A scope inside this one. What is read in it counts for both."""
        return replace(self, variables=self.variables | {*names})


CompileOperator = Callable[[Any, Scope], Node]
OPERATORS: dict[str, CompileOperator] = {}


def compile_expression(expression: object, scope: Scope) -> Node:
    """Compiles an expression. Raises `MqlError` with its place in the expression. The caller has checked the nesting."""
    if isinstance(expression, str):
        return _compile_text(expression, scope)
    if isinstance(expression, Mapping):
        return _compile_object(expression, scope)
    if isinstance(expression, list | tuple):
        return _compile_array(expression, scope)
    return constant(expression)


def folded(evaluate: Evaluate, nodes: Iterable[Node], gives: Types, scope: Scope) -> Node:
    """The node of `evaluate`: a constant when all `nodes` are constants, unless its value is expensive."""
    if all(node.is_constant for node in nodes):
        left = scope.folding
        budget = Budget(min(MAX_FOLDED_STEPS, left.steps), 0, min(MAX_FOLDED_BYTES, left.bytes))
        steps, size = budget.steps, budget.bytes
        try:
            return constant(evaluate({}, variables_with(budget)))
        except BudgetExceeded:
            pass
        finally:
            left.steps -= steps - max(0, budget.steps)
            left.bytes -= size - max(0, budget.bytes)
    return Node(evaluate, gives)


def weight(expression: object) -> int:
    """About how many steps one evaluation of an expression takes, without those that its operators pay themselves."""
    if isinstance(expression, str):
        return 1 if expression.startswith("$") else len(expression) // CHARACTERS_PER_WEIGHT
    if isinstance(expression, Mapping):
        return sum(
            1 if name == "$literal" else weight(value) + OPERATOR_WEIGHTS.get(name, 1)
            for name, value in expression.items()
        )
    if isinstance(expression, list | tuple):
        return sum(map(weight, expression))
    return 0


OPERATOR_WEIGHTS: Final[dict[str, int]] = {}
"""The steps of each operator, besides those that it pays for its arguments."""


def constant(value: Any) -> Node:
    try:
        gives = frozenset({type_name(value)})
    except TypeError as error:
        raise MqlError(f"{error}. Write values of BSON's types only.") from error
    return Node(lambda _, __: value, gives, is_constant=True)


def compile_within(step: str, expression: object, scope: Scope) -> Node:
    """Like `compile_expression`, with `step` in front of the place of an error."""
    try:
        return compile_expression(expression, scope)
    except MqlError as error:
        raise error.within(step) from error


# Registering operators


def operator(
    name: str,
    *,
    arguments: int | tuple[int, int | None],
    gives: Iterable[str] | None = None,
    ends_at_null: range | None = None,
    pays: bool = False,
    steps: int = 1,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function of the values of its arguments, all of which are evaluated first (but see `apply_in_order`).

    `arguments` is their number, or the least and the most (None for any number). A single argument need not be in an array.
    The function gets `MISSING` for a missing field and raises `MqlError` for a value that it does not accept. For `gives`
    see `Node`. A function that `pays` gets the budget as its first argument; `steps` is the cost that it does not pay.
    """
    least, most = (arguments, arguments) if isinstance(arguments, int) else arguments
    types = None if gives is None else frozenset(gives)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def compile_operator(specification: Any, scope: Scope) -> Node:
            nodes = compile_arguments(name, specification, scope, least, most)
            if ends_at_null is None:
                return apply(function, nodes, types, scope, pays=pays)
            return apply_in_order(function, nodes, ends_at_null, types, scope, pays=pays)

        OPERATORS[name] = compile_operator
        OPERATOR_WEIGHTS[name] = steps
        return function

    return register


def special(name: str, *, steps: int = 1) -> Callable[[CompileOperator], CompileOperator]:
    """Registers an operator that compiles its arguments itself, because they have names or are not always evaluated."""

    def register(compile_operator: CompileOperator) -> CompileOperator:
        OPERATORS[name] = compile_operator
        OPERATOR_WEIGHTS[name] = steps
        return compile_operator

    return register


def compile_arguments(name: str, specification: Any, scope: Scope, least: int, most: int | None) -> list[Node]:
    """The arguments of an operator: the items of an array, or the only argument."""
    items = list(specification) if isinstance(specification, list | tuple) else [specification]
    if len(items) < least or (most is not None and len(items) > most):
        wanted = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise MqlError(f"{name} takes {wanted} arguments, not {len(items)}.")
    return [compile_within(f"[{index}]", item, scope) for index, item in enumerate(items)]


def named_arguments(
    name: str, specification: Any, required: Sequence[str], optional: Sequence[str] = ()
) -> Mapping[str, Any]:
    """The specification of an operator that takes an object, after its keys have been checked."""
    if not isinstance(specification, Mapping):
        raise MqlError(f"{name} takes an object with {', '.join(required)}.")
    for key in specification:
        if key not in required and key not in optional:
            raise MqlError(f"{name} has no argument {key!r}. It takes {', '.join([*required, *optional])}.")
    for key in required:
        if key not in specification:
            raise MqlError(f"{name} needs the argument {key!r}.")
    return specification


def apply(
    function: Callable[..., Any], arguments: Sequence[Node], gives: Types, scope: Scope, *, pays: bool = False
) -> Node:
    """The node of `function` over the values of `arguments`; a constant when all of them are."""
    evaluates = [argument.evaluate for argument in arguments]
    evaluate: Evaluate
    if len(evaluates) == 1:
        (first,) = evaluates
        if pays:
            evaluate = lambda document, variables: function(variables[BUDGET], first(document, variables))  # noqa: E731
        else:
            evaluate = lambda document, variables: function(first(document, variables))  # noqa: E731
    elif pays and len(evaluates) == 2:
        first, second = evaluates
        evaluate = lambda document, variables: function(  # noqa: E731
            variables[BUDGET], first(document, variables), second(document, variables)
        )
    elif pays:
        evaluate = lambda document, variables: function(  # noqa: E731
            variables[BUDGET], *[argument(document, variables) for argument in evaluates]
        )
    elif len(evaluates) == 2:
        first, second = evaluates
        evaluate = lambda document, variables: function(  # noqa: E731
            first(document, variables), second(document, variables)
        )
    else:
        evaluate = lambda document, variables: function(  # noqa: E731
            *[argument(document, variables) for argument in evaluates]
        )
    return folded(evaluate, arguments, gives, scope)


def apply_in_order(
    function: Callable[..., Any],
    arguments: Sequence[Node],
    ends_at_null: range,
    gives: Types,
    scope: Scope,
    *,
    pays: bool = False,
) -> Node:
    """Like `apply`, but a null ends the evaluation, so that the arguments after it are not evaluated.

    `ends_at_null` holds the places of the arguments after which this is checked. The function gets the values that were
    evaluated.
    """
    first_end = ends_at_null.start + 1
    if all(argument.is_constant or argument.never_fails for argument in arguments[first_end:]):
        return apply(function, arguments, gives, scope, pays=pays)
    evaluates = [argument.evaluate for argument in arguments]

    def evaluate(document: Document, variables: Variables) -> Any:
        values: list[Any] = [variables[BUDGET]] if pays else []
        has_null = False
        for place, argument in enumerate(evaluates):
            value = argument(document, variables)
            values.append(value)
            has_null = has_null or value is None or value is MISSING
            if has_null and place in ends_at_null:
                break
        return function(*values)

    return Node(evaluate, gives)


# A text: a path, a variable, or just text


def _compile_text(text: str, scope: Scope) -> Node:
    if text.startswith("$$"):
        return _compile_variable(text, scope)
    if text.startswith("$"):
        path = split_path(text[1:])
        scope.reads.add(path[0])
        return Node(_path_in_document(path), never_fails=True)
    return constant(text)


def split_path(path: str) -> tuple[str, ...]:
    """The names in a dotted path. Raises `MqlError` for a path that MongoDB refuses."""
    names = tuple(path.split("."))
    for name in names:
        if not name:
            raise MqlError(f"The path {path!r} has an empty name in it. Write names with one dot between them.")
        if name.startswith("$"):
            raise MqlError(f"The path {path!r} has a name that begins with $. Use $getField for such a field.")
        if "\0" in name:
            raise MqlError("A path holds U+0000, which no name of a field has.")
    return names


def _compile_variable(text: str, scope: Scope) -> Node:
    name, *rest = text[2:].split(".")
    path = split_path(".".join(rest)) if rest else ()
    if name in ("ROOT", "CURRENT"):
        scope.reads.add(path[0] if path else WHOLE_DOCUMENT)
        if path:
            return Node(_path_in_document(path), never_fails=True)
        return Node(lambda document, _: document, frozenset({"object"}), never_fails=True)
    if name == "REMOVE":
        return constant(MISSING)
    if name in REFUSED_VARIABLES:
        raise MqlError(f"$${name} is refused: a row may depend on its document alone.")
    if name not in scope.variables:
        raise MqlError(f"There is no variable $${name} here.")
    if not path:
        return Node(lambda _, variables: variables[name], never_fails=True)
    return Node(lambda _, variables: value_at(variables[name], path, variables[BUDGET]), never_fails=True)


def _path_in_document(path: tuple[str, ...]) -> Evaluate:
    first = path[0]
    if len(path) == 1:
        return lambda document, _: document.get(first, MISSING)
    rest = path[1:]

    def evaluate(document: Document, variables: Variables) -> Any:
        value = document.get(first, MISSING)
        for index, name in enumerate(rest, 1):
            if type(value) is dict:
                value = value.get(name, MISSING)
            elif type(value) is list:
                return _through_array(document, value, path, index, variables[BUDGET])
            else:
                return value_at(value, path[index:], variables[BUDGET])
        return value

    if len(path) > 2:
        return evaluate
    second = path[1]

    def evaluate_two(document: Document, variables: Variables) -> Any:
        value = document.get(first, MISSING)
        return value.get(second, MISSING) if type(value) is dict else evaluate(document, variables)

    return evaluate_two


def _through_array(document: Document, array: list[Any], path: tuple[str, ...], index: int, budget: Budget) -> Any:
    """The values at the rest of `path` in an array of the document. The list is kept, so that an expression that is repeated
    for each element of an array finds it again."""
    memo = memo_of(document, budget)
    value = memo.get(path)
    if value is None:
        value = memo[path] = value_at(array, path[index:], budget)
    return value


def memo_of(document: Document, budget: Budget) -> dict[Any, Any]:
    """What expressions have computed from this document. It is forgotten with the next document."""
    memo = budget.memo
    if memo is None or memo[BUDGET] is not document:
        memo = budget.memo = {BUDGET: document}
    return memo


def value_at(value: Any, path: Sequence[str], budget: Budget) -> Any:
    """The value at `path` in `value`. Through an array it is an array of the values in its objects. No name is an index.

    MongoDB: ExpressionFieldPath::evaluatePath. An array inside the array is not entered.
    """
    for index, name in enumerate(path):
        if isinstance(value, Mapping):
            value = value.get(name, MISSING)
        elif isinstance(value, list):
            budget.make_elements(len(value))
            budget.spend_steps(len(value) * 2)
            found = (value_at(item, path[index:], budget) for item in value if isinstance(item, Mapping))
            return [item for item in found if item is not MISSING]
        else:
            return MISSING
    return value


# Objects and arrays


def _compile_object(expression: Mapping[str, Any], scope: Scope) -> Node:
    operators = [name for name in expression if name.startswith("$")]
    if operators:
        (name, *others) = expression
        if others:
            raise MqlError(f"An object with {operators[0]} has nothing else in it. Take {others} out.")
        return _compile_operator(name, expression[name], scope)
    for name in expression:
        if not name or "." in name or "\0" in name:
            raise MqlError(f"{name!r} cannot name a field of an object expression: no dots, and not empty.")
    nodes = {name: compile_within(name, value, scope) for name, value in expression.items()}
    if all(node.is_constant for node in nodes.values()):
        return constant({name: node.value for name, node in nodes.items() if node.value is not MISSING})
    return Node(lambda document, variables: _build_object(nodes, document, variables), frozenset({"object"}))


def _build_object(nodes: Mapping[str, Node], document: Document, variables: Variables) -> dict[str, Any]:
    variables[BUDGET].spend_bytes(len(nodes) * ELEMENT_BYTES)
    values = ((name, node.evaluate(document, variables)) for name, node in nodes.items())
    return {name: value for name, value in values if value is not MISSING}


def _compile_operator(name: str, specification: Any, scope: Scope) -> Node:
    compile_operator = OPERATORS.get(name)
    if compile_operator is None:
        raise MqlError(f"There is no operator {name!r}. {_remedy(name)}")
    try:
        return compile_operator(specification, scope)
    except MqlError as error:
        raise error.within(name) from error


def _remedy(name: str) -> str:
    if name in ("$rand", "$function", "$accumulator", "$sampleRate"):
        return "A row may depend on its document alone, and no code is run."
    return "See docs/mapping.md for those there are."


def _compile_array(expression: Sequence[Any], scope: Scope) -> Node:
    nodes = [compile_within(f"[{index}]", item, scope) for index, item in enumerate(expression)]
    if all(node.is_constant for node in nodes):
        return constant([None if node.value is MISSING else node.value for node in nodes])
    evaluates = [node.evaluate for node in nodes]
    size = len(nodes) * ELEMENT_BYTES

    def evaluate(document: Document, variables: Variables) -> list[Any]:
        variables[BUDGET].spend_bytes(size)
        values = (item(document, variables) for item in evaluates)
        return [None if value is MISSING else value for value in values]

    return Node(evaluate, frozenset({"array"}))
