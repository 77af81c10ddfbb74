"""One document takes a bounded amount of work, and beyond it has no rows and one row error."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import bson
import pytest
from bson import Binary, DBRef, Decimal128

from changesource.mql.budget import MAX_STEPS, Budget, BudgetExceeded
from changesource.mql.errors import MqlError
from changesource.mql.filters import compile_predicate, parse_filter
from changesource.mql.pipeline import compile_pipeline
from changesource.rules.row_filter import RowFilter
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Column, ColumnType, Table
from changesource.tables.row_errors import RowError
from changesource.tables.values import CODEC_OPTIONS

COLUMNS = (Column("p", "string"), Column("x", "number", optional=True), Column("y", "number", optional=True))


def table(stages: list[Any], *columns: Column, key: tuple[str, ...] = ("p", "x", "y")) -> CompiledTable:
    columns = columns or tuple(Column(column.name, column.type) for column in COLUMNS)
    return CompiledTable(Table("t", columns, key, collection="c", mapping=json.dumps({"pipeline": stages})))


UNWINDS = [{"$unwind": "$a"}, {"$unwind": "$b"}, {"$project": {"_id": 0, "p": "$_id", "x": "$a", "y": "$b"}}]
NUMBERS = table(
    [
        {"$unwind": {"path": "$a", "includeArrayIndex": "i"}},
        {"$project": {"_id": 0, "p": "$_id", "x": "$i", "y": "$a"}},
    ],
    key=("p", "x"),
)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Of processor time, so that a busy machine makes no difference."""
    start = time.thread_time()
    yield
    taken = time.thread_time() - start
    assert taken < seconds, f"{taken:.1f} s"


def steps_of(run: Callable[[Budget], object]) -> int:
    budget = Budget()
    run(budget)
    return MAX_STEPS - budget.steps


# The documents that have stopped an app


@pytest.mark.not_fast
def test_an_array_of_700_000_numbers_has_its_rows() -> None:
    """It is within the budget, and takes as long as it is."""
    errors: list[RowError] = []
    with within(20):
        rows = NUMBERS.rows({"_id": "d", "a": list(range(700_000))}, errors)
    assert errors == []
    assert len(rows) == 700_000
    assert rows[-1] == {"p": "d", "x": 699_999, "y": 699_999}


def test_an_array_of_all_that_a_document_can_hold_is_a_row_error() -> None:
    """Two million elements are decided on before one of them is unwound."""
    errors: list[RowError] = []
    with within(0.5):
        assert NUMBERS.rows({"_id": "d", "a": [None] * 1_900_000}, errors) == []
    assert ["more rows" in error.reason for error in errors] == [True]


@pytest.mark.parametrize("operator", ["$in", "$indexOfArray"])
def test_elements_of_one_array_are_looked_for_in_another(operator: str) -> None:
    """60 kB of two arrays take as long as both are, not as their product."""
    found = {"$in": ["$$this", "$b"]} if operator == "$in" else {"$gte": [{"$indexOfArray": ["$b", "$$this"]}, 0]}
    mapping = compile_pipeline({"projection": {"x": {"$filter": {"input": "$a", "cond": found}}}})
    document = {"_id": 1, "a": list(range(4_000)), "b": list(range(3_000, 7_000))}
    with within(1):
        [mapped] = mapping(document)
    assert mapped["x"] == list(range(3_000, 4_000))


def test_a_path_through_an_array_is_gone_once() -> None:
    """An expression that is repeated for each element finds the same list again, of which the places are known."""
    found = {"$in": ["$$this.n", "$b.n"]}
    mapping = compile_pipeline({"projection": {"x": {"$size": {"$filter": {"input": "$a", "cond": found}}}}})
    document = {"_id": 1, "a": [{"n": n} for n in range(3_000)], "b": [{"n": n} for n in range(3_000)]}
    with within(1):
        assert mapping(document)[0]["x"] == 3_000


