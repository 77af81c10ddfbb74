"""Mappings rewritten so that the embedded server understands them as MongoDB does; `departures` says where it does not."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bson import Decimal128, Int64

Tree = dict[str, Any]
"""Expressions under the names of the paths that lead to them."""

NESTED_ARRAYS = 3
"""How many nested arrays are entered: each makes the rewritten expression longer."""

WITHOUT_EXPRESSIONS = frozenset({"$literal", "$unwind", "$unset"})

REMOVE = "$$REMOVE"

TOO_DEEP = "arrays too deep"
"""This is in the server's error for a document with more nested arrays, which then has no answer."""

_TOO_DEEP = {"$toInt": {"$concat": [TOO_DEEP, {"$type": ["$$ROOT"]}]}}


def pipeline_for_server(pipeline: list[Any]) -> list[Any]:
    """The same pipeline, with other stages in place of those in which the server departs."""
    return [stage for specification in pipeline for stage in _stages_for_server(specification)]


def for_server(specification: Any) -> Any:
    """The same expression or filter."""
    if isinstance(specification, str):
        return _path(specification)
    if isinstance(specification, list):
        return [for_server(item) for item in specification]
    if not isinstance(specification, Mapping):
        return specification
    if len(specification) == 1:
        ((name, argument),) = specification.items()
        if name in WITHOUT_EXPRESSIONS:
            return specification
        if name in _OPERATORS:
            return _OPERATORS[name](argument)
    return {name: for_server(value) for name, value in specification.items()}


# Paths


def _path(text: str) -> Any:
    """A path through an array: the server gives null, and MongoDB an array of the values in its objects."""
    if not text.startswith("$") or "." not in text:
        return text
    first, *names = text.split(".")
    return _value_at(first, names)


def _value_at(value: str, names: list[str]) -> Any:
    in_items = {
        "$reduce": {
            "input": value,
            "initialValue": [],
            "in": {
                "$cond": [
                    _exists("$$this", names),
                    {"$concatArrays": ["$$value", [_value_in_object("$$this", names)]]},
                    "$$value",
                ]
            },
        }
    }
    return _cond({"$isArray": [value]}, in_items, _cond(_has(value, names[0]), _value_in_object(value, names), REMOVE))


def _value_in_object(value: str, names: list[str]) -> Any:
    name, *rest = names
    return _value_at(f"{value}.{name}", rest) if rest else f"{value}.{name}"


def _exists(value: str, names: list[str]) -> Any:
    """Whether an object has a value at the path. Through an array it always has one."""
    name, *rest = names
    if not rest:
        return _has(value, name)
    member = f"{value}.{name}"
    return _cond(_has(value, name), _cond({"$isArray": [member]}, True, _exists(member, rest)), False)


def _has(value: Any, name: str) -> Any:
    names = {"$map": {"input": {"$objectToArray": [value]}, "as": "pair", "in": "$$pair.k"}}
    return _cond(_is_object(value), {"$in": [name, names]}, False)


def _is_object(value: Any) -> Any:
    return _has_type(value, "object")


def _has_type(value: Any, name: str) -> Any:
    return {"$eq": [{"$type": [value]}, name]}


def _is_nullish(value: Any) -> Any:
    return {"$eq": [{"$ifNull": [value, None]}, None]}


def _cond(condition: Any, then: Any, otherwise: Any) -> Any:
    return {"$cond": [condition, then, otherwise]}


# Operators


def _unset_field(argument: Any) -> Any:
    return for_server({"$setField": {**argument, "value": REMOVE}})


def _get_field(argument: Any) -> Any:
    options = argument if isinstance(argument, Mapping) else {"field": argument, "input": "$$ROOT"}
    name, value = options["field"], for_server(options["input"])
    found = {"$getField": {"field": name, "input": value}}
    return _cond({"$eq": [value, None]}, None, _cond(_has(value, name), found, REMOVE))


