"""changesource/queries/transform.py"""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from changesource.protocol.transforms import QueryRequest, query_response
from changesource.queries.builder import Query, Tables
from changesource.queries.errors import ApplicationError
from changesource.queries.registry import MAX_NAME_LENGTH, Caller, Registry, query
from changesource.queries.transform import MAX_HINTS, Transformed, Transformer, names_in, replica_tables
from tests.queries.shop import OPEN, scope

SCOPE = scope(**{**OPEN, "issue": [{"owner": "$auth.sub"}, {"$auth.role": "admin"}]})
TABLES = replica_tables(SCOPE.app)
ADMIN = Caller("u1", {"sub": "u1", "role": "admin"})
OWN = {
    "type": "simple",
    "op": "=",
    "left": {"type": "column", "name": "owner_in_replica"},
    "right": {"type": "literal", "value": "u1"},
}


class Room(BaseModel):
    number: int


def make_registry() -> Registry:
    registry = Registry()

    def issues(q: Tables) -> Query:
        return q.issue

    def numbered(q: Tables, args: Room) -> Query:
        return q.issue.where("number", args.number)

    def raises(q: Tables, caller: Caller) -> Query:
        raise ValueError(f"the secret of {caller.user_id}")

    def forbids(q: Tables) -> Query:
        raise ApplicationError("Ask somebody else.", details={"who": ["Ada"]})

    def misspelt(q: Tables) -> Query:
        return q.isue

    def nothing(q: Tables) -> Any:
        return None

    def recurses(q: Tables) -> Query:
        return recurses(q)

    for function in (issues, numbered, raises, forbids, misspelt, nothing, recurses):
        query(function.__name__, app="shop", registry=registry)(function)
    return registry


@pytest.fixture
def registry() -> Registry:
    return make_registry()


def ask(registry: Registry, *names: str, caller: Caller = ADMIN, replicas: Any = (TABLES,)) -> list[Transformed]:
    queries = [QueryRequest(f"q{index}", name, {"number": index}) for index, name in enumerate(names)]
    return Transformer(SCOPE.app, replicas, registry).transform(queries, caller)


def test_queries_become_asts(registry: Registry) -> None:
    """In their order, with server names and rules, and with what the log and the metrics need."""
    found = ask(registry, "issues", "numbered", caller=Caller("u1", {"sub": "u1"}))
    assert [each.answer for each in found] == [
        {"id": "q0", "name": "issues", "ast": {"table": "issues", "where": OWN}},
        {
            "id": "q1",
            "name": "numbered",
            "ast": {
                "table": "issues",
                "where": {
                    "type": "and",
                    "conditions": [
                        {
                            **OWN,
                            "left": {"type": "column", "name": "number_in_replica"},
                            "right": {**OWN["right"], "value": 1},
                        },
                        OWN,
                    ],
                },
            },
        },
    ]
    assert [(each.name, each.outcome) for each in found] == [("issues", "ast"), ("numbered", "ast")]
    assert all(0 <= each.seconds < 10 for each in found)


def test_no_queries_get_no_answers(registry: Registry) -> None:
    """As zero-cache asks when a client connects."""
    assert ask(registry) == []


def test_what_is_wrong_with_one_query_is_an_error_of_that_one(registry: Registry) -> None:
    """The others get their ASTs."""
    names = ["issues", "isues", "numbered", "forbids", "misspelt", "nothing", "raises", "recurses", "issues"]
    found = ask(registry, *names)
    assert [each.outcome for each in found] == [
        *["ast", "refused", "ast", "refused", "refused", "refused", "failed", "failed", "ast"]
    ]
    assert [each.answer["id"] for each in found] == [f"q{index}" for index in range(9)]
    assert [each.answer["name"] for each in found] == names
    assert [each.name for each in found] == ["issues", "", *names[2:]]
    assert [found[index].answer for index in (1, 3, 4)] == [
        {"error": "app", "id": "q1", "name": "isues", "message": "Query not found: isues. Did you mean issues?"},
        {"error": "app", "id": "q3", "name": "forbids", "message": "Ask somebody else.", "details": {"who": ["Ada"]}},
        {
            "error": "app",
            "id": "q4",
            "name": "misspelt",
            "message": "There is no table 'isue'. Did you mean 'issue'?",
        },
    ]
    json.loads(query_response("u1", [each.answer for each in found]))


