"""Rows of documents with long arrays and texts, under mappings that multiply work."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from changesource.errors import MappingRefused
from changesource.mql.budget import Budget, BudgetExceeded
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Column, Table
from changesource.tables.row_errors import RowError
from tests.fuzzing.bounds import in_time
from tests.fuzzing.inputs import Bytes

COLUMNS = (
    Column("_id", "string"),
    Column("a", "json", optional=True),
    Column("i", "number", optional=True),
    Column("s", "string", optional=True),
)
ARRAY_LENGTHS = (0, 1, 2, 50, 1_000, 5_000)
"""Visiting each element once is quick; comparing each with each takes seconds."""
TEXT_LENGTHS = (0, 1, 2, 100, 5_000, 60_000)
REGEXES = ("a", "b", "(a+)+$", "a*", "[^b]", "(a|aa)+b", "")
MAX_STAGES = 30
"""Each stage may double its input."""


def check(data: bytes) -> None:
    """What stays within a small budget is quick, and gives the same rows as with the full budget."""
    source = Bytes(data)
    text = json.dumps(mapping(source))
    document = costly_document(source)
    with in_time():
        try:
            table = CompiledTable(Table("items", COLUMNS, ("_id",), mapping=text))
        except MappingRefused as error:
            assert str(error)
            return
        errors: list[RowError] = []
        try:
            rows = table.rows(document, errors, Budget.quick())
        except BudgetExceeded as exceeded:
            assert exceeded.reason
            assert errors == []
            return
    with in_time():
        assert orjson.dumps(rows) == orjson.dumps(table.rows(document, []))
    assert all(error.reason for error in errors)


def costly_document(data: Bytes) -> dict[str, Any]:
    """`a`, `b` and `c` are arrays, `s` and `t` texts."""
    document: dict[str, Any] = {"_id": "x"}
    items: Sequence[Callable[[int], Any]] = (
        lambda i: i,
        lambda i: -i,
        lambda i: i % 7,
        lambda i: f"a{i}",
        lambda i: {"k": i, "v": [i]},
        lambda i: [i, [i]],
        lambda i: float(i),
        lambda i: "a" * 200,
    )
    for name in ("a", "b", "c"):
        item, length = data.choose(items), data.choose(ARRAY_LENGTHS)
        document[name] = [item(i) for i in range(length)]
    for name in ("s", "t"):
        piece = data.choose(("a", "ab", "a ", "é", "\U0001f600", "b", ", "))
        document[name] = piece * (data.choose(TEXT_LENGTHS) // len(piece))
    return document


def mapping(data: Bytes) -> dict[str, Any]:
    if data.byte() % 3 == 0:
        return {"filter": {"$expr": condition(data, 3)}, "projection": {"a": array(data, 4), "s": text(data, 4)}}
    again = 1 + data.byte() % MAX_STAGES
    stages = [stage(data) for _ in range(1 + data.byte() % 5)]
    return {"pipeline": (stages * again)[:MAX_STAGES]}


def stage(data: Bytes) -> dict[str, Any]:
    name = data.choose(("a", "b", "c", "i"))
    makers: Sequence[Callable[[], dict[str, Any]]] = (
        lambda: {"$unwind": f"${name}"},
        lambda: {"$unwind": {"path": f"${name}", "includeArrayIndex": "at", "preserveNullAndEmptyArrays": True}},
        lambda: {"$addFields": {name: array(data, 3)}},
        lambda: {"$addFields": {"s": text(data, 3), "i": number(data, 3)}},
        lambda: {"$match": {"$expr": condition(data, 3)}},
        lambda: {"$match": {name: {"$elemMatch": {"$nin": [1, 2, "a1"]}}}},
        lambda: {"$match": {data.choose(("s", "t", name)): {"$regex": data.choose(REGEXES)}}},
        lambda: {"$match": {name: {"$not": {"$all": list(range(1_000))}}}},
        lambda: {"$project": {"a": 1, "b": array(data, 3), "c": 1, "s": 1, "t": text(data, 2), "i": number(data, 2)}},
        lambda: {"$replaceWith": {"$mergeObjects": ["$$ROOT", {name: array(data, 2)}]}},
    )
    return data.choose(makers)()


def array(data: Bytes, depth: int) -> Any:
    if depth == 0:
        return data.choose(("$a", "$b", "$c", "$c.v", "$$ROOT.a", []))
    below = depth - 1
    makers: Sequence[Callable[[], Any]] = (
        lambda: {"$map": {"input": array(data, below), "in": value(data, below)}},
        lambda: {"$filter": {"input": array(data, below), "cond": condition(data, below)}},
        lambda: {"$filter": {"input": array(data, below), "cond": {"$in": ["$$this", array(data, below)]}}},
        lambda: {"$map": {"input": array(data, below), "in": {"$indexOfArray": [array(data, below), "$$this"]}}},
        lambda: {"$concatArrays": [array(data, below), array(data, below)]},
        lambda: {"$reverseArray": array(data, below)},
        lambda: {"$slice": [array(data, below), data.choose((1, -1, 100, 10**6))]},
        lambda: {"$range": [0, data.choose((10, 1_000, 10**5, 10**6, number(data, below)))]},
        lambda: {"$split": [text(data, below), data.choose(("a", "b", " ", ", "))]},
        lambda: {"$objectToArray": data.choose(("$$ROOT", {"$first": array(data, below)}))},
        lambda: {
            "$reduce": {
                "input": array(data, below),
                "initialValue": [],
                "in": data.choose(
                    (
                        {"$concatArrays": ["$$value", ["$$this"]]},
                        {"$concatArrays": ["$$value", "$$value", ["$$this"]]},
                        {
                            "$cond": [
                                {"$in": ["$$this", "$$value"]},
                                "$$value",
                                {"$concatArrays": ["$$value", ["$$this"]]},
                            ]
                        },
                        {"$slice": [{"$concatArrays": [["$$this"], "$$value"]}, 1_000]},
                    )
                ),
            }
        },
        lambda: data.choose(("$a", "$b", "$c")),
    )
    return data.choose(makers)()


def condition(data: Bytes, depth: int) -> Any:
    if depth == 0:
        return data.choose((True, False, "$a", {"$gt": ["$$ROOT.i", 1]}))
    below = depth - 1
    makers: Sequence[Callable[[], Any]] = (
        lambda: {"$in": [value(data, below), array(data, below)]},
        lambda: {"$eq": [value(data, below), value(data, below)]},
        lambda: {"$lt": [array(data, below), array(data, below)]},
        lambda: {"$ne": [array(data, below), array(data, below)]},
        lambda: {"$and": [condition(data, below), condition(data, below)]},
        lambda: {"$not": [condition(data, below)]},
        lambda: {"$gt": [text(data, below), text(data, below)]},
    )
    return data.choose(makers)()


def text(data: Bytes, depth: int) -> Any:
    if depth == 0:
        return data.choose(("$s", "$t", "$$ROOT.s", "a"))
    below = depth - 1
    makers: Sequence[Callable[[], Any]] = (
        lambda: {"$concat": [text(data, below), text(data, below)]},
        lambda: {
            "$replaceAll": {
                "input": text(data, below),
                "find": data.choose(("a", "b", "")),
                "replacement": text(data, below),
            }
        },
        lambda: {
            "$replaceOne": {"input": text(data, below), "find": text(data, below), "replacement": text(data, below)}
        },
        lambda: {"$toUpper": text(data, below)},
        lambda: {"$substrCP": [text(data, below), 0, data.choose((1, 1_000, 10**6))]},
        lambda: {"$trim": {"input": text(data, below), "chars": data.choose((" ", "a", "ab"))}},
        lambda: {
            "$reduce": {"input": array(data, below), "initialValue": "", "in": {"$concat": ["$$value", text(data, 0)]}}
        },
        lambda: {"$toString": number(data, below)},
    )
    return data.choose(makers)()


def number(data: Bytes, depth: int) -> Any:
    if depth == 0:
        return data.choose((0, 1, 1_000, "$i", "$at"))
    below = depth - 1
    makers: Sequence[Callable[[], Any]] = (
        lambda: {"$size": array(data, below)},
        lambda: {"$indexOfArray": [array(data, below), value(data, below)]},
        lambda: {"$indexOfCP": [text(data, below), text(data, below)]},
        lambda: {"$strLenCP": text(data, below)},
        lambda: {"$add": [number(data, below), number(data, below)]},
        lambda: {"$multiply": [number(data, below), number(data, below)]},
        lambda: {"$strcasecmp": [text(data, below), text(data, below)]},
        lambda: {"$indexOfBytes": [text(data, below), text(data, below), number(data, 0)]},
    )
    return data.choose(makers)()


def value(data: Bytes, depth: int) -> Any:
    """Of one of the elements: `$$this` is one within what goes through an array, and refused elsewhere."""
    maker = data.choose((array, text, number, condition))
    return maker(data, depth) if data.byte() % 4 else data.choose(("$$this", "$$this.k", "$a", "$$ROOT", None))