def _element(argument: Any) -> Any:
    array, index = (for_server(item) for item in argument)
    size = {"$size": [array]}
    is_outside = {"$or": [{"$gte": [index, size]}, {"$lt": [index, {"$subtract": [0, size]}]}]}
    as_int = {"$convert": {"input": index, "to": "int", "onError": None}}
    is_whole = _cond({"$isNumber": [index]}, {"$eq": [index, as_int]}, False)
    is_missing = _cond({"$and": [{"$isArray": [array]}, is_whole]}, is_outside, False)
    found = _cond(is_missing, REMOVE, {"$arrayElemAt": [array, index]})
    # Both are computed in any case, and may fail.
    has_null = {"$in": [None, [{"$ifNull": [array, None]}, {"$ifNull": [index, None]}]]}
    return _cond(has_null, None, found)


_ERROR = {"$add": ["$$ROOT", 1]}
"""This is not a constant, because the server would refuse the whole pipeline for one."""


def _abs(argument: Any) -> Any:
    number = for_server(_only(argument))
    is_least = {"$and": [_has_type(number, "long"), {"$eq": [number, Int64(-(2**63))]}]}
    return _cond(is_least, _ERROR, {"$abs": [number]})


def _in_order(name: str, types: Sequence[str]) -> Callable[[Any], Any]:
    """For arguments that are checked in order: the first that is null or not of the type decides."""

    def in_order(argument: Any) -> Any:
        arguments = for_server(argument)
        if not isinstance(arguments, list):
            return {name: arguments}
        result: Any = {name: arguments}
        for item in reversed(arguments):
            is_right = {"$in": [{"$type": [{"$ifNull": [item, None]}]}, list(types)]}
            result = _cond(_is_nullish(item), None, _cond(is_right, result, _ERROR))
        return result

    return in_order


def _slice(argument: Any) -> Any:
    array, start, *counts = (for_server(item) for item in argument)
    is_wrong = {
        "$or": [_cond(_is_nullish(item), False, {"$not": [{"$isNumber": [item]}]}) for item in (start, *counts)]
    }
    found = _cond(is_wrong, _ERROR, {"$slice": [array, start, *counts]})
    return _cond(_is_nullish(array), None, _cond(_is_nullish(start), None, found))


def _date_change(name: str) -> Callable[[Any], Any]:
    def change(argument: Any) -> Any:
        options = {key: for_server(value) for key, value in argument.items()}
        start = options["startDate"]
        has_date = {"$or": [_has_type({"$ifNull": [start, None]}, name) for name in ("timestamp", "objectId")]}
        return {name: {**options, "startDate": _cond(has_date, {"$toDate": start}, start)}}

    return change


def _merge_objects(argument: Any) -> Any:
    arguments = for_server(argument)
    if not isinstance(arguments, list) or len(arguments) < 2:
        return {"$mergeObjects": arguments}
    has_array = {"$or": [{"$isArray": [item]} for item in arguments]}
    return _cond(has_array, _ERROR, {"$mergeObjects": arguments})


def _array_to_object(argument: Any) -> Any:
    array = for_server(_only(argument))
    key = _cond({"$isArray": ["$$pair"]}, _element(["$$pair", 0]), _cond(_is_object("$$pair"), "$$pair.k", ""))
    is_wrong = {"$ne": [{"$type": [{"$ifNull": [key, None]}]}, "string"]}
    wrong = {"$filter": {"input": array, "as": "pair", "cond": is_wrong}}
    has_wrong = _cond({"$isArray": [array]}, {"$gt": [{"$size": [wrong]}, 0]}, False)
    return _cond(has_wrong, _ERROR, {"$arrayToObject": [array]})


def _date_to_string(argument: Any) -> Any:
    options = {name: for_server(value) for name, value in argument.items()}
    on_null = options.pop("onNull", None)
    return _cond(_is_nullish(options["date"]), on_null, {"$dateToString": options})