def test_older_clients_separate_words_by_bars() -> None:
    """And newer ones by dots. The answer has the name that was sent."""
    registry = Registry()
    query("a.b.c", app="shop", registry=registry)(lambda q: q.issue)
    found = ask(registry, "a|b|c", "a.b.c", "a.b|c")
    assert [each.outcome for each in found] == ["ast"] * 3
    assert [each.answer["name"] for each in found] == ["a|b|c", "a.b.c", "a.b|c"]
    assert {each.name for each in found} == {"a.b.c"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("messages.byRom", "Query not found: messages.byRom. Did you mean messages.byRoom?"),
        ("messages|byRom", "Query not found: messages.byRom. Did you mean messages.byRoom?"),
        ("xyz", "Query not found: xyz"),
        ("", "Query not found: "),
        ("__proto__", "Query not found: __proto__"),
        ("\ud800", "Query not found: \ud800"),
        ("messages.byRoom" * 20, f"Query not found: {('messages.byRoom' * 20)[:MAX_NAME_LENGTH]}"),
    ],
)
def test_a_name_that_is_not_there_gets_the_nearest(name: str, message: str) -> None:
    """Of the queries of its app, and without looking for one that is near to a name of any length."""
    registry = Registry()
    query("messages.byRoom", app="shop", registry=registry)(lambda q: q.issue)
    query("messages.byRom", app="blog", registry=registry)(lambda q: q.issue)
    (found,) = ask(registry, name)
    assert found.answer == {"error": "app", "id": "q0", "name": name, "message": message}
    assert (found.name, found.outcome) == ("", "refused")