def test_a_product_of_two_arrays_is_one_row_error_and_no_rows() -> None:
    """5,000 × 5,000 rows are refused before they are made."""
    errors: list[RowError] = []
    with within(0.5):
        assert table(UNWINDS).rows({"_id": "d", "a": list(range(5_000)), "b": list(range(5_000))}, errors) == []
    [error] = errors
    assert (error.table, error.document_id, error.column) == ("t", "d", "")
    assert error.reason.startswith("pipeline[1]: The document gives more rows")


@pytest.mark.parametrize("number", [1_000, 10_000])
def test_texts_of_an_array_are_joined(number: int) -> None:
    """By $reduce and $concat, as there is no other way. What it copies for each element counts little."""
    join = {"$reduce": {"input": "$a", "initialValue": "", "in": {"$concat": ["$$value", ", ", "$$this"]}}}
    [mapped] = compile_pipeline({"projection": {"x": join}})({"_id": 1, "a": ["some text of a tag"] * number})
    assert len(mapped["x"]) == 20 * number


# What the caller gets


def test_a_budget_of_the_caller_is_exceeded_without_a_row_error() -> None:
    """The caller tries with little on the event loop, and repeats elsewhere with all."""
    errors: list[RowError] = []
    document = {"_id": "d", "a": list(range(100)), "b": list(range(100))}
    with pytest.raises(BudgetExceeded):
        table(UNWINDS).rows(document, errors, Budget.quick())
    assert errors == []
    assert len(table(UNWINDS).rows(document, errors)) == 10_000
    assert errors == []


def test_row_errors_on_the_way_are_not_kept_when_the_budget_ends() -> None:
    """They come again with the repetition, or their document has the one error only."""
    mapping = [{"$unwind": "$a"}, {"$project": {"_id": 0, "p": "$_id", "x": {"$toInt": "$a"}, "y": "$b"}}]
    document = {"_id": "d", "a": ["no number"] * 500, "b": 1}
    errors: list[RowError] = []
    with pytest.raises(BudgetExceeded):
        table(mapping).rows(document, errors, Budget(steps=5_000))
    assert errors == []
    table(mapping).rows(document, errors)
    assert len(errors) == 500


def test_the_elements_that_are_right_keep_their_rows() -> None:
    """What fails is tried once more, which costs the budget nothing."""
    mapping = [{"$unwind": "$a"}, {"$project": {"_id": 0, "p": "$_id", "x": {"$toInt": "$a"}, "y": "$b"}}]
    numbers = [str(n) for n in range(1_000)]
    compiled = table(mapping)
    right = steps_of(lambda budget: compiled.rows({"_id": "d", "a": numbers, "b": 1}, [], budget))
    errors: list[RowError] = []
    wrong = steps_of(lambda budget: compiled.rows({"_id": "d", "a": [*numbers, "x"], "b": 1}, errors, budget))
    assert len(errors) == 1
    assert wrong < right * 1.2


def test_a_field_that_a_table_does_not_read_makes_no_difference() -> None:
    """An update of it sends nothing, so it must not decide whether the document has rows."""
    document = {"_id": "d", "a": list(range(100))}
    large = {**{f"other{n}": n for n in range(10_000)}, **document}
    assert NUMBERS.is_untouched_by(frozenset({"other1"}))
    assert steps_of(lambda budget: NUMBERS.rows(document, [], budget)) == steps_of(
        lambda budget: NUMBERS.rows(large, [], budget)
    )