def _convert(argument: Any) -> Any:
    options = {name: for_server(value) for name, value in argument.items()}
    if options["to"] in ("string", 2):
        value = options["input"]
        is_date = {"$eq": [{"$type": [{"$ifNull": [value, None]}]}, "date"]}
        options["input"] = _cond(is_date, {"$dateToString": {"date": value}}, value)
    return {"$convert": options}


def _only(argument: Any) -> Any:
    return argument[0] if isinstance(argument, list) else argument


def _substring(name: str) -> Callable[[Any], Any]:
    def substring(argument: Any) -> Any:
        text, *bounds = (for_server(item) for item in argument)
        return {name: [{"$ifNull": [text, ""]}, *bounds]}

    return substring


def _replacement(name: str) -> Callable[[Any], Any]:
    def replacement(argument: Any) -> Any:
        texts = {key: for_server(value) for key, value in argument.items()}
        # What is neither text nor null is an error here.
        all_texts = {"$concat": [{"$ifNull": [text, ""]} for text in texts.values()]}
        return _cond({"$eq": [all_texts, ""]}, {name: texts}, {name: texts})

    return replacement


_NUMBERS = ["int", "long", "double", "decimal"]

_OPERATORS: Mapping[str, Callable[[Any], Any]] = {
    "$unsetField": _unset_field,
    "$getField": _get_field,
    "$arrayElemAt": _element,
    "$first": lambda argument: _element([_only(argument), 0]),
    "$last": lambda argument: _element([_only(argument), -1]),
    "$abs": _abs,
    "$concat": _in_order("$concat", ["string"]),
    "$add": _in_order("$add", [*_NUMBERS, "date"]),
    "$multiply": _in_order("$multiply", _NUMBERS),
    "$slice": _slice,
    **{name: _date_change(name) for name in ("$dateAdd", "$dateSubtract")},
    "$mergeObjects": _merge_objects,
    "$arrayToObject": _array_to_object,
    "$convert": _convert,
    "$dateToString": _date_to_string,
    "$isoWeekYear": lambda argument: {"$toLong": {"$isoWeekYear": for_server(argument)}},
    **{name: _substring(name) for name in ("$substr", "$substrBytes", "$substrCP")},
    **{name: _replacement(name) for name in ("$replaceOne", "$replaceAll")},
}


# Stages


def _stages_for_server(stage: Mapping[str, Any]) -> list[Any]:
    ((name, specification),) = stage.items()
    if name == "$unwind":
        if isinstance(specification, str) or "includeArrayIndex" not in specification:
            return [stage]
        index = specification["includeArrayIndex"]
        return [stage, {"$addFields": {index: {"$toLong": f"${index}"}}}]
    if name in ("$addFields", "$set"):
        added = {field: _added(f"${field}", tree) for field, tree in _tree(specification).items()}
        return [{name: added}]
    if name == "$unset":
        return _excluding(dict.fromkeys([specification] if isinstance(specification, str) else specification, 0))
    if name == "$project":
        return _projecting(specification)
    return [{name: for_server(specification)}]


def _projecting(specification: Mapping[str, Any]) -> list[Any]:
    if all(_is_number(value) and not value for path, value in specification.items() if path != "_id"):
        return _excluding(specification)
    tree = _tree(specification)
    computed = {name: _computed(f"${name}", child) for name, child in tree.items() if _computes(child)}
    others = {path: value for path, value in _flat(specification).items() if path.split(".")[0] not in computed}
    stages = [{"$addFields": computed}] if computed else []
    return [*stages, {"$project": {**for_server(others), **dict.fromkeys(computed, 1)}}]


def _flat(specification: Mapping[str, Any]) -> dict[str, Any]:
    """Uses dotted paths in place of objects of paths, which the server sometimes takes for expressions."""
    return {
        ".".join([path, *names]): leaf for path, value in specification.items() for names, leaf in _named_leaves(value)
    }


