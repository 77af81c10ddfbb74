"""The three back ends of rules agree: predicate, MongoDB query, Zero condition."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from bson import Binary, DatetimeMS, ObjectId
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.collection import Collection

from changesource.publishing.permissions import compile_permissions
from changesource.rules.checks import rule_problems
from changesource.rules.matching import bound, explain, may, rows_in
from changesource.rules.query import find_query
from changesource.rules.syntax import parse_rule
from tests.examples import examples
from tests.node.tools import evaluate_permissions
from tests.rules.rules import claims, rules
from tests.rules.schema import ISSUE, ROWS, SCOPE, TABLES_IN_REPLICA, RuleScope, app
from zerosources.embedded.servers import MongoServer

CASES = examples(1000)
"""All for one run of Node, which takes longer to start than to answer one."""

LAST_DATE = DatetimeMS(253_402_300_799_999)

FIELDS = {column.name: column.field for column in ISSUE.columns}
RELATED = rows_in(ROWS)


@pytest.fixture(scope="module")
def issues(mongo_server: MongoServer) -> Iterator[Collection[dict[str, Any]]]:
    """The rows of the table as documents, some without the fields that are null."""
    with MongoClient[dict[str, Any]](mongo_server.uri("rules")) as client:
        collection = client.get_default_database()["issues"]
        collection.insert_many(
            {
                FIELDS[name]: json.loads(value) if name == "data" and value else value
                for name, value in row.items()
                if value is not None or row["id"] % 2
            }
            for row in ROWS["issue"]
        )
        yield collection


@given(rules(related=False), claims)
@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_find_gives_the_documents_whose_rows_the_rule_matches(
    issues: Collection[dict[str, Any]], rule: Any, claims: dict[str, Any]
) -> None:
    """The documents that `find` gives are those whose rows the rule matches."""
    parsed = parse_rule(rule)
    assert list(rule_problems(SCOPE, ISSUE, parsed)) == []
    query = find_query(ISSUE, bound(parsed, claims))
    found = sorted(document["_id"] for document in issues.find(for_server(query)))
    assert found == visible_to_predicate([rule], claims)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("owner_in_source", ObjectId("507f1f77bcf86cd799439011"), {"owner": "507f1f77bcf86cd799439011"}),
        ("owner_in_source", Binary(bytes(16), 4), {"owner": {"$in": ["00000000-0000-0000-0000-000000000000"]}}),
        ("number_in_source", DatetimeMS(1500), {"number": 1500}),
        ("number_in_source", DatetimeMS(2), {"number": {"$gte": 1.5}}),
        ("number_in_source", DatetimeMS(1), {"number": {"$not": {"$gt": 1}}}),
        ("text_in_source", ["a"], {"text": {"$ne": "a"}}),
        ("text_in_source", [None], {"text": {"$ne": None}}),
    ],
)
def test_a_query_asks_for_all_values_that_are_the_same_in_a_column(
    issues: Collection[dict[str, Any]], field: str, value: Any, rule: Any
) -> None:
    """The text of an id, the milliseconds of a date, an array's JSON."""
    issues.insert_one({"_id": 1000, field: value})
    query = find_query(ISSUE, bound(parse_rule(rule), {}))
    assert issues.find_one({"$and": [{"_id": 1000}, query]})
    assert not issues.find_one({"$and": [{"_id": 1000}, {"$nor": [query]}]})
    issues.delete_one({"_id": 1000})


def test_zero_cache_shows_the_rows_that_the_rule_matches() -> None:
    """From its replica and in its incremental views."""
    cases: list[tuple[list[Any], dict[str, Any]]] = []

    @given(st.lists(rules(), min_size=1, max_size=2), claims)
    @settings(max_examples=CASES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def collect(rules_of_case: list[Any], claims_of_case: dict[str, Any]) -> None:
        cases.append((rules_of_case, claims_of_case))

    collect()
    disagreements = []
    for (rules_of_case, claims_of_case), answer in zip(cases, shown_by_zero(cases), strict=True):
        expected = visible_to_predicate(rules_of_case, claims_of_case)
        if answer != {"sqlite": [expected], "memory": [expected]}:
            disagreements.append((json.dumps(rules_of_case), claims_of_case, expected, answer))
    assert not disagreements, min(disagreements, key=lambda case: len(case[0]))


@given(st.lists(rules(), min_size=1, max_size=2), claims)
@settings(max_examples=examples(100), deadline=None)
def test_a_reason_is_given_if_and_only_if_a_rule_does_not_match(
    rules_of_case: list[Any], claims: dict[str, Any]
) -> None:
    """A rule is said to match just those rows that it matches, and a reason is given for all others."""
    scope = scope_of(rules_of_case)
    for row in ROWS["issue"]:
        outcomes = explain(scope, scope.tables["issue"], "select", row, claims, RELATED)
        matches = [visible(scope_of([rule]), row, claims) for rule in rules_of_case]
        assert [outcome.matches for outcome in outcomes] == matches
        assert [not outcome.reasons for outcome in outcomes] == matches


def for_server(query: Any) -> Any:
    """The same for documents without dates after the year 9999, which the embedded server does not take in a query."""
    if isinstance(query, dict):
        return {name: for_server(value) for name, value in query.items()}
    if isinstance(query, list):
        return [for_server(value) for value in query]
    return min(query, LAST_DATE, key=int) if isinstance(query, DatetimeMS) else query


def visible_to_predicate(rules_of_table: list[Any], claims: dict[str, Any]) -> list[int]:
    scope = scope_of(rules_of_table)
    return [row["id"] for row in ROWS["issue"] if visible(scope, row, claims)]


def visible(scope: RuleScope, row: dict[str, Any], claims: dict[str, Any]) -> bool:
    return may(scope, scope.tables["issue"], "select", row, claims, RELATED)


def scope_of(rules_of_table: list[Any]) -> RuleScope:
    return RuleScope(app(issue=json.dumps({"select": rules_of_table})))


def shown_by_zero(cases: list[tuple[list[Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    cases_of_zero = [
        {
            "tables": TABLES_IN_REPLICA,
            "permissions": compile_permissions(scope_of(rules_of_case).app),
            "queries": [{"table": "issues", "claims": claims_of_case}],
        }
        for rules_of_case, claims_of_case in cases
    ]
    return evaluate_permissions(cases_of_zero)
