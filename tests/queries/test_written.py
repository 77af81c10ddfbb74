"""Queries that are written as JSON: what they find, what is wrong with them, and which arguments they take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from changesource.queries import ApplicationError, Caller, InvalidQuery, Tables
from changesource.queries.builder import Ast
from changesource.queries.written import MAX_WRITTEN_QUERIES, WrittenQuery, find_query_problems, written_queries
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition
from tests.queries.shop import OPEN, scope

SCOPE = scope(**OPEN)
ADA = Caller("ada", {"sub": "ada", "level": 3, "groups": ["a", "b"]})


def built(source: dict[str, Any], argument: Any = None, caller: Caller = ADA) -> Ast:
    """What a query without problems builds."""
    assert problems({"q": source}) == []
    return WrittenQuery(SCOPE, "q", source).build(Tables(SCOPE), argument, caller).ast


def problems(queries: Any) -> list[str]:
    return [str(problem) for problem in find_query_problems(replace(SCOPE.app, queries=queries))]


def where(source: dict[str, Any], argument: Any = None, **more: Any) -> Any:
    return built({"table": "issue", "where": source, **more}, argument).get("where")


def test_a_table_alone_is_all_its_rows() -> None:
    assert built({"table": "issue"}) == {"table": "issue"}


def test_everything_that_can_be_written_becomes_what_the_builder_makes_of_it() -> None:
    """Also through a junction, and in a condition on related rows."""
    source = {
        "table": "issue",
        "where": {
            "number": {"$gt": 2},
            "$exists": {"relationship": "labels", "where": {"text": "bug"}},
            "owner": {"$in": ["ada", "bob"]},
        },
        "related": [
            {"relationship": "members", "where": {"level": 1}, "orderBy": [["level", "desc"]], "limit": 3},
            {"relationship": "labels", "related": []},
        ],
        "orderBy": [["number", "asc"], ["text", "desc"]],
        "limit": 7,
    }
    q = Tables(SCOPE)
    by_hand = (
        q.issue.where("number", ">", 2)
        .where_exists("labels", lambda label: label.where("text", "bug"))
        .where("owner", "IN", ["ada", "bob"])
        .related("members", lambda member: member.where("level", 1).order_by("level", "desc").limit(3))
        .related("labels")
        .order_by("number")
        .order_by("text", "desc")
        .limit(7)
    )
    assert built(source) == by_hand.ast
    assert built({**source, "one": True}) == by_hand.one().ast
    assert WrittenQuery(SCOPE, "q", source).trace(q).ast == by_hand.ast  # it has no parameters


def test_null_is_that_of_mongodb() -> None:
    """`$ne` finds rows without a value, unlike `!=` of the builder."""
    unequal = {"type": "simple", "op": "!="}
    found = where({"text": {"$ne": "x"}})
    assert (found["type"], found["conditions"][0] | unequal) == ("or", found["conditions"][0])
    assert found["conditions"][1]["op"] == "IS"


def test_arguments_and_claims_are_values() -> None:
    """A text that looks like a variable stays a text when a caller gives it."""
    source = {"text": "$args.text", "owner": "$auth.sub", "number": {"$in": "$args.numbers"}}
    args = {"text": "string", "numbers": "number[]"}
    found = where(source, {"text": "$auth.sub", "numbers": [1, 2.5], "more": {"$gt": 1}}, args=args)
    assert [part["right"]["value"] for part in found["conditions"]] == ["$auth.sub", "ada", [1, 2.5]]


@pytest.mark.parametrize(
    "source", [{"text": "$args.text"}, {"text": {"$ne": "$args.text"}}, {"$nor": [{"text": "$args.text"}]}]
)
def test_a_condition_on_what_is_missing_finds_nothing(source: dict[str, Any]) -> None:
    """Not even its negation does."""
    nothing = {"type": "or", "conditions": []}
    args = {"text": "string?"}
    for argument in (None, {}, {"text": None}):
        assert where(source, argument, args=args) == nothing
    claim = {"owner": {"$ne": "$auth.tenant"}}
    assert where(claim) == nothing


@pytest.mark.parametrize(
    ("kind", "accepted", "refused"),
    [
        ("string", ["", "a"], [None, 1, True, ["a"], {"$gt": ""}, "\ud800"]),
        ("number", [0, -1.5, 10**300], [None, "1", True, [1], float("nan"), float("inf"), 10**400]),
        ("boolean", [True, False], [None, 0, "true"]),
        ("string?", ["a", None], [1, {}]),
        ("string[]", [[], ["a"]], [None, "a", [1], ["a", None], {"0": "a"}]),
        ("number[]?", [None, [1, 2]], [1, ["1"]]),
    ],
)
def test_each_type_of_argument_takes_its_values_only(kind: str, accepted: list[Any], refused: list[Any]) -> None:
    """The refusal has the form of @rocicorp/zero, and nothing of the value."""
    query = WrittenQuery(SCOPE, "issues", {"table": "issue", "args": {"x": kind}})
    for value in accepted:
        query.build(Tables(SCOPE), {"x": value}, ADA)
    for value in refused:
        with pytest.raises(ApplicationError) as error:
            query.build(Tables(SCOPE), {"x": value}, ADA)
        issue = {"message": f"x is {kind}.", "path": ["x"]}
        assert error.value.details == {"type": "InputValidationError", "result": {"issues": [issue]}}
        assert error.value.message == f"Validation failed for query issues: x is {kind}."


@pytest.mark.parametrize("argument", ["a", 1, [], [{}], True])
def test_the_argument_is_an_object(argument: Any) -> None:
    query = WrittenQuery(SCOPE, "issues", {"table": "issue"})
    with pytest.raises(ApplicationError, match="The argument is an object"):
        query.build(Tables(SCOPE), argument, ADA)


def test_a_trace_has_parameters_in_place_of_values() -> None:
    """An argument that is always there has no condition that it is."""
    source = {
        "args": {"text": "string", "least": "number?"},
        "table": "issue",
        "where": {"text": "$args.text", "number": {"$gte": "$args.least"}, "owner": "$auth.sub"},
    }
    ast = WrittenQuery(SCOPE, "q", source).trace(Tables(SCOPE)).ast
    asked = [(part["left"].get("path"), part["op"]) for part in ast["where"]["conditions"] if "path" in part["left"]]
    assert asked == [(["least"], "IS NOT"), (["claims", "sub"], "IS NOT")]
    values = [part["right"].get("path") for part in ast["where"]["conditions"] if "path" in part["right"]]
    assert values == [["text"], ["least"], ["claims", "sub"]]


def test_a_table_that_a_deployment_does_not_see_is_an_error_of_the_query() -> None:
    """Also one that only a condition asks for."""
    part = replace(SCOPE.app, tables=tuple(table for table in SCOPE.app.tables if table.name != "label"))
    tables = Tables(RuleScope(part))
    of_labels = {"table": "issue", "where": {"$exists": {"relationship": "labels"}}}
    for source in (of_labels, {"table": "label"}, {"table": "issue", "related": [{"relationship": "labels"}]}):
        with pytest.raises(InvalidQuery):
            WrittenQuery(RuleScope(part), "q", source).build(tables, None, ADA)
    assert list(written_queries(replace(part, queries={"a": of_labels}))) == ["a"]


LONG_PATH = ".".join(["a"] * 150)


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        ([], "Write a JSON object with a query under each name."),
        ({"a b": {"table": "issue"}}, "Write words with dots between them as the name"),
        ({"__proto__": {"table": "issue"}}, "Write words with dots between them as the name"),
        ({LONG_PATH: {"table": "issue"}}, "Write words with dots between them as the name"),
        ({"q": []}, 'q: Write {"table": …}'),
        ({"q": {"tabel": "issue"}}, 'q: Write {"table": …}'),
        ({"q": {"table": "issues"}}, "q.table: There is no table 'issues'."),
        ({"q": {"table": "issue", "were": {}}}, "q: There is no 'were' here. There are args, limit, one, orderBy"),
        ({"q": {"table": "issue", "args": []}}, "q.args: Write an object"),
        ({"q": {"table": "issue", "args": {"a-b": "string"}}}, "q.args: 'a-b' is not a name."),
        ({"q": {"table": "issue", "args": {"a": "str"}}}, "q.args.a: Write string, number or boolean"),
        ({"q": {"table": "issue", "args": {"a": ["string"]}}}, "q.args.a: Write string, number or boolean"),
        ({"q": {"table": "issue", "where": []}}, "q.where: Write a filter: an object."),
        ({"q": {"table": "issue", "where": {"nope": 1}}}, "q.where.nope: The table 'issue' has no column 'nope'."),
        ({"q": {"table": "issue", "where": {"text": {"$where": "1"}}}}, "q.where.text"),
        ({"q": {"table": "issue", "where": {"text": 1}}}, "q.where.text: A string column never equals a number."),
        ({"q": {"table": "issue", "where": {"text": "$args.x"}}}, "q.where: $args.x: there is no such argument."),
        ({"q": {"table": "issue", "where": {"text": "$client.x"}}}, "only $auth.<name> and $args.<name> can be named"),
        ({"q": {"table": "issue", "orderBy": ["text"]}}, "q.orderBy: Write a list"),
        ({"q": {"table": "issue", "orderBy": [["txt", "asc"]]}}, "q: The table 'issue' has no column 'txt'."),
        ({"q": {"table": "issue", "orderBy": [["text", "up"]]}}, "q: order_by 'text': the direction is asc or desc."),
        ({"q": {"table": "issue", "limit": -1}}, "q: A limit is a whole number"),
        ({"q": {"table": "issue", "limit": True}}, "q: A limit is a whole number"),
        ({"q": {"table": "issue", "one": "yes"}}, "q.one: Write true or false."),
        ({"q": {"table": "issue", "related": {}}}, "q.related: Write a list"),
        ({"q": {"table": "issue", "related": ["members"]}}, 'q.related[0]: Write {"relationship": "members"}.'),
        ({"q": {"table": "issue", "related": [{"relationship": "x"}]}}, "has no relationship 'x'"),
        ({"q": {"table": "issue", "related": [{"relationship": "labels", "limit": 1}]}}, "Zero does not support it"),
        ({"q": {"table": "issue", "related": [{"relationship": "members", "one": True}]}}, "There is no 'one' here."),
        (
            {"q": {"table": "issue", "related": [{"relationship": "members", "where": {"level": "high"}}]}},
            "q.related[0].where.level: A number column never equals a string.",
        ),
        (
            {"q": {"table": "issue", "args": {"n": "number"}, "where": {"text": "$args.n"}}},
            "q.where: $args.n is a number, and 'text' a string column: they are never equal.",
        ),
        (
            {"q": {"table": "issue", "args": {"n": "number"}, "where": {"number": {"$in": "$args.n"}}}},
            "q.where: $args.n: $in and $nin take a list",
        ),
        (
            {"q": {"table": "issue", "args": {"n": "number[]"}, "where": {"number": "$args.n"}}},
            "q.where: $args.n: a list is only for $in.",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(queries: Any, expected: str) -> None:
    """Each mistake by itself."""
    [found] = problems(queries)
    assert expected in found


def test_nesting_has_a_limit() -> None:
    """Looking at it would end in a recursion that is too deep."""
    source: dict[str, Any] = {"relationship": "twins"}
    for _ in range(2_000):
        source = {"relationship": "twins", "related": [source]}
    [found] = problems({"q": {"table": "issue", "related": [source]}})
    assert found.startswith("q: ")


def test_an_app_has_so_many_queries() -> None:
    queries = {f"q{i}": {"table": "issue"} for i in range(MAX_WRITTEN_QUERIES + 1)}
    assert problems(queries) == ["An app has at most 1,000 queries. Take some out."]
    del queries["q0"]
    assert problems(queries) == []


def test_a_definition_keeps_its_queries_in_the_form_that_is_stored() -> None:
    """Without any, the form is that of before."""
    with_queries = replace(SCOPE.app, queries={"q": {"table": "issue"}})
    assert AppDefinition.from_json(with_queries.to_json()) == with_queries
    assert "queries" not in SCOPE.app.to_json()
