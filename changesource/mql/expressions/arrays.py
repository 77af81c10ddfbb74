"""Array operators: elements and parts of arrays, and $map, $filter and $reduce, which go through them.

MongoDB: src/mongo/db/exec/expression/evaluate_array.cpp and evaluate_map_reduce_filter.cpp.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain
from typing import Any

from changesource.mql.bson_types import MAX_INT, MIN_INT, MISSING, is_nullish, is_truthy, type_name
from changesource.mql.budget import MAX_VALUE_BYTES, REFERENCE_BYTES, Budget
from changesource.mql.equality_keys import equality_key
from changesource.mql.errors import MqlError
from changesource.mql.expressions.coercions import whole_number
from changesource.mql.expressions.compiler import (
    AT_ANY_NULL,
    BUDGET,
    Document,
    Evaluate,
    Node,
    Scope,
    Types,
    Variables,
    apply,
    compile_arguments,
    compile_within,
    folded,
    memo_of,
    named_arguments,
    operator,
    special,
    weight,
)
from changesource.mql.expressions.conditions import BOOL, check_variable_name
from changesource.mql.ordering import equal

SHORT_ARRAY = 8
"""In arrays of up to this many elements, nothing is faster than looking at each."""

ARRAY_OR_NULL: Types = frozenset({"array", "null"})


def _array(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise MqlError(f"{name} takes an array, not {type_name(value)}. Use $ifNull or $cond for other documents.")
    return value


def _whole(value: Any, what: str) -> int:
    number = whole_number(value)
    if number is None or not MIN_INT <= number <= MAX_INT:
        raise MqlError(f"{what} has to be a whole number of 32 bits; this {type_name(value)} is none.")
    return number


# What is in an array


@operator("$arrayElemAt", arguments=2)
def _array_elem_at(array: Any, index: Any) -> Any:
    """Missing when the array has no such element. A negative index counts from the end."""
    if is_nullish(array) or is_nullish(index):
        return None
    items, place = _array(array, "$arrayElemAt"), _whole(index, "The index of $arrayElemAt")
    return items[place] if -len(items) <= place < len(items) else MISSING


@operator("$first", arguments=1)
def _first(array: Any) -> Any:
    if is_nullish(array):
        return None
    items = _array(array, "$first")
    return items[0] if items else MISSING


@operator("$last", arguments=1)
def _last(array: Any) -> Any:
    if is_nullish(array):
        return None
    items = _array(array, "$last")
    return items[-1] if items else MISSING


@operator("$size", arguments=1, gives={"int"})
def _size(array: Any) -> int:
    """Null and missing are errors too."""
    return len(_array(array, "$size"))


@operator("$isArray", arguments=1, gives={"bool"})
def _is_array(value: Any) -> bool:
    return isinstance(value, list)


@special("$in", steps=SHORT_ARRAY)
def _compile_in(specification: Any, scope: Scope) -> Node:
    value, array = compile_arguments("$in", specification, scope, 2, 2)
    if array.is_constant:
        return apply(_search_of(_array(array.value, "$in")), [value], BOOL, scope, pays=True)
    evaluate_value, evaluate_array = value.evaluate, array.evaluate

    def evaluate(document: Document, variables: Variables) -> bool:
        found = evaluate_value(document, variables)
        items = _array(evaluate_array(document, variables), "$in")
        return len(_places(found, items, document, variables[BUDGET])) > 0

    return Node(evaluate, BOOL)


def _search_of(items: list[Any]) -> Callable[[Budget, Any], bool]:
    """A function that says whether a value is one of the constant `items`, which are usually texts."""
    budget = Budget()
    texts = frozenset(item for item in items if type(item) is str)
    others = frozenset(equality_key(item, budget) for item in items if type(item) is not str)

    def is_in(budget: Budget, value: Any) -> bool:
        return value in texts if type(value) is str else equality_key(value, budget) in others

    return is_in


@special("$indexOfArray", steps=SHORT_ARRAY)
def _compile_index_of_array(specification: Any, scope: Scope) -> Node:
    """-1 when the value is not there. The end is exclusive. A null array gives null, and the rest is not evaluated."""
    nodes = compile_arguments("$indexOfArray", specification, scope, 2, 4)
    evaluate_array, evaluate_value, *evaluate_ends = (node.evaluate for node in nodes)

    def evaluate(document: Document, variables: Variables) -> int | None:
        array = evaluate_array(document, variables)
        if is_nullish(array):
            return None
        value = evaluate_value(document, variables)
        ends = [end(document, variables) for end in evaluate_ends]
        items = _array(array, "$indexOfArray")
        first = _not_negative(ends[0], "The start of $indexOfArray") if ends else 0
        last = _not_negative(ends[1], "The end of $indexOfArray") if len(ends) > 1 else MAX_INT
        places = _places(value, items, document, variables[BUDGET])
        place = bisect_left(places, first)
        return places[place] if place < len(places) and places[place] < last else -1

    return folded(evaluate, nodes, frozenset({"int", "null"}), scope)


KNOWN_ARRAYS = 8
"""How many arrays have their places kept: expressions inside each other use several."""
PLACE_BYTES = 160
"""For the key and the place of an element."""


def _places(value: Any, items: list[Any], document: Document, budget: Budget) -> Sequence[int]:
    """The indexes at which there is a value equal to `value`.

    When an array is searched a second time, the places of all its elements are computed and kept. Looking for each element
    of one array in another then takes time proportional to the sum of their lengths, not to their product.
    """
    if len(items) <= SHORT_ARRAY:
        return [index for index, item in enumerate(items) if equal(item, value, budget)]
    known: dict[int, tuple[list[Any], dict[Hashable, list[int]] | None]]
    known = memo_of(document, budget).setdefault("places", {})
    # The array is kept too, so that its id is not given to another array.
    _, places = known.get(id(items), (items, None))
    if places is None:
        budget.spend_steps(len(items) * 3)
        if id(items) not in known:
            _remember(known, items, None, budget)
            return [index for index, item in enumerate(items) if equal(item, value, budget)]
        places = {}
        for index, item in enumerate(items):
            places.setdefault(equality_key(item, budget), []).append(index)
        _remember(known, items, places, budget)
    return places.get(equality_key(value, budget), ())


def _remember(
    known: dict[int, Any], items: list[Any], places: dict[Hashable, list[int]] | None, budget: Budget
) -> None:
    if places is not None:
        budget.spend_bytes(len(items) * PLACE_BYTES)
    known[id(items)] = (items, places)
    if len(known) > KNOWN_ARRAYS:
        forgotten, its_places = known.pop(next(iter(known)))
        if its_places is not None:
            budget.bytes += len(forgotten) * PLACE_BYTES


def _not_negative(value: Any, what: str) -> int:
    number = _whole(value, what)
    if number < 0:
        raise MqlError(f"{what} is less than zero.")
    return number


# Parts and sums of arrays


@operator("$slice", arguments=(2, 3), gives=ARRAY_OR_NULL, ends_at_null=range(1, 2), pays=True)
def _slice(budget: Budget, array: Any, position: Any, *counts: Any) -> list[Any] | None:
    """The first n elements, or the last n if n is negative; or n elements from a position, which may count from the end."""
    if is_nullish(array) or is_nullish(position):
        return None
    items, start = _array(array, "$slice"), _whole(position, "The second argument of $slice")
    if not counts:
        budget.copy_elements(min(abs(start), len(items)))
        return items[:start] if start >= 0 else items[start:]
    (count,) = counts
    if is_nullish(count):
        return None
    length = _whole(count, "The third argument of $slice")
    if length <= 0:
        raise MqlError("The third argument of $slice is not more than zero.")
    start = start if start >= 0 else max(0, len(items) + start)
    budget.copy_elements(min(length, len(items)))
    return items[start : start + length]


@operator("$concatArrays", arguments=(0, None), gives=ARRAY_OR_NULL, ends_at_null=AT_ANY_NULL, pays=True)
def _concat_arrays(budget: Budget, *arrays: Any) -> list[Any] | None:
    length = 0
    for array in arrays:
        if is_nullish(array):
            return None
        length += len(_array(array, "$concatArrays"))
    budget.copy_elements(length)
    return list(chain.from_iterable(arrays))


@operator("$reverseArray", arguments=1, gives=ARRAY_OR_NULL, pays=True)
def _reverse_array(budget: Budget, array: Any) -> list[Any] | None:
    if is_nullish(array):
        return None
    items = _array(array, "$reverseArray")
    budget.copy_elements(len(items))
    return items[::-1]


MAX_RANGE = MAX_VALUE_BYTES // REFERENCE_BYTES
"""The most numbers that $range gives."""


@operator("$range", arguments=(2, 3), gives={"array"}, pays=True)
def _range(budget: Budget, start: Any, end: Any, step: Any = 1) -> list[int]:
    stride = _whole(step, "The step of $range")
    if stride == 0:
        raise MqlError("The step of $range is zero.")
    numbers = range(_whole(start, "The start of $range"), _whole(end, "The end of $range"), stride)
    if len(numbers) > MAX_RANGE:
        raise MqlError(f"$range gives at most {MAX_RANGE} numbers. Bring its ends closer together.")
    budget.make_elements(len(numbers))
    return list(numbers)


# Through arrays


@special("$map", steps=4)
def _compile_map(specification: Any, scope: Scope) -> Node:
    named_arguments("$map", specification, ("input", "in"), ("as",))
    array = compile_within("input", specification["input"], scope).evaluate
    name = _variable(specification)
    result = compile_within("in", specification["in"], scope.with_variables(name)).evaluate
    steps = 2 + weight(specification["in"])

    def evaluate(document: Document, variables: Variables) -> list[Any] | None:
        items = array(document, variables)
        if is_nullish(items):
            return None
        budget = variables[BUDGET]
        budget.make_elements(len(_array(items, "$map")))
        budget.spend_steps(len(items) * steps)
        bound = dict(variables)
        results: list[Any] = []
        for item in items:
            bound[name] = item
            value = result(document, bound)
            results.append(None if value is MISSING else value)
        return results

    return Node(evaluate, ARRAY_OR_NULL)


@special("$filter", steps=4)
def _compile_filter(specification: Any, scope: Scope) -> Node:
    named_arguments("$filter", specification, ("input", "cond"), ("as", "limit"))
    array = compile_within("input", specification["input"], scope).evaluate
    name = _variable(specification)
    condition = compile_within("cond", specification["cond"], scope.with_variables(name)).evaluate
    limit = _compile_limit(specification, scope)
    steps = 2 + weight(specification["cond"])

    def evaluate(document: Document, variables: Variables) -> list[Any] | None:
        items = array(document, variables)
        if is_nullish(items):
            return None
        most = _limit(limit(document, variables)) if limit and _array(items, "$filter") else None
        budget = variables[BUDGET]
        budget.spend_steps(len(_array(items, "$filter")) * steps)
        bound = dict(variables)
        results: list[Any] = []
        for item in items:
            bound[name] = item
            if is_truthy(condition(document, bound)):
                results.append(item)
                if len(results) == most:
                    break
        budget.copy_elements(len(results))
        return results

    return Node(evaluate, ARRAY_OR_NULL)


def _compile_limit(specification: Mapping[str, Any], scope: Scope) -> Evaluate | None:
    if "limit" not in specification:
        return None
    node = compile_within("limit", specification["limit"], scope)
    if node.is_constant:
        _limit(node.value)
    return node.evaluate


def _limit(value: Any) -> int | None:
    """Null is no limit."""
    if is_nullish(value):
        return None
    number = _whole(value, "The limit of $filter")
    if number <= 0:
        raise MqlError("The limit of $filter is not more than zero.")
    return number


@special("$reduce", steps=4)
def _compile_reduce(specification: Any, scope: Scope) -> Node:
    named_arguments("$reduce", specification, ("input", "initialValue", "in"))
    array = compile_within("input", specification["input"], scope).evaluate
    initial = compile_within("initialValue", specification["initialValue"], scope).evaluate
    combine = compile_within("in", specification["in"], scope.with_variables("value", "this")).evaluate
    steps = 2 + weight(specification["in"])

    def evaluate(document: Document, variables: Variables) -> Any:
        items = array(document, variables)
        if is_nullish(items):
            return None
        budget = variables[BUDGET]
        budget.spend_steps(len(_array(items, "$reduce")) * steps)
        bound = dict(variables)
        value = initial(document, variables)
        left = budget.bytes
        for item in items:
            bound["this"] = item
            bound["value"] = value
            value = combine(document, bound)
            if left - budget.bytes > MAX_VALUE_BYTES:
                # The bytes of earlier values that are not in this one are free again.
                budget.bytes = left - _checked_size(value, budget)
        if isinstance(value, list | dict):
            _checked_size(value, budget)
        return value

    return Node(evaluate)


def _checked_size(value: Any, budget: Budget) -> int:
    size = budget.size_of(value, MAX_VALUE_BYTES)
    if size > MAX_VALUE_BYTES:
        raise MqlError(
            f"$reduce made a value of more than {MAX_VALUE_BYTES >> 20} MB, which no document could hold. "
            "Let its in give less than it is given."
        )
    return size


def _variable(specification: Mapping[str, Any]) -> str:
    name: str = specification.get("as", "this")
    check_variable_name(name)
    return name
