"""Operators of arrays: what is in them, parts of them, and $map, $filter and $reduce, which go through them.

MongoDB: src/mongo/db/exec/expression/evaluate_array.cpp and evaluate_map_reduce_filter.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from changesource.mapping.bson_types import MAX_INT, MIN_INT, MISSING, is_nullish, is_truthy, type_name
from changesource.mapping.expressions.coercions import whole_number
from changesource.mapping.expressions.compiler import (
    AT_ANY_NULL,
    AT_FIRST_NULL,
    Document,
    Evaluate,
    Node,
    Scope,
    Types,
    Variables,
    apply,
    compile_arguments,
    compile_within,
    named_arguments,
    operator,
    special,
)
from changesource.mapping.expressions.conditions import BOOL, check_variable_name
from changesource.mapping.mapping_error import MappingError
from changesource.mapping.ordering import equal

ARRAY_OR_NULL: Types = frozenset({"array", "null"})


def _array(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise MappingError(f"{name} takes an array, not {type_name(value)}. Use $ifNull or $cond for other documents.")
    return value


def _whole(value: Any, what: str) -> int:
    number = whole_number(value)
    if number is None or not MIN_INT <= number <= MAX_INT:
        raise MappingError(f"{what} has to be a whole number of 32 bits; this {type_name(value)} is none.")
    return number


# What is in an array


@operator("$arrayElemAt", arguments=2)
def _array_elem_at(array: Any, index: Any) -> Any:
    """Missing when the array has no such element; a negative index counts from the end."""
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
    """Null and missing are errors, too."""
    return len(_array(array, "$size"))


@operator("$isArray", arguments=1, gives={"bool"})
def _is_array(value: Any) -> bool:
    return isinstance(value, list)


@special("$in")
def _compile_in(specification: Any, scope: Scope) -> Node:
    arguments = compile_arguments("$in", specification, scope, 2, 2)
    if arguments[1].is_constant:
        return apply(_search_of(_array(arguments[1].value, "$in")), arguments[:1], BOOL)
    return apply(_is_in, arguments, BOOL)


def _is_in(value: Any, array: Any) -> bool:
    return any(equal(value, item) for item in _array(array, "$in"))


def _search_of(items: list[Any]) -> Callable[[Any], bool]:
    """Whether a value is one of the constant `items`, among which texts are the common case."""
    texts = frozenset(item for item in items if type(item) is str)
    others = [item for item in items if type(item) is not str]

    def is_in(value: Any) -> bool:
        return value in texts if type(value) is str else any(equal(value, item) for item in others)

    return is_in


@operator("$indexOfArray", arguments=(2, 4), gives={"int", "null"}, ends_at_null=AT_FIRST_NULL)
def _index_of_array(array: Any, value: Any = None, start: Any = 0, end: Any = MAX_INT) -> int | None:
    """-1 when the value is not there; the end is not part of what is searched."""
    if is_nullish(array):
        return None
    items = _array(array, "$indexOfArray")
    first, last = _not_negative(start, "The start of $indexOfArray"), _not_negative(end, "The end of $indexOfArray")
    places = range(first, min(last, len(items)))
    return next((place for place in places if equal(items[place], value)), -1)


def _not_negative(value: Any, what: str) -> int:
    number = _whole(value, what)
    if number < 0:
        raise MappingError(f"{what} is less than zero.")
    return number


# Parts and sums of arrays


@operator("$slice", arguments=(2, 3), gives=ARRAY_OR_NULL, ends_at_null=range(1, 2))
def _slice(array: Any, position: Any, *counts: Any) -> list[Any] | None:
    """The first or (negative) last so many; or so many from a position on, which counts from the end if negative."""
    if is_nullish(array) or is_nullish(position):
        return None
    items, start = _array(array, "$slice"), _whole(position, "The second argument of $slice")
    if not counts:
        return items[:start] if start >= 0 else items[start:]
    (count,) = counts
    if is_nullish(count):
        return None
    length = _whole(count, "The third argument of $slice")
    if length <= 0:
        raise MappingError("The third argument of $slice is not more than zero.")
    start = start if start >= 0 else max(0, len(items) + start)
    return items[start : start + length]


@operator("$concatArrays", arguments=(0, None), gives=ARRAY_OR_NULL, ends_at_null=AT_ANY_NULL)
def _concat_arrays(*arrays: Any) -> list[Any] | None:
    items: list[Any] = []
    for array in arrays:
        if is_nullish(array):
            return None
        items += _array(array, "$concatArrays")
    return items


@operator("$reverseArray", arguments=1, gives=ARRAY_OR_NULL)
def _reverse_array(array: Any) -> list[Any] | None:
    return None if is_nullish(array) else _array(array, "$reverseArray")[::-1]


MAX_RANGE = 100 * 2**20 // 16
"""Items that $range gives at most: mongod's limit of 100 MiB (internalQueryMaxRangeBytes) at its 16 bytes an item."""


