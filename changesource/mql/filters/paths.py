"""Where a dotted path leads in a document: possibly to several values, as it enters arrays on its way.

The rules are mongod's (matcher/path.cpp, BSONElementIterator):

- The path enters objects. Where it meets any other value before its end, it leads to a missing value.
- The path enters each object of an array, and leads to a missing value where the object does not have the rest of it. The
  other elements of the array, including arrays, give nothing. An empty array gives nothing at all.
- A number in the path is both an index of an array and a name in the objects of the array. Both are tried.
- An array at the end of the path gives its elements and itself, but only itself when an index picked it out of an array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bson import DBRef

from changesource.mql.bson_types import MISSING
from changesource.mql.budget import Budget
from changesource.mql.filters.tree import Path
from changesource.mql.ordering import fields_of

Predicate = Callable[[Mapping[str, Any], Budget], bool]
Test = Callable[[Any, Budget], bool]
"""A test of one value, which may be `MISSING`. Going through an array or a text is paid for from the budget."""

INDEX_PATTERN = re.compile(r"0|[1-9][0-9]{0,9}")
"""mongod compares with the keys that arrays have in BSON, so "01" is not an index."""


def leads_to(path: Path, test: Test, *, elements: bool) -> Predicate:
    """A predicate: `path` leads to a value that passes. With `elements`, those of an array at its end are tried too."""
    if len(path) > 1:
        return _along(path, test, elements=elements)
    (name,) = path
    if not elements:
        return lambda document, budget: test(document.get(name, MISSING), budget)

    def matches(document: Mapping[str, Any], budget: Budget) -> bool:
        value = document.get(name, MISSING)
        return _in_leaf(value, test, budget) if isinstance(value, list) else test(value, budget)

    return matches


def as_object(value: Any, budget: Budget) -> Mapping[str, Any] | None:
    """The fields of an object, even of one that PyMongo decodes as a DBRef; None for any other value."""
    if type(value) is dict or isinstance(value, Mapping):
        return value
    return fields_of(value, budget) if isinstance(value, DBRef) else None


def _in_leaf(array: list[Any], test: Test, budget: Budget) -> bool:
    budget.spend_steps(len(array))
    for element in array:
        if test(element, budget):
            return True
    return test(array, budget)


def _along(path: Path, test: Test, *, elements: bool) -> Predicate:
    end = len(path)
    indexes = [int(name) if INDEX_PATTERN.fullmatch(name) else None for name in path]

    def in_object(document: Mapping[str, Any], budget: Budget, start: int = 0) -> bool:
        for position in range(start, end):
            value = document.get(path[position], MISSING)
            if isinstance(value, list):
                return in_array(value, budget, position + 1)
            if position + 1 == end:
                return test(value, budget)
            inner = as_object(value, budget)
            if inner is None:
                return test(MISSING, budget)
            document = inner
        raise AssertionError("start is before the end of the path")

    def in_array(array: list[Any], budget: Budget, position: int) -> bool:
        if position == end:
            return _in_leaf(array, test, budget) if elements else test(array, budget)
        budget.spend_steps(2 + len(array) * (end - position))
        for element in array:
            inner = as_object(element, budget)
            if inner is not None and in_object(inner, budget, position):
                return True
        index = indexes[position]
        return index is not None and index < len(array) and at_index(array[index], budget, position + 1)

    def at_index(element: Any, budget: Budget, position: int) -> bool:
        if position == end:
            return test(element, budget)
        if isinstance(element, list):
            return in_array(element, budget, position)
        inner = as_object(element, budget)
        return inner is not None and in_object(inner, budget, position)

    return in_object