def test_threads_do_not_share_a_budget() -> None:
    """Documents that are rendered at the same time cost what each of them costs alone."""
    document = {"_id": "d", "a": list(range(5_000))}
    alone = steps_of(lambda budget: NUMBERS.rows(document, [], budget))
    seen: list[int] = []
    threads = [
        threading.Thread(target=lambda: seen.append(steps_of(lambda budget: NUMBERS.rows(document, [], budget))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [alone] * 4


def test_a_row_filter_that_takes_too_long_lets_nothing_pass() -> None:
    """Also where it says what must not be."""
    column = Column("s", "string")
    rows = Table("t", (Column("id", "string"), column), ("id",), filter_columns=("s",))
    passes = RowFilter(rows, {"s": {"$not": {"$regex": "(x+x+)+[yz]"}}}, {}).passes
    assert passes(["a"])
    assert not passes(["x" * 5_000])


# Each operator


LONG = "ab" * 1_000_000
MANY = list(range(100_000))
WIDE = {f"field{n}": n for n in range(50_000)}
TEXTS = [LONG] * 1_000

GROWING: dict[str, tuple[Any, dict[str, Any]]] = {
    "$concat": ({"$concat": ["$s", "$s", "$s", "$s", "$s", "$s", "$s", "$s", "$s"]}, {}),
    "$toUpper": ({"$toUpper": "$$this"}, {"each": TEXTS}),
    "$toLower": ({"$toLower": "$$this"}, {"each": TEXTS}),
    "$toString": ({"$strLenBytes": {"$toString": "$$this"}}, {"each": TEXTS}),
    "$convert": ({"$strLenBytes": {"$convert": {"input": "$$this", "to": "string"}}}, {"each": TEXTS}),
    "$trim": ({"$trim": {"input": "$$this", "chars": "x"}}, {"each": TEXTS * 10}),
    "$ltrim": ({"$ltrim": {"input": "$$this", "chars": "x"}}, {"each": TEXTS * 10}),
    "$rtrim": ({"$rtrim": {"input": "$$this", "chars": "x"}}, {"each": TEXTS * 10}),
    "$substr": ({"$substr": ["$$this", 0, 1_000_000]}, {"each": TEXTS}),
    "$substrBytes": ({"$substrBytes": ["$$this", 0, 1_000_000]}, {"each": TEXTS}),
    "$substrCP": ({"$substrCP": ["$$this", 0, 1_000_000]}, {"each": TEXTS}),
    "$split": ({"$split": ["$s", "a"]}, {"s": "a" * 4_000_000}),
    "$replaceOne": ({"$replaceOne": {"input": "$s", "find": "a", "replacement": "$t"}}, {"t": LONG * 8}),
    "$replaceAll": ({"$replaceAll": {"input": "$s", "find": "a", "replacement": "$s"}}, {}),
    "$hexToBase64Url": ({"$hexToBase64Url": "$$this"}, {"each": TEXTS}),
    "$dateToString": (
        {"$dateToString": {"date": {"$toDate": "$$this"}, "format": "%Y" * 500}},
        {"each": [Decimal128("1")] * 200_000},
    ),
    "$range": ({"$range": [0, "$n"]}, {"n": 2**31 - 1}),
    "$concatArrays": ({"$concatArrays": ["$a"] * 12}, {}),
    "$reverseArray": ({"$reverseArray": "$a"}, {"each": [0] * 1_000}),
    "$slice": ({"$slice": ["$a", 90_000]}, {"each": [0] * 1_000}),
    "$map": ({"$map": {"input": "$a", "as": "x", "in": "$$x"}}, {"each": [0] * 1_000}),
    "$filter": ({"$filter": {"input": "$a", "as": "x", "cond": True}}, {"each": [0] * 1_000}),
    "$reduce": (
        {"$reduce": {"input": {"$range": [0, 60]}, "initialValue": "x", "in": ["$$value", "$$value"]}},
        {},
    ),
    "$objectToArray": ({"$objectToArray": "$o"}, {"each": [0] * 1_000}),
    "$arrayToObject": ({"$arrayToObject": "$pairs"}, {"each": [0] * 1_000, "pairs": [[k, k] for k in WIDE]}),
    "$mergeObjects": ({"$mergeObjects": ["$o", {"x": 1}]}, {"each": [0] * 1_000}),
    "$setField": ({"$setField": {"field": "x", "input": "$o", "value": 1}}, {"each": [0] * 1_000}),
    "$unsetField": ({"$unsetField": {"field": "field1", "input": "$o"}}, {"each": [0] * 1_000}),
}
"""For each operator that makes text, arrays or objects: an expression, and fields, that would make far too much. With `each`
the expression is evaluated for each of its elements."""

GIVES_WHAT_IT_GETS = {
    "$arrayElemAt", "$cond", "$first", "$getField", "$ifNull", "$last", "$let", "$literal", "$switch",
}  # fmt: skip
"""One of their arguments, or a part of one."""

OF_BOUNDED_SIZE = {
    *(
        "$abs",
        "$add",
        "$and",
        "$ceil",
        "$cmp",
        "$dateAdd",
        "$dateDiff",
        "$dateFromParts",
        "$dateSubtract",
        "$dateTrunc",
    ),
    *("$dayOfMonth", "$dayOfWeek", "$dayOfYear", "$divide", "$eq", "$floor", "$gt", "$gte", "$hour", "$in"),
    *("$indexOfArray", "$indexOfBytes", "$indexOfCP", "$isArray", "$isNumber", "$isoDayOfWeek", "$isoWeek"),
    *("$isoWeekYear", "$lt", "$lte", "$millisecond", "$minute", "$mod", "$month", "$multiply", "$ne", "$not", "$or"),
    *("$round", "$second", "$size", "$strLenBytes", "$strLenCP", "$strcasecmp", "$subtract", "$toBool", "$toDate"),
    *("$toDecimal", "$toDouble", "$toInt", "$toLong", "$toObjectId", "$trunc", "$type", "$week", "$year"),
}
"""Numbers, dates, booleans, and names of types."""


def test_every_operator_has_its_cost_tested() -> None:
    """A new one needs a line in one of the tables."""
    from changesource.mql.expressions.compiler import OPERATORS

    assert {*GROWING, *GIVES_WHAT_IT_GETS, *OF_BOUNDED_SIZE} == OPERATORS.keys()


@pytest.mark.not_fast
@pytest.mark.parametrize("operator", GROWING)
def test_what_an_operator_makes_is_bounded(operator: str) -> None:
    """Too much text, or too many elements, is an error of the document before it is made."""
    expression, fields = GROWING[operator]
    if "each" in fields:
        expression = {"$map": {"input": "$each", "in": expression}}
    document = {"_id": "d", "s": LONG, "a": MANY, "o": WIDE, **fields}
    compiled = table(
        [{"$project": {"p": "$_id", "x": expression}}],
        Column("p", "string"),
        Column("x", "json", optional=True),
        key=("p",),
    )
    errors: list[RowError] = []
    with within(10):
        rows = compiled.rows(document, errors)
    assert [error.document_id for error in errors] == ["d"]
    assert rows == []


@pytest.mark.parametrize(
    "condition",
    [
        {"$in": ["$$this", "$b"]},
        {"$in": ["$$this", "$b.n"]},
        {"$gte": [{"$indexOfArray": ["$b", "$$this"]}, 0]},
        {"$in": ["$$this", {"$range": [0, 5]}]},
        {"$eq": [{"$toString": "$$this"}, "x"]},
    ],
)
def test_steps_grow_as_the_arrays_do(condition: Any) -> None:
    """Twice as many elements take twice the steps."""
    mapping = compile_pipeline({"projection": {"x": {"$filter": {"input": "$a", "cond": condition}}}})

    def steps(size: int) -> int:
        elements = list(range(size))
        return steps_of(lambda budget: mapping({"_id": 1, "a": elements, "b": [{"n": n} for n in elements]}, budget))

    assert steps(4_000) < 2.2 * steps(2_000)


PATH_OF_VARIABLE = {"$let": {"vars": {"r": "$a"}, "in": {"$size": "$$r.n"}}}


@pytest.mark.not_fast
@pytest.mark.parametrize(
    ("mapping", "document"),
    [
        ({"projection": {"x": {"$map": {"input": "$a", "in": PATH_OF_VARIABLE}}}}, {"a": [{"n": 1}] * 300_000}),
        ({"projection": {"x": {"$map": {"input": "$a", "in": {"$eq": ["$a", "$b"]}}}}}, {"a": MANY, "b": [*MANY]}),
        ({"projection": {"x": {"$map": {"input": "$a", "in": {"$trim": {"input": "$s"}}}}}}, {"a": MANY, "s": " " * 9**6}),
        ({"projection": {"x": {"$map": {"input": "$a", "in": {"$indexOfCP": ["$s", "xy"]}}}}}, {"a": MANY, "s": LONG}),
        ({"projection": {"x": {"$map": {"input": "$a", "in": {"$strcasecmp": ["$s", "$s"]}}}}}, {"a": MANY, "s": LONG}),
        ({"projection": {"x": {"$map": {"input": "$a", "in": {"$toDouble": "$s"}}}}}, {"a": MANY, "s": "1" * 9**6}),
        ({"projection": {"x": {"$trim": {"input": "$s", "chars": "$t"}}}}, {"s": "x" * 15_000_000, "t": "y" * 4_095 + "x"}),
        ({"pipeline": [{"$unwind": "$a"}, {"$project": {"o.field1": 1}}]}, {"a": MANY, "o": WIDE}),
        ({"pipeline": [{"$unwind": "$o.a"}]}, {"o": {**WIDE, "a": MANY}}),
        ({"pipeline": [{"$project": {"a.n": {"$filter": {"input": "$a", "cond": True}}}}]}, {"a": [*MANY, {}]}),
        ({"projection": {"x": {"$map": {"input": "$a", "in": {"$getField": {"field": "x", "input": "$o"}}}}}},
         {"a": MANY, "o": DBRef("c", 1, **WIDE)}),
        ({"projection": {"x": {"$map": {"input": "$a", "in": {"$eq": ["$s", "$t"]}}}}},
         {"a": MANY, "s": Binary(b"x" * 9**6), "t": Binary(b"x" * 9**6)}),
        ({"filter": {"a.x.y": 1}}, {"a": [{"x": DBRef("c", 1, **WIDE)}] * 10_000}),
        ({"filter": {"a": {"$regex": "(x+x+)+[yz]"}}}, {"a": ["x" * 25] * 50_000}),
        ({"filter": {"a": {"$regex": "(?>x+)[yz]"}}}, {"a": ["x" * 1_000_000]}),
        ({"filter": {"a": {"$regex": "(x*)*[yz]\\1"}}}, {"a": ["x" * 10_000] * 500}),
        ({"filter": {".".join(["0"] * 90): 5}}, {"0": [reduce(lambda value, _: {"0": [value]}, range(45), 1)]}),
        ({"filter": {"a": {"$elemMatch": {"b": {"$elemMatch": {"$gt": 5}}}}}}, {"a": [{"b": [0] * 50}] * 1_000_000}),
        ({"pipeline": [{"$addFields": {"x": {"$literal": [1]}}}, *[{"$addFields": {"x": ["$x", "$x"]}}] * 45,
                       {"$match": {"$expr": {"$eq": ["$x", {"$map": {"input": "$x", "in": "$$this"}}]}}}]}, {}),
    ],
)  # fmt: skip
def test_any_work_soon_ends_with_an_error(mapping: Any, document: dict[str, Any]) -> None:
    """Whatever it consists of."""
    compiled = compile_pipeline(mapping)
    with within(8), pytest.raises(MqlError):
        compiled({"_id": 1, **document})


def test_a_value_that_repeats_itself_is_not_written_out() -> None:
    """A value that each stage puts into itself twice is small in memory, and endless as text."""
    stages = [{"$addFields": {"x": ["$x", "$x"]}}] * 60
    compiled = table(
        [{"$addFields": {"p": "$_id"}}, *stages], Column("p", "string"), Column("x", "json", optional=True), key=("p",)
    )
    errors: list[RowError] = []
    with within(3):
        assert compiled.rows({"_id": "d", "x": 1}, errors) == [{"p": "d", "x": None}]
    assert "larger than 32 MiB" in errors[0].reason


def test_a_text_is_not_repeated_for_each_element() -> None:
    """Rows that each hold a large text of their document would be a thousand times as large as it is."""
    mapping = [{"$unwind": "$a"}, {"$project": {"p": "$_id", "x": "$a", "s": 1}}]
    compiled = table(mapping, Column("p", "string"), Column("x", "number"), Column("s", "string"), key=("p", "x"))
    errors: list[RowError] = []
    with within(2):
        assert compiled.rows({"_id": "d", "a": list(range(1_000)), "s": "x" * 3_000_000}, errors) == []
    assert "more text, arrays and rows" in errors[0].reason


def test_values_nested_deeper_than_the_stack_are_a_row_error() -> None:
    """Stages can nest values as deep as the mapping is long."""
    stages = [{"$addFields": {"x": ["$x"], "y": ["$y"]}}] * 1_000
    compiled = table(
        [*stages, {"$match": {"$expr": {"$eq": ["$x", "$y"]}}}, {"$project": {"p": "$_id"}}],
        Column("p", "string"),
        key=("p",),
    )
    errors: list[RowError] = []
    assert compiled.rows({"_id": "d", "x": 1, "y": 1}, errors) == []
    assert [error.reason for error in errors] == ["The mapping nests values too deep. Let it nest them less."]


@pytest.mark.parametrize("kind", ["string", "json"])
def test_the_fields_of_a_large_reference_take_linear_time(kind: ColumnType) -> None:
    """PyMongo makes a DBRef of each object with $ref and $id, of which it gives the fields in quadratic time."""
    document = bson.decode(bson.encode({"_id": 1, "x": {"$ref": "c", "$id": 1, "$db": "d", **WIDE}}), CODEC_OPTIONS)
    compiled = CompiledTable(Table("t", (Column("_id", "string"), Column("x", kind)), ("_id",)))
    with within(1):
        [row] = compiled.rows(document, [])
    assert json.loads(str(row["x"])) == {"$ref": "c", "$id": 1, "$db": "d", **WIDE}


# Regular expressions


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("needle", "x" * 1_000_000 + "needle", True),
        (r"^\s*needle", " " * 100_000 + "needle", True),
        ("foo.*bar", "x" * 30_000 + "foo and bar", True),
        ("foo.*bar", "foo" * 10_000, False),
        ("(a|b)+$", "ab" * 1_000, True),
        (r"(\w)\1", "abcdefgg", True),
    ],
)
def test_simple_patterns_on_long_strings_are_within_the_budget(pattern: str, text: str, found: bool) -> None:
    """What takes little time is within the budget."""
    matches = compile_predicate(parse_filter({"s": {"$regex": pattern}}))
    assert matches({"s": text}, Budget()) is found


# Compiling


def test_large_constants_are_left_to_the_documents() -> None:
    """What is worked out of constants is 1 MB at most, so that a draft does not fill the memory of its compiler."""
    expression = {"$size": {"$range": [0, 900_000]}}
    with within(2):
        mapping = compile_pipeline({"projection": {f"x{n}": expression for n in range(200)}})
    with pytest.raises(BudgetExceeded):
        mapping({"_id": 1})
    assert compile_pipeline({"projection": {"x": expression}})({"_id": 1}) == [{"_id": 1, "x": 900_000}]


def test_many_constants_take_a_bounded_time_to_compile() -> None:
    """Those that are small each are folded until all of them have taken what one mapping may."""
    expression = {"$size": {"$concatArrays": [{"$range": [0, 10_000]}, {"$range": [0, 5_000]}]}}
    with within(5):
        mapping = compile_pipeline({"projection": {f"x{n}": expression for n in range(3_000)}})
    with pytest.raises(BudgetExceeded):
        mapping({"_id": 1})


def test_a_list_that_is_written_out_is_a_constant() -> None:
    """However long, as looking for a value in it takes no longer then."""
    ids = [f"id{n}" for n in range(50_000)]
    mapping = compile_pipeline({"filter": {"$expr": {"$in": ["$x", ids]}}})
    assert steps_of(lambda budget: mapping({"_id": 1, "x": "id7"}, budget)) < 200_000
    with within(1):
        assert [len(mapping({"_id": 1, "x": f"id{n}"})) for n in range(0, 100_000, 10_000)] == [1] * 5 + [0] * 5
