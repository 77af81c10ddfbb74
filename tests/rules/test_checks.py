"""What is refused in rules, with its place."""

import json
from typing import Any

import pytest

from changesource.publishing.definition_problems import Problem, find_problems
from changesource.tables.definition import AppDefinition
from tests.rules.schema import RELATIONSHIPS, app, connection


def messages(app: AppDefinition, attribute: str = "permissions") -> list[str]:
    """What is said of `attribute`; nothing is said of others."""
    problems = find_problems(app)
    assert {problem.attribute for problem in problems} <= {attribute}
    return [problem.message for problem in problems]


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"owner": "$auth.sub"},
        {"owner": "$auth.org.name", "flag": True},
        {"text": {"$in": "$auth.names"}},
        {"text": {"$in": ["a", "$auth.sub", None]}},
        {"text": {"$regex": "^a\\."}},
        {"data": {"$ne": None}},
        {"$auth.role": "admin"},
        {"$auth.roles": {"$elemMatch": {"$in": ["admin", "editor"]}}},
        {"$auth.sub": {"$exists": False}},
        {"$exists": {"relationship": "members", "where": {"user": "$auth.sub"}}},
        {"$nor": [{"$exists": {"relationship": "labels"}}]},
    ],
)
def test_a_rule_with_a_condition_of_zero_is_accepted(rule: Any) -> None:
    """What zero-cache has a condition for is accepted."""
    assert messages(app(issue=json.dumps({"select": [rule]}))) == []


@pytest.mark.parametrize(
    ("rule", "place", "word"),
    [
        ([], "", "object"),
        ({"nope": 1}, "nope", "no column"),
        ({"data.a": 1}, "data.a", "no fields"),
        ({"number": "5"}, "number", "never equals a string"),
        ({"text": 5}, "text", "never equals a number"),
        ({"flag": {"$gt": 1}}, "flag.$gt", "never equals a number"),
        ({"number": 2**53}, "number", "2^53"),
        ({"number": {"$in": [1, "x"]}}, "number.$in", "never equals a string"),
        ({"number": {"$date": "2024-01-01T00:00:00Z"}}, "number", "1704067200000"),
        ({"text": {"$oid": "507f1f77bcf86cd799439011"}}, "text", "as text"),
        ({"number": {"$numberDecimal": "1"}}, "number", "decimals"),
        ({"data": 1}, "data", "json column"),
        ({"data": {"$in": "$auth.names"}}, "data", "json column"),
        ({"text": {"$exists": True}}, "text", "missing from null"),
        ({"text": {"$type": "string"}}, "text", "$type"),
        ({"text": {"$size": 1}}, "text", "$size"),
        ({"text": {"$all": ["a"]}}, "text", "$all"),
        ({"text": {"$elemMatch": {"$eq": "a"}}}, "text", "$elemMatch"),
        ({"number": {"$mod": [2, 0]}}, "number", "$mod"),
        ({"text": {"$regex": "a|b"}}, "text.$regex", "LIKE"),
        ({"text": {"$regex": "a$"}}, "text.$regex", "LIKE"),
        ({"text": {"$regex": "a", "$options": "i"}}, "text.$regex", "LIKE"),
        ({"number": {"$regex": "1"}}, "number.$regex", "string column"),
        ({"text": {"$foo": 1}}, "text.$foo", "no operator"),
        ({"$expr": {"$eq": ["$text", "a"]}}, "", "$expr"),
        ({"$where": "true"}, "$where", "refused"),
        ({"$or": []}, "$or", "one rule or more"),
        ({"$or": [{"nope": 1}]}, "nope", "no column"),
        ({"owner": "$client.tenant"}, "owner", "only $auth"),
        ({"owner": "$auth."}, "owner", "missing"),
        ({"owner": "$auth.constructor"}, "owner", "JavaScript"),
        ({"$auth.a.__proto__": 1}, "$auth.a.__proto__", "JavaScript"),
        ({"$auth.role": "$auth.sub"}, "$auth.role.$eq", "not with other claims"),
        ({"$auth.role": {"$regex": "a"}}, "$auth.role", "compared with values"),
        ({"$auth.role": [1]}, "$auth.role.$eq", "a string, a number"),
        ({"$exists": True}, "$exists", "relationship"),
        ({"$exists": {"relationship": "nope"}}, "$exists", "no relationship"),
        ({"$exists": {"relationship": "members", "where": {"nope": 1}}}, "$exists.where.nope", "no column"),
        ({"$exists": {"relationship": "members", "where": {"user": "$auth."}}}, "$exists.where.user", "missing"),
        ({"text": {"$in": ["x"] * 1001}}, "", "1000 conditions"),
    ],
)
def test_any_other_rule_is_a_problem(rule: Any, place: str, word: str) -> None:
    """With its place and the reason."""
    [message] = messages(app(issue=json.dumps({"select": [{}, rule]})))
    begin = "select[1]" + (f".{place}" if place else "")
    assert message.startswith(f"{begin}: ")
    assert word in message