@operator("$range", arguments=(2, 3), gives={"array"})
def _range(start: Any, end: Any, step: Any = 1) -> list[int]:
    stride = _whole(step, "The step of $range")
    if stride == 0:
        raise MappingError("The step of $range is zero.")
    numbers = range(_whole(start, "The start of $range"), _whole(end, "The end of $range"), stride)
    if len(numbers) > MAX_RANGE:
        raise MappingError(f"$range gives at most {MAX_RANGE} numbers. Bring its ends closer together.")
    return list(numbers)


# Through arrays


@special("$map")
def _compile_map(specification: Any, scope: Scope) -> Node:
    named_arguments("$map", specification, ("input", "in"), ("as",))
    array = compile_within("input", specification["input"], scope).evaluate
    name = _variable(specification)
    result = compile_within("in", specification["in"], scope.with_variables(name)).evaluate

    def evaluate(document: Document, variables: Variables) -> list[Any] | None:
        items = array(document, variables)
        if is_nullish(items):
            return None
        bound = dict(variables)
        results: list[Any] = []
        for item in _array(items, "$map"):
            bound[name] = item
            value = result(document, bound)
            results.append(None if value is MISSING else value)
        return results

    return Node(evaluate, ARRAY_OR_NULL)


@special("$filter")
def _compile_filter(specification: Any, scope: Scope) -> Node:
    named_arguments("$filter", specification, ("input", "cond"), ("as", "limit"))
    array = compile_within("input", specification["input"], scope).evaluate
    name = _variable(specification)
    condition = compile_within("cond", specification["cond"], scope.with_variables(name)).evaluate
    limit = _compile_limit(specification, scope)

    def evaluate(document: Document, variables: Variables) -> list[Any] | None:
        items = array(document, variables)
        if is_nullish(items):
            return None
        most = _limit(limit(document, variables)) if limit and _array(items, "$filter") else None
        bound = dict(variables)
        results: list[Any] = []
        for item in _array(items, "$filter"):
            bound[name] = item
            if is_truthy(condition(document, bound)):
                results.append(item)
                if len(results) == most:
                    break
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
        raise MappingError("The limit of $filter is not more than zero.")
    return number


MAX_REDUCED_BYTES = 16 * 2**20
"""As a document of MongoDB. A value that doubles with each item would take all memory after thirty of them."""
ELEMENT_BYTES = 16
"""About what an element of an array takes, whatever it is."""


@special("$reduce")
def _compile_reduce(specification: Any, scope: Scope) -> Node:
    named_arguments("$reduce", specification, ("input", "initialValue", "in"))
    array = compile_within("input", specification["input"], scope).evaluate
    initial = compile_within("initialValue", specification["initialValue"], scope).evaluate
    combine = compile_within("in", specification["in"], scope.with_variables("value", "this")).evaluate

    def evaluate(document: Document, variables: Variables) -> Any:
        items = array(document, variables)
        if is_nullish(items):
            return None
        bound = dict(variables)
        value = initial(document, variables)
        for item in _array(items, "$reduce"):
            bound["this"] = item
            bound["value"] = value
            value = combine(document, bound)
            if isinstance(value, str | bytes | list | dict) and _is_larger(value, MAX_REDUCED_BYTES):
                raise MappingError(
                    f"$reduce made a value of more than {MAX_REDUCED_BYTES >> 20} MB, which no document could hold. "
                    "Let its in give less than it is given."
                )
        return value

    return Node(evaluate)


def _is_larger(value: Any, most: int) -> bool:
    """Whether a value has more bytes, about: what it holds twice counts twice, as it would when written."""
    size = 0
    rest = [value]
    while rest:
        item = rest.pop()
        size += ELEMENT_BYTES
        if isinstance(item, str | bytes):
            size += len(item)
        elif isinstance(item, list):
            rest += item
        elif isinstance(item, dict):
            size += sum(map(len, item))
            rest += item.values()
        if size + len(rest) * ELEMENT_BYTES > most:
            return True
    return False


def _variable(specification: Mapping[str, Any]) -> str:
    name: str = specification.get("as", "this")
    check_variable_name(name)
    return name
