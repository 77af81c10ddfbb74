"""evaluation.py: what queries find in rows, as zero-cache's own query code finds it."""

import time
from typing import Any

import pytest
from hypothesis import event, given, settings

from changesource.queries.builder import Ast, Tables
from changesource.queries.evaluation import Evaluator, Rows
from changesource.queries.restriction import Restriction
from tests.examples import examples
from tests.node.tools import hydrate_asts
from tests.queries.programs import build
from tests.queries.test_rules_agreement import cases
from tests.rules.schema import TABLES_IN_REPLICA, in_replica


@given(cases())
@settings(max_examples=examples(300))
def test_the_rows_of_a_query_are_those_that_zero_cache_syncs(case: Any) -> None:
    """From SQLite, in memory, and however it plans the joins: the query's own in their order, those of related queries, and
    of those behind an EXISTS at least the ones of which zero-cache takes some. With rules and without."""
    scope, rows, callers, programs = case
    tables = {table.server_name: in_replica(table, rows[table.name]) for table in scope.app.tables}
    restriction = Restriction(scope)
    queries = [build(Tables(scope), program).ast for program in programs]
    asts = [restriction.restricted(query, caller) for query in queries for caller in callers]
    (answer,) = hydrate_asts([{"tables": tables, "asts": asts}])
    evaluator = evaluator_of({name: table["rows"] for name, table in tables.items()})
    for ast, answers in zip(asts, answer["found"], strict=True):
        root, related, exists = synced(evaluator, ast)
        event("rows", bool(root))
        event("related", bool(related))
        for how, found in answers.items():
            assert found["root"] == root, how
            assert {table: set(keys) for table, keys in found["related"].items()} == related, how
            for table, keys in found["exists"].items():
                assert set(keys) <= exists[table], how


def test_a_start_is_found_as_by_zero_cache() -> None:
    """In both directions, with the row itself or without it, and where the row has no value for a column of the order."""
    ordered: list[Ast] = [{}, {"orderBy": [["key", "desc"]]}, {"orderBy": [["number_in_replica", "desc"]]}]
    asts = [
        {"table": "issues", **order, "start": {"row": row, "exclusive": exclusive}}
        for order in ordered
        for row in ({"key": 5}, {"number_in_replica": 0, "key": 4}, {"number_in_replica": None}, {})
        for exclusive in (False, True)
    ]
    (answer,) = hydrate_asts([{"tables": TABLES_IN_REPLICA, "asts": asts}])
    evaluator = evaluator_of({name: table["rows"] for name, table in TABLES_IN_REPLICA.items()})
    for ast, found in zip(asts, answer["found"], strict=True):
        assert found["sqlite"]["root"] == keys_at(evaluator, "issues", evaluator.selected(ast)), ast
    assert len({tuple(found["sqlite"]["root"]) for found in answer["found"]}) > 6


def evaluator_of(rows: dict[str, list[dict[str, Any]]]) -> Evaluator:
    return Evaluator({name: Rows(each, ["key"]) for name, each in rows.items()})


def synced(evaluator: Evaluator, ast: Ast) -> tuple[list[int], dict[str, set[int]], dict[str, set[int]]]:
    """Keys as hydrate_asts.mjs gives them."""
    parts = evaluator.parts(ast)
    related: dict[str, set[int]] = {}
    exists: dict[str, set[int]] = {}
    for path, part in parts.items():
        if path and part.found:
            place = exists if any(alias.startswith("zsubq_") for alias in path) else related
            place.setdefault(part.table, set()).update(keys_at(evaluator, part.table, part.found))
    return keys_at(evaluator, ast["table"], parts[()].found), related, exists


def keys_at(evaluator: Evaluator, table: str, positions: Any) -> list[int]:
    return [evaluator._row(table, position)["key"] for position in positions]


def condition(op: str, right: Any, left: Any = None) -> Ast:
    of_left = {"type": "column", "name": "a"} if left is None else {"type": "literal", "value": left}
    return {
        "table": "t",
        "where": {"type": "simple", "op": op, "left": of_left, "right": {"type": "literal", "value": right}},
    }


def found(values: list[Any], ast: Ast) -> list[Any]:
    rows = [{"key": position, "a": value} for position, value in enumerate(values)]
    return [values[position] for position in evaluator_of({"t": rows}).selected(ast)]


