"""Mappings, filters, expressions and rules from a fuzzer's bytes: most are nearly right, some not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import changesource.mql.expressions  # noqa: F401 (fills the registry)
from changesource.mql.expressions.compiler import OPERATORS
from tests.fuzzing.inputs import PATTERNS, Bytes, bson_value

EXPRESSIONS = sorted(OPERATORS)
NAMED: Mapping[str, Sequence[str]] = {
    "$map": ("input", "as", "in"),
    "$filter": ("input", "as", "cond", "limit"),
    "$reduce": ("input", "initialValue", "in"),
    "$let": ("vars", "in"),
    "$cond": ("if", "then", "else"),
    "$switch": ("branches", "default"),
    "$convert": ("input", "to", "format", "onError", "onNull"),
    "$zip": ("inputs", "useLongestLength", "defaults"),
    "$regexMatch": ("input", "regex", "options"),
    "$regexFind": ("input", "regex", "options"),
    "$regexFindAll": ("input", "regex", "options"),
    "$replaceAll": ("input", "find", "replacement"),
    "$replaceOne": ("input", "find", "replacement"),
    "$trim": ("input", "chars"),
    "$ltrim": ("input", "chars"),
    "$rtrim": ("input", "chars"),
    "$getField": ("field", "input"),
    "$setField": ("field", "input", "value"),
    "$unsetField": ("field", "input"),
    "$sortArray": ("input", "sortBy"),
    "$dateToString": ("date", "format", "timezone", "onNull"),
    "$dateFromString": ("dateString", "format", "timezone", "onError", "onNull"),
    "$dateToParts": ("date", "timezone", "iso8601"),
    "$dateFromParts": ("year", "month", "day", "hour", "minute", "second", "millisecond", "timezone"),
    "$dateAdd": ("startDate", "unit", "amount", "timezone"),
    "$dateSubtract": ("startDate", "unit", "amount", "timezone"),
    "$dateDiff": ("startDate", "endDate", "unit", "timezone", "startOfWeek"),
    "$dateTrunc": ("date", "unit", "binSize", "timezone", "startOfWeek"),
}
"""Operators that take names."""
WORDS: Mapping[str, Sequence[Any]] = {
    "as": ("x", "this", "X", ""),
    "unit": ("day", "month", "year", "week", "hour", "millisecond", "quarter", "fortnight"),
    "timezone": ("UTC", "Europe/Paris", "+05:30", "America/New_York", "Nowhere/Here", "../../etc/passwd", "+99:99"),
    "format": ("%Y-%m-%d", "%G-W%V-%u", "%H:%M:%S.%L%z", "%%%j%U", "%", "%Q", "base64", "hex", "auto"),
    "options": ("", "i", "imsx", "g"),
    "regex": PATTERNS,
    "to": ("int", "long", "double", "decimal", "string", "date", "objectId", "bool", "binData", "array", 2, -9),
    "dateString": ("2024-02-29T12:00:00Z", "0000-00-00", "1 Jan", "99999-01-01", "2024-W01-1"),
    "sortBy": (1, -1, {"a": 1}, {"a.b": -1}, {}),
    "startOfWeek": ("mon", "Sunday", "x"),
}
FILTER_OPERATORS = (
    *("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$not", "$exists", "$type", "$all", "$size"),
    *("$elemMatch", "$mod", "$regex", "$options", "$where", "$near", "$text", "$jsonSchema", "$bitsAllSet"),
)
STAGES = (
    *("$match", "$unwind", "$project", "$addFields", "$set", "$unset", "$replaceRoot", "$replaceWith"),
    *("$group", "$lookup", "$out", "$limit"),
)
COLUMNS = ("id", "text", "number", "flag", "data", "owner", "a")
CLAIMS = ("sub", "org.name", "level", "staff", "names", "tenant", "", "constructor")
RELATIONSHIPS = ("members", "labels", "twins", "issue", "nowhere")


def mapping(data: Bytes) -> dict[str, Any]:
    """A filter and a projection, or a pipeline."""
    if data.byte() % 2:
        return {"pipeline": data.members(lambda: stage(data))}
    return {"filter": filter(data), "projection": projection(data)}


def stage(data: Bytes) -> Any:
    name = data.choose(STAGES)
    argument: Callable[[], Any] = {
        "$match": lambda: filter(data),
        "$unwind": lambda: data.choose(
            (
                "$items",
                {"path": "$items", "includeArrayIndex": "i", "preserveNullAndEmptyArrays": True},
                "items",
                "$a.b",
            )
        ),
        "$unset": lambda: data.choose(("a", ["a", "items.k"], ["a", "a.b"], [], 1)),
        "$replaceRoot": lambda: {"newRoot": expression(data)},
        "$replaceWith": lambda: expression(data),
        "$project": lambda: projection(data),
    }.get(name, lambda: {data.name(): expression(data) for _ in range(1 + data.byte() % 3)})
    return {name: argument()} if data.byte() % 32 else bson_value(data)


def projection(data: Bytes) -> Any:
    return {
        data.name(): data.choose((1, 0, True, False, None)) if data.byte() % 2 else expression(data)
        for _ in range(data.byte() % 4)
    }


def expression(data: Bytes, depth: int = 4) -> Any:
    if depth == 0 or data.byte() % 4 == 0:
        return data.choose(
            ("$a", "$b", "$items", "$a.b", "$$x", "$$this", "$$value", 0, 1, -1, 3, 40, None, "a", 0.5, [])
        )
    if data.byte() % 16 == 0:
        return bson_value(data)
    name = data.choose(EXPRESSIONS)
    if name in NAMED and data.byte() % 8:
        return {name: {part: argument(data, part, depth - 1) for part in NAMED[name] if data.byte() % 8}}
    arguments = [expression(data, depth - 1) for _ in range(data.byte() % 4)]
    return {name: arguments[0] if len(arguments) == 1 else arguments}


def argument(data: Bytes, name: str, depth: int) -> Any:
    """The argument of one of an operator's names."""
    if name in WORDS and data.byte() % 8:
        return data.choose(WORDS[name])
    if name == "branches":
        return [{"case": expression(data, depth), "then": expression(data, depth)} for _ in range(data.byte() % 3)]
    if name == "vars":
        return {data.choose(("x", "y", "this")): expression(data, depth)}
    if name in ("inputs", "defaults"):
        return [expression(data, depth) for _ in range(data.byte() % 4)]
    return expression(data, depth)


