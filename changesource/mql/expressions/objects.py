"""Object operators: $mergeObjects $objectToArray $arrayToObject $getField $setField $unsetField.

MongoDB: src/mongo/db/exec/expression/evaluate_array.cpp and evaluate_bson.cpp, accumulator_merge_objects.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bson import DBRef

from changesource.mql.bson_types import MISSING, is_nullish, type_name
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions.compiler import (
    AT_FIRST_NULL,
    Document,
    Node,
    Scope,
    Types,
    Variables,
    apply,
    apply_in_order,
    compile_expression,
    compile_within,
    named_arguments,
    operator,
    special,
)
from changesource.mql.ordering import fields_of

ELEMENTS_OF_PAIR = 3
"""One object in the array, and its two fields."""

OBJECT_OR_NULL: Types = frozenset({"object", "null"})

CURRENT_DOCUMENT = ("$$ROOT", "$$CURRENT")


def _fields(value: Any, budget: Budget) -> Mapping[str, Any] | None:
    """The fields of an object; None for any other value."""
    return fields_of(value, budget) if isinstance(value, Mapping | DBRef) else None


@operator("$mergeObjects", arguments=(0, None), gives={"object"}, pays=True)
def _merge_objects(budget: Budget, *values: Any) -> dict[str, Any]:
    """Later fields win. Null and missing are ignored. A single array stands for its items."""
    objects = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    merged: dict[str, Any] = {}
    for value in objects:
        if is_nullish(value):
            continue
        fields = _fields(value, budget)
        if fields is None:
            raise MqlError(f"$mergeObjects takes objects, not {type_name(value)}. Choose them with $cond.")
        budget.make_fields(len(fields))
        merged.update(fields)
    return merged


@operator("$objectToArray", arguments=1, gives={"array", "null"}, pays=True)
def _object_to_array(budget: Budget, value: Any) -> list[dict[str, Any]] | None:
    if is_nullish(value):
        return None
    fields = _fields(value, budget)
    if fields is None:
        raise MqlError(f"$objectToArray takes an object, not {type_name(value)}. Choose it with $cond.")
    budget.make_elements(len(fields) * ELEMENTS_OF_PAIR)
    return [{"k": name, "v": member} for name, member in fields.items()]


@operator("$arrayToObject", arguments=1, gives=OBJECT_OR_NULL, pays=True)
def _array_to_object(budget: Budget, value: Any) -> dict[str, Any] | None:
    """Of equal keys, the last one wins."""
    if is_nullish(value):
        return None
    if not isinstance(value, list):
        raise MqlError(f"$arrayToObject takes an array, not {type_name(value)}. Choose it with $cond.")
    budget.make_fields(len(value))
    budget.spend_steps(len(value) * 2)
    return dict(_pairs(value))


def _pairs(items: list[Any]) -> Iterator[tuple[str, Any]]:
    """The pairs in `items`, all of which are [key, value] or {k, v}, as the first one is."""
    in_arrays = bool(items) and isinstance(items[0], list)
    for item in items:
        pair = _pair_of_array(item) if in_arrays else _pair_of_object(item)
        if pair is None:
            form = "[key, value]" if in_arrays else "{k: key, v: value}"
            raise MqlError(
                f"$arrayToObject takes items that are all {form}, as the first one is; one is a different {type_name(item)}."
            )
        key, member = pair
        if type(key) is not str:
            raise MqlError(f"A key of $arrayToObject is a string, not {type_name(key)}. Use $toString.")
        if "\0" in key:
            raise MqlError("A key of $arrayToObject holds U+0000, which no name of a field has. Take it out.")
        yield key, member


def _pair_of_array(item: Any) -> tuple[Any, Any] | None:
    return (item[0], item[1]) if isinstance(item, list) and len(item) == 2 else None


def _pair_of_object(item: Any) -> tuple[Any, Any] | None:
    return (item["k"], item["v"]) if isinstance(item, Mapping) and item.keys() == {"k", "v"} else None


# Fields by name, which may have dots and $


@special("$getField")
def _compile_get_field(specification: Any, scope: Scope) -> Node:
    """`{field, input}`, or just the name of a field of the document."""
    if not isinstance(specification, Mapping) or any(key.startswith("$") for key in specification):
        return _field_of_document(_constant_name("$getField", compile_expression(specification, scope)), scope)
    named_arguments("$getField", specification, ("field", "input"))
    name = _name_in("$getField", specification, scope)
    if specification["input"] in CURRENT_DOCUMENT:
        return _field_of_document(name, scope)

    def get_field(budget: Budget, value: Any) -> Any:
        fields = _fields(value, budget)
        return fields.get(name, MISSING) if fields is not None else None if value is None else MISSING

    return apply(get_field, [compile_within("input", specification["input"], scope)], None, scope, pays=True)


def _field_of_document(name: str, scope: Scope) -> Node:
    scope.reads.add(name)

    def get_field(document: Document, _: Variables) -> Any:
        return document.get(name, MISSING)

    return Node(get_field)


@special("$setField")
def _compile_set_field(specification: Any, scope: Scope) -> Node:
    named_arguments("$setField", specification, ("field", "input", "value"))
    return _compile_change("$setField", specification, compile_within("value", specification["value"], scope), scope)


@special("$unsetField")
def _compile_unset_field(specification: Any, scope: Scope) -> Node:
    named_arguments("$unsetField", specification, ("field", "input"))
    return _compile_change("$unsetField", specification, compile_expression("$$REMOVE", scope), scope)


def _compile_change(operator_name: str, specification: Mapping[str, Any], value: Node, scope: Scope) -> Node:
    name = _name_in(operator_name, specification, scope)

    def change(budget: Budget, whole: Any, member: Any = MISSING) -> dict[str, Any] | None:
        if is_nullish(whole):
            return None
        fields = _fields(whole, budget)
        if fields is None:
            raise MqlError(f"{operator_name} takes an object, not {type_name(whole)}. Choose it with $cond.")
        budget.make_fields(len(fields))
        changed = {**fields, name: member}
        if member is MISSING:
            del changed[name]
        return changed

    whole = compile_within("input", specification["input"], scope)
    return apply_in_order(change, [whole, value], AT_FIRST_NULL, OBJECT_OR_NULL, scope, pays=True)


def _name_in(operator_name: str, specification: Mapping[str, Any], scope: Scope) -> str:
    try:
        return _constant_name(operator_name, compile_expression(specification["field"], scope))
    except MqlError as error:
        raise error.within("field") from error


def _constant_name(operator_name: str, node: Node) -> str:
    if not node.is_constant or type(node.value) is not str:
        raise MqlError(
            f"{operator_name} takes a constant string as its field. Write {{$literal: name}} for one that begins with $."
        )
    name: str = node.value
    return name