def _named_leaves(value: Any) -> list[tuple[list[str], Any]]:
    if not isinstance(value, Mapping) or any(name.startswith("$") for name in value):
        return [([], value)]
    return [([path, *names], leaf) for path, below in value.items() for names, leaf in _named_leaves(below)]


def _tree(specification: Mapping[str, Any]) -> Tree:
    tree: Tree = {}
    for path, value in specification.items():
        *names, last = path.split(".")
        branch = tree
        for name in names:
            branch = branch.setdefault(name, Branch())
        if isinstance(value, Mapping) and not any(name.startswith("$") for name in value):
            branch.setdefault(last, Branch()).update(_tree(value))
        else:
            branch[last] = value
    return tree


class Branch(Tree):
    """An object of paths; every other object is an expression."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal128)


def _computes(child: Any) -> bool:
    """Whether everything below a name is computed."""
    return isinstance(child, Branch) and not any(map(_is_number, _leaves(child)))


def _leaves(child: Any) -> list[Any]:
    return [leaf for item in child.values() for leaf in _leaves(item)] if isinstance(child, Branch) else [child]


def _added(value: Any, child: Any, arrays: int = NESTED_ARRAYS) -> Any:
    """`value` with the expressions of a branch in it, or in the items of arrays."""
    if not isinstance(child, Branch):
        return for_server(child)
    whole: Any = value
    for name, below in child.items():
        whole = {"$setField": {"field": name, "input": whole, "value": _added(_member(value, name), below)}}
    fresh = {name: _added(REMOVE, below) for name, below in child.items()}
    return _in_items(
        value, arrays, lambda item, left: _added(item, child, left), _cond(_is_object(value), whole, fresh)
    )


def _computed(value: Any, child: Any, arrays: int = NESTED_ARRAYS) -> Any:
    """The expressions of a branch in place of `value`, or of the items of arrays."""
    if not isinstance(child, Branch):
        return for_server(child)
    fresh = {name: _computed(_member(value, name), below) for name, below in child.items()}
    return _in_items(value, arrays, lambda item, left: _computed(item, child, left), fresh)


def _excluding(paths: Mapping[str, Any]) -> list[Any]:
    """The server does not enter arrays when it excludes fields below them."""
    tree = _tree({path: value for path, value in paths.items() if path != "_id" or not value})
    whole = [name for name, child in tree.items() if not isinstance(child, Branch)]
    below = {name: _excluded(f"${name}", child) for name, child in tree.items() if isinstance(child, Branch)}
    return [*([{"$unset": whole}] if whole else []), *([{"$addFields": below}] if below else [])]


def _excluded(value: Any, child: Any, arrays: int = NESTED_ARRAYS) -> Any:
    if not isinstance(child, Branch):
        return REMOVE
    whole: Any = value
    for name, below in child.items():
        kept = _cond(_has(value, name), _excluded(_member(value, name), below), REMOVE)
        whole = {"$setField": {"field": name, "input": whole, "value": kept}}
    return _in_items(
        value, arrays, lambda item, left: _excluded(item, child, left), _cond(_is_object(value), whole, value)
    )


def _member(value: Any, name: str) -> Any:
    return value if value == REMOVE else f"{value}.{name}"


def _in_items(value: Any, arrays: int, change: Callable[[str, int], Any], otherwise: Any) -> Any:
    if value == REMOVE:
        return otherwise
    if arrays == 0:
        return _cond({"$isArray": [value]}, _TOO_DEEP, otherwise)
    # Paths have a bounded number of names, so that the number of dots tells apart the items on each level.
    item = f"item{arrays}of{value.count('.')}"
    return _cond(
        {"$isArray": [value]}, {"$map": {"input": value, "as": item, "in": change(f"$${item}", arrays - 1)}}, otherwise
    )
