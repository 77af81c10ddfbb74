"""Who passes a rule, and why others do not."""

import json
from typing import Any

import pytest

from changesource.mql.errors import MqlError
from changesource.rules.checks import RuleScope
from changesource.rules.matching import bound, explain, may, rows_in
from changesource.rules.query import NO_DOCUMENT, find_query
from changesource.rules.syntax import parse_rule
from changesource.tables.definition import Column, Table
from tests.rules.schema import ROWS, app

ROW = {"id": 0, "text": None, "owner": "u1"}


def visible(rule: Any, claims: Any, row: dict[str, Any] = ROW) -> bool:
    scope = RuleScope(app(issue=json.dumps({"select": [rule]})))
    return may(scope, scope.tables["issue"], "select", row, claims, rows_in(ROWS))


@pytest.mark.parametrize("claims", [{}, {"sub": None}, {"org": {"sub": "u1"}}])
@pytest.mark.parametrize(
    "rule",
    [
        {"owner": "$auth.sub"},
        {"owner": {"$ne": "$auth.sub"}},
        {"text": "$auth.sub"},
        {"text": {"$nin": "$auth.sub"}},
        {"$nor": [{"owner": "$auth.sub"}]},
        {"$or": [{}, {"owner": "$auth.sub"}]},
        {"$nor": [{"$exists": {"relationship": "members", "where": {"user": "$auth.sub"}}}]},
        {"$auth.sub": {"$ne": "u2"}},
        {"$auth.sub": {"$not": {"$elemMatch": {"$eq": "a"}}}},
    ],
)
def test_a_rule_matches_nothing_without_a_claim_that_it_names(rule: Any, claims: Any) -> None:
    """Even if it negates it."""
    assert not visible(rule, claims)


@pytest.mark.parametrize("claim", [["u1"], {"a": 1}])
@pytest.mark.parametrize("rule", [{"owner": {"$ne": "$auth.sub"}}, {"$auth.sub": {"$ne": "x"}}])
def test_a_claim_that_cannot_be_compared_counts_as_missing(rule: Any, claim: Any) -> None:
    """A list or an object in place of a value."""
    assert not visible(rule, {"sub": claim})


def test_a_rule_can_ask_whether_a_claim_is_there() -> None:
    """Nothing else makes a rule match without it."""
    assert visible({"$auth.sub": {"$exists": False}}, {})
    assert visible({"$auth.sub": None}, {"sub": None})
    assert not visible({"$auth.sub": {"$exists": False}}, {"sub": ""})


def test_without_rules_nobody_passes() -> None:
    """With an empty rule everybody does, and each action has rules of its own."""
    scope = RuleScope(app(issue='{"select": [{}], "update": {"after": [{}]}}'))
    allowed = {
        action
        for action in ("select", "insert", "update.before", "update.after", "delete")
        if may(scope, scope.tables["issue"], action, ROW, {}, rows_in({}))
    }
    assert allowed == {"select", "update.after"}


@pytest.mark.parametrize(
    ("rule", "claims", "reasons"),
    [
        ({"owner": "$auth.sub"}, {"sub": "u1"}, ()),
        ({"owner": "$auth.sub"}, {}, ("the caller has no claim $auth.sub",)),
        (
            {"owner": "$auth.sub", "text": "a", "id": 0},
            {"sub": "u2"},
            (
                "{\"owner\": \"$auth.sub\"} does not hold: owner is 'u1', $auth.sub is 'u2'",
                '{"text": "a"} does not hold: text is missing',
            ),
        ),
        ({"$auth.role": "admin"}, {"role": "user"}, ('{"$auth.role": "admin"} does not hold: $auth.role is \'user\'',)),
        (
            {"$exists": {"relationship": "members", "where": {"user": "x"}}},
            {},
            ('{"$exists": {"relationship": "members", "where": {"user": "x"}}} does not hold',),
        ),
        ({"owner": {"$ne": "u1"}}, {}, ('{"owner": {"$ne": "u1"}} does not hold: owner is \'u1\'',)),
        ({"owner": "$auth.sub"}, {"sub": [1]}, ("the claim $auth.sub is not a string, a number, true or false",)),
    ],
)
def test_an_explanation_names_each_condition_that_does_not_hold(
    rule: Any, claims: Any, reasons: tuple[str, ...]
) -> None:
    """With the values that were compared."""
    scope = RuleScope(app(issue=json.dumps({"select": [rule]})))
    [outcome] = explain(scope, scope.tables["issue"], "select", ROW, claims, rows_in(ROWS))
    assert (outcome.place, outcome.rule, outcome.reasons) == ("select[0]", rule, reasons)
    assert outcome.matches == (not reasons)


# Queries


def table(mapping: Any) -> Table:
    columns = (Column("id", "string", field="_id"), Column("name", "string", True, field="title"))
    return Table("item", columns, ("id",), mapping=json.dumps(mapping))


def query(mapping: Any, rule: Any, claims: Any = None) -> Any:
    return find_query(table(mapping), bound(parse_rule(rule), claims or {}))


def test_a_query_keeps_the_filter_of_the_mapping() -> None:
    """A document that the mapping leaves out is not found."""
    assert query({"filter": {"a": 1}}, {}) == {"$and": [{"a": 1}, {}]}


@pytest.mark.parametrize(
    ("projection", "field"),
    [({"title": 1}, "title"), ({"title": "$heading"}, "heading"), ({"secret": 0}, "title"), ({}, "title")],
)
def test_a_query_asks_for_the_field_that_a_column_shows(projection: Any, field: str) -> None:
    """Under its name or another."""
    assert list(query({"projection": projection}, {"name": "x"})) == [field]


@pytest.mark.parametrize(
    "mapping",
    [
        {"pipeline": [{"$match": {}}]},
        {"projection": {"title": {"$toUpper": "$t"}}},
        {"projection": {"title": "$a.b"}},
        {"projection": {"other": 1}},
    ],
)
def test_a_computed_column_cannot_be_queried(mapping: Any) -> None:
    """What the mapping computes is not found by a query of the collection."""
    with pytest.raises(MqlError):
        query(mapping, {"name": "x"})


def test_related_rows_cannot_be_queried() -> None:
    """Rows of other tables are out of reach of find."""
    with pytest.raises(MqlError, match="related rows"):
        query({}, {"$exists": {"relationship": "x"}})


def test_a_query_without_a_needed_claim_finds_nothing() -> None:
    """Who lacks a claim finds nothing."""
    assert query({}, {"name": {"$ne": "$auth.sub"}}) == NO_DOCUMENT