def test_the_text_of_an_exception_stays_inside(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets the number under which the log has it."""
    with caplog.at_level(logging.ERROR):
        (found,) = ask(registry, "raises")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the secret of u1"
    error_id = found.answer["message"].removeprefix("The query failed. The server's log has the reason under ")
    assert found.answer == {
        "error": "app",
        "id": "q0",
        "name": "raises",
        "message": f"The query failed. The server's log has the reason under {error_id}",
    }
    assert record.getMessage() == f"the query raises of shop failed (error {error_id.removesuffix('.')})"
    assert len(error_id) == 13


def test_the_log_has_one_failure_of_each_query_of_a_request(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A client can ask for a query that fails a thousand times. The answers have the number of the one that was logged."""
    with caplog.at_level(logging.ERROR):
        found = ask(registry, *["raises", "recurses"] * 10)
    assert len(caplog.records) == 2
    assert len({each.answer["message"] for each in found}) == 2
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        (another,) = ask(registry, "raises")
    assert len(caplog.records) == 1
    assert another.answer["message"] not in {each.answer["message"] for each in found}


def test_the_nearest_name_is_looked_for_a_few_times_in_a_request(registry: Registry) -> None:
    """A client can make up a thousand names, and the looking takes long among many queries."""
    found = ask(registry, *["isues"] * 10)
    hinted = [each.answer["message"].endswith("Did you mean issues?") for each in found]
    assert hinted == [True] * MAX_HINTS + [False] * (10 - MAX_HINTS)


@pytest.mark.parametrize(
    ("message", "details"),
    [
        (ValueError("no"), None),
        (None, None),
        (5, None),
        ("No.", datetime(2020, 1, 1, tzinfo=UTC)),
        ("No.", {"a": {1, 2}}),
        ("No.", [float("nan")]),
        ("No.", {(1, 2): 3}),
        ("No.", b"a"),
    ],
)
def test_an_error_that_cannot_be_sent_is_a_failure_of_its_query(
    registry: Registry, caplog: pytest.LogCaptureFixture, message: Any, details: Any
) -> None:
    """And not of all that are asked together: zero-cache reads an answer whole or not at all."""

    def forbidding(q: Tables) -> Query:
        raise ApplicationError(message, details)

    query("forbidding", app="shop", registry=registry)(forbidding)
    found = ask(registry, "issues", "forbidding")
    assert [each.outcome for each in found] == ["ast", "failed"]
    query_response("u1", [each.answer for each in found])
    assert "ApplicationError takes a text and a JSON value" in caplog.text


def test_the_same_questions_have_the_same_answers(registry: Registry) -> None:
    """To the last byte: another AST makes zero-cache run a query again."""
    caller = Caller("u1", {"sub": "u1", "role": "user"})
    names = ["issues", "numbered", "forbids", "misspelt", "unknown"]
    answers = [query_response("u1", [each.answer for each in ask(registry, *names, caller=caller)]) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    again = [
        each.answer for each in ask(make_registry(), *names, caller=Caller("u1", dict(reversed(caller.claims.items()))))
    ]
    assert query_response("u1", again) == answers[0]


# What the replicas have


def without(table: str, *columns: str) -> dict[str, frozenset[str]]:
    """A replica that lacks columns of a table, or the whole table."""
    left = {**TABLES, table: TABLES[table].difference(columns)}
    if not columns:
        del left[table]
    return left


def queries() -> Iterator[tuple[str, Any, list[tuple[str, str]]]]:
    """A query for each place in which an AST names a column, and the tables and columns that it names in all."""
    key = [("issues", "")]
    yield "where", lambda q: q.issue.where("text", "a"), [*key, ("issues", "text_in_replica")]
    nested = lambda e: e.or_(e.cmp("flag", True), e.and_(e.cmp("text", "a"), e.cmp("number", 1)))  # noqa: E731
    yield (
        "nested where",
        lambda q: q.issue.where(nested),
        [("issues", f"{name}_in_replica") for name in ("flag", "text")],
    )
    yield "order", lambda q: q.issue.order_by("number"), [*key, ("issues", "number_in_replica")]
    yield "start", lambda q: q.issue.start({"flag": True}), [*key, ("issues", "flag_in_replica")]
    members = [*key, ("members", ""), ("members", "issueId_in_replica"), ("issues", "key")]
    yield "related", lambda q: q.issue.related("members"), members
    yield "exists", lambda q: q.issue.where_exists("members"), members
    yield "not exists", lambda q: q.issue.where(lambda e: e.not_(e.exists("members"))), members
    labels = [("labellings", ""), ("labellings", "labelId_in_replica"), ("labels", ""), ("labels", "key")]
    yield "junction", lambda q: q.issue.related("labels"), labels
    yield "exists through a junction", lambda q: q.issue.where_exists("labels"), labels
    inner = [("members", "level_in_replica"), ("issues", "text_in_replica")]
    yield (
        "in a subquery",
        lambda q: q.issue.related(
            "members", lambda m: m.order_by("level").related("issue", lambda i: i.where("text", "a"))
        ),
        inner,
    )
    yield (
        "in an exists under an or",
        lambda q: q.issue.where(
            lambda e: e.or_(e.cmp("flag", True), e.exists("labels", lambda x: x.where("text", "a")))
        ),
        [("labels", "text_in_replica"), ("labellings", "issueId_in_replica")],
    )


CASES = [
    pytest.param(make, table, column, id=f"{what}: {table} {column}")
    for what, make, names in queries()
    for table, column in names
]


@pytest.mark.parametrize(("make", "table", "column"), CASES)
def test_a_table_or_column_that_a_replica_lacks_is_not_asked_for(
    registry: Registry, make: Any, table: str, column: str
) -> None:
    """It would stop the client group. One of several replicas is enough."""

    def it(q: Tables) -> Query:
        made: Query = make(q)
        return made

    query("it", app="shop", registry=registry)(it)
    assert ask(registry, "it", replicas=[TABLES, TABLES])[0].outcome == "ast"
    lacking = without(table, *([column] if column else []))
    for replicas in ([lacking], [TABLES, lacking], [lacking, TABLES]):
        (found,) = ask(registry, "it", replicas=replicas)
        assert found.answer == {
            "error": "app",
            "id": "q0",
            "name": "it",
            "message": "The data for this query is being changed. Ask again in some seconds.",
            "details": {"type": "NotYetInReplica"},
        }


def test_what_a_rule_asks_about_has_to_be_in_the_replica(registry: Registry) -> None:
    """Though not for callers for whom the rule is not put in."""
    lacking = without("issues", "owner_in_replica")
    assert ask(registry, "issues", replicas=[lacking])[0].outcome == "ast"
    (found,) = ask(registry, "issues", replicas=[lacking], caller=Caller("u1", {"sub": "u1"}))
    assert found.answer["details"] == {"type": "NotYetInReplica"}


def test_a_query_that_names_nothing_else_only_needs_its_table(registry: Registry) -> None:
    """Whatever else the replica lacks."""
    assert ask(registry, "issues", replicas=[{"issues": frozenset()}])[0].outcome == "ast"
    assert ask(registry, "issues", replicas=[])[0].outcome == "ast"


def test_all_names_of_an_ast_are_found() -> None:
    """Of tables and of columns."""
    registry = make_registry()
    query("all", app="shop", registry=registry)(
        lambda q: (
            q.issue.where_exists("labels", lambda label: label.where("text", "a"))
            .related("members", lambda m: m.order_by("level").start({"user": "u"}))
            .where("number", 1)
        ),
    )
    (found,) = ask(registry, "all")
    names: dict[str, set[str]] = {}
    for table, columns in names_in(found.answer["ast"]):
        names.setdefault(table, set()).update(columns)
    assert names == {
        "issues": {"key", "number_in_replica"},
        "labellings": {"issueId_in_replica", "labelId_in_replica"},
        "labels": {"key", "text_in_replica"},
        "members": {"issueId_in_replica", "level_in_replica", "user_in_replica"},
    }