@pytest.mark.parametrize(
    ("op", "right", "expected"),
    [
        ("=", 1, [1]),
        ("=", True, [True]),
        ("!=", 1, [0, True, "1"]),
        ("IN", [1, "1"], [1, "1"]),
        ("NOT IN", [True], [0, 1, "1"]),
        ("IS", None, [None]),
        ("IS NOT", None, [0, 1, True, "1"]),
        ("=", None, []),
        ("NOT IN", None, []),
    ],
)
def test_only_values_of_one_kind_are_equal(op: str, right: Any, expected: list[Any]) -> None:
    """To Python, true would be 1. Null is equal to nothing, and unequal to nothing."""
    assert found([None, 0, 1, True, "1"], condition(op, right)) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a%b_c", "aXXbYc", True),
        ("a%b_c", "aXXbc", False),
        ("%ab%ab%", "xabxab", True),
        ("%ab%ab", "xab", False),
        ("a%a", "a", False),
        (r"100\%", "100%", True),
        (r"100\%", "100x", False),
        (r"\_\\", "_\\", True),
        ("a.c", "abc", False),
        ("%\n%", "a\nb", True),
        ("_", "😀", True),
        ("", "", True),
        ("%", "", True),
    ],
)
def test_a_pattern_matches_the_whole_text(pattern: str, text: str, matches: bool) -> None:
    """A backslash takes away what the next character means, and case counts."""
    assert bool(found([text], condition("LIKE", pattern))) == matches
    assert bool(found([text], condition("NOT LIKE", pattern))) != matches
    assert bool(found([text.swapcase()], condition("ILIKE", pattern))) == matches
    assert not found(["ab"], condition("LIKE", "A%"))


def test_no_pattern_takes_long() -> None:
    """A regular expression with as many stars would not end in a lifetime."""
    began = time.process_time()
    assert not found(["a" * 5_000], condition("LIKE", "%a" * 40 + "%b"))
    assert time.process_time() - began < 1


def exists(step: str, subquery: Ast, op: str = "EXISTS") -> Ast:
    return {
        "type": "correlatedSubquery",
        "op": op,
        "related": {
            "system": "client",
            "correlation": {"parentField": ["a"], "childField": ["a"]},
            "subquery": {"table": "t", "alias": step, **subquery},
        },
    }


@pytest.mark.parametrize("op", ["EXISTS", "NOT EXISTS"])
def test_nested_queries_cost_the_sum_of_their_parts(op: str) -> None:
    """Where each of a thousand rows leads to each, six deep: their product would be a number with 21 digits."""
    ast: Ast = condition("=", 1)
    for depth in range(6):
        ast = {
            "where": exists(f"zsubq_{depth}", {name: each for name, each in ast.items() if name != "table"}, op),
            "related": [exists(f"r{depth}", {"related": ast.get("related", [])})["related"]],
        }
    began = time.process_time()
    parts = evaluator_of({"t": [{"key": key, "a": 1} for key in range(1_000)]}).parts({"table": "t", **ast})
    assert (len(parts[()].found), len(parts) > 20) == (1_000, True)
    assert time.process_time() - began < 5


def test_rows_that_only_rules_ask_about_are_at_no_place() -> None:
    """zero-cache keeps them to itself."""
    where = exists("zsubq_a", {})
    where["related"]["system"] = "permissions"
    assert list(evaluator_of({"t": [{"key": 1, "a": 1}]}).parts({"table": "t", "where": where})) == [()]


def test_two_conditions_on_one_relationship_are_one_place() -> None:
    """It has the rows of both."""
    rows = [{"key": key, "a": 1, "b": key} for key in range(4)]

    def asks(b: int) -> Ast:
        where = condition("=", b)["where"]
        where["left"]["name"] = "b"
        return exists("zsubq_a", {"where": where})

    where = {"type": "and", "conditions": [asks(1), asks(3)]}
    parts = evaluator_of({"t": rows}).parts({"table": "t", "where": where, "limit": 1})
    assert list(parts[()].found) == [0]
    assert list(parts["zsubq_a",].found) == [1, 3]


def test_the_second_of_two_related_queries_with_one_alias_counts() -> None:
    """As in a JavaScript object."""
    related = [exists("r", {"where": condition("=", value)["where"]})["related"] for value in (1, 2)]
    evaluator = evaluator_of({"t": [{"key": 1, "a": 1}, {"key": 2, "a": 2}]})
    parts = evaluator.parts({"table": "t", "related": related})
    assert list(parts["r",].found) == [1]


def test_one_object_may_stand_in_several_places() -> None:
    """Where other columns lead to it, too."""
    subquery = {"table": "t", "alias": "r"}
    steps = [
        {"system": "client", "correlation": {"parentField": ["a"], "childField": [child]}, "subquery": subquery}
        for child in ("key", "a")
    ]
    where = {"type": "or", "conditions": [{"type": "correlatedSubquery", "op": "EXISTS", "related": s} for s in steps]}
    assert evaluator_of({"t": [{"key": 1, "a": 5}]}).selected({"table": "t", "where": where}) == [0]


def test_null_is_connected_to_nothing() -> None:
    """Neither to null."""
    ast = {"table": "t", "where": exists("zsubq_a", {}, "NOT EXISTS")}
    assert found([None, 1], ast) == [None]