def filter(data: Bytes, depth: int = 3) -> Any:
    if data.byte() % 32 == 31:
        return bson_value(data)
    return dict(data.members(lambda: filter_entry(data, depth)))


def filter_entry(data: Bytes, depth: int) -> tuple[str, Any]:
    kind = data.byte() % 6
    if kind == 0 and depth:
        name = data.choose(("$and", "$or", "$nor"))
        return name, [filter(data, depth - 1) for _ in range(1 + data.byte() % 3)]
    if kind == 1:
        return "$expr", expression(data, depth)
    return data.name(), condition(data, depth)


def condition(data: Bytes, depth: int) -> Any:
    if data.byte() % 4 == 0:
        return bson_value(data)
    return {
        name: operand(data, name, depth) for name in (data.choose(FILTER_OPERATORS) for _ in range(1 + data.byte() % 2))
    }


def operand(data: Bytes, name: str, depth: int) -> Any:
    if data.byte() % 16 == 0:
        return bson_value(data)
    match name:
        case "$in" | "$nin" | "$all":
            if name == "$all" and data.byte() % 2 and depth:
                return [{"$elemMatch": filter(data, depth - 1)} for _ in range(data.byte() % 3)]
            return data.members(lambda: bson_value(data, 1))
        case "$not" if depth:
            return condition(data, depth - 1)
        case "$elemMatch" if depth:
            return condition(data, depth - 1) if data.byte() % 2 else filter(data, depth - 1)
        case "$regex":
            return data.choose(PATTERNS)
        case "$options":
            return data.choose(("", "i", "imsxu", "g"))
        case "$type":
            return data.choose(("string", "number", 2, -1, 127, ["int", "array"], "x", 1.0, []))
        case "$mod":
            return data.choose(([4, 1], [2.5, 0], [0, 1], [3], [-7, -1], [1 << 40, 3], []))
        case "$size":
            return data.choose((0, 1, 2.0, -1, 1.5, "1"))
        case "$exists":
            return data.choose((True, False, 0, 1, None))
    return bson_value(data, 1)


def rule(data: Bytes, namespace: str, depth: int = 3) -> Any:
    if data.byte() % 32 == 31:
        return bson_value(data)
    return dict(data.members(lambda: rule_entry(data, namespace, depth)))


def rule_entry(data: Bytes, namespace: str, depth: int) -> tuple[str, Any]:
    kind = data.byte() % 8
    if kind == 0 and depth:
        members = [rule(data, namespace, depth - 1) for _ in range(1 + data.byte() % 3)]
        return data.choose(("$and", "$or", "$nor")), members
    if kind == 1 and depth:
        related = {"relationship": data.choose(RELATIONSHIPS), "where": rule(data, namespace, depth - 1)}
        return "$exists", related
    if kind == 2:
        return f"${namespace}.{data.choose(CLAIMS)}", rule_condition(data, namespace, depth)
    return data.choose(COLUMNS), rule_condition(data, namespace, depth)


def rule_condition(data: Bytes, namespace: str, depth: int) -> Any:
    if data.byte() % 3 == 0:
        return rule_value(data, namespace)
    name = data.choose(
        ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$not", "$regex", "$exists", "$elemMatch")
    )
    match name:
        case "$in" | "$nin" if data.byte() % 4:
            return {name: data.members(lambda: rule_value(data, namespace))}
        case "$not" | "$elemMatch" if depth:
            return {name: rule_condition(data, namespace, depth - 1)}
        case "$regex":
            return {name: data.choose(("a", "^a", "", "^", "a%_", "\\^", "a.b", "(a+)+$"))}
        case "$exists":
            return {name: data.choose((True, False))}
    return {name: rule_value(data, namespace)}


def rule_value(data: Bytes, namespace: str) -> Any:
    if data.byte() % 4 == 0:
        return f"${namespace}.{data.choose(CLAIMS)}"
    if data.byte() % 16 == 0:
        return bson_value(data, 1)
    return data.choose(
        ("", "a", "u1", 0, 1, 1.5, -1, 2**53, True, False, None, float("inf"), "$other.x", "$auth.", "é")
    )