def test_related_rows_of_related_rows_end_somewhere() -> None:
    """Related rows of related rows end somewhere."""
    rule: dict[str, Any] = {}
    for relationship in ["members", "issue"] * 3:
        rule = {"$exists": {"relationship": relationship, "where": rule}}
    [message] = messages(app(member=json.dumps({"select": [rule]})))
    assert "at most 4" in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "This is not JSON"),
        ("[]", "Permissions are"),
        ('{"read": []}', "read: "),
        ('{"select": {}}', "select: "),
        ('{"update": []}', "update: "),
        ('{"update": {"during": []}}', "update: "),
        ('{"update.before": []}', "update.before: "),
        ('{"update": {"after": {}}}', "update.after: "),
        ('{"update": {"after": [{"nope": 1}]}}', "update.after[0].nope: "),
    ],
)
def test_permissions_are_lists_of_rules_of_known_actions(text: str, place: str) -> None:
    """Anything else is a problem at its place."""
    [message] = messages(app(issue=text))
    assert message.startswith(place)


@pytest.mark.parametrize(
    ("relationships", "place"),
    [
        ({"nope": {}}, "nope"),
        ({"issue": []}, "issue"),
        ({"issue": {"text": [connection("id", "member", "issueId")]}}, "issue.text"),
        ({"issue": {"a b": [connection("id", "member", "issueId")]}}, "issue.a b"),
        ({"issue": {"x": []}}, "issue.x"),
        ({"issue": {"x": [connection("id", "issue", "id")] * 3}}, "issue.x"),
        ({"issue": {"x": ["member"]}}, "issue.x.[0]"),
        ({"issue": {"x": [connection("id", "nope", "id")]}}, "issue.x.[0].destSchema"),
        ({"issue": {"x": [connection("nope", "member", "id")]}}, "issue.x.[0].sourceField"),
        ({"issue": {"x": [connection("id", "member", "nope")]}}, "issue.x.[0].destField"),
        ({"issue": {"x": [connection("text", "member", "issueId")]}}, "issue.x.[0].destField"),
        ({"issue": {"x": [connection("data", "member", "issueId")]}}, "issue.x.[0].sourceField"),
        ({"issue": {"x": [connection("id", "member", "issueId", "some")]}}, "issue.x.[0].cardinality"),
        (
            {"issue": {"x": [{**connection("id", "member", "id"), "destField": ["id", "issueId"]}]}},
            "issue.x.[0].destField",
        ),
        (
            {"issue": {"x": [connection("id", "labelling", "issueId"), connection("id", "label", "text")]}},
            "issue.x.[1].destField",
        ),
    ],
)
def test_a_relationship_connects_columns_that_can_be_equal(relationships: Any, place: str) -> None:
    """In one connection or two."""
    [message] = messages(app(relationships), "relationships")
    assert message.startswith(f"{place}: ")


def test_the_relationships_of_zero_are_accepted() -> None:
    """With a junction and in a circle."""
    assert messages(app(RELATIONSHIPS)) == []


def test_a_problem_of_permissions_names_the_table() -> None:
    """A problem of permissions is shown at the table that has them."""
    [problem] = find_problems(app(member='{"select": [{"nope": 1}]}'))
    assert problem == Problem("permissions", "select[0].nope: The table 'member' has no column 'nope'.", table="member")
