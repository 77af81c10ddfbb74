"""Permissions as zero-cache reads them."""

import json
from dataclasses import replace
from typing import Any

from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.permissions import compile_permissions, permissions_row_of
from changesource.tables.definition import AppDefinition
from tests.node.tools import evaluate_permissions
from tests.rules.schema import TABLES_IN_REPLICA, app


def compiled(rule: Any) -> Any:
    """The condition of one rule of `issue`."""
    permissions = compile_permissions(app(issue=json.dumps({"select": [rule]})))
    assert permissions is not None
    [[allow, condition]] = permissions["tables"]["issues"]["row"]["select"]
    assert allow == "allow"
    return condition


def simple(operator: str, left: Any, right: Any) -> Any:
    return {"type": "simple", "op": operator, "left": left, "right": right}


def column(name: str) -> Any:
    return {"type": "column", "name": name}


def literal(value: Any) -> Any:
    return {"type": "literal", "value": value}


SUB = {"type": "static", "anchor": "authData", "field": "sub"}
HAS_SUB = simple("IS NOT", SUB, literal(None))


def test_a_rule_begins_with_the_claims_that_it_needs() -> None:
    """Its names are those of the replica."""
    assert compiled({"owner": "$auth.sub"}) == {
        "type": "and",
        "conditions": [HAS_SUB, simple("=", column("owner_in_replica"), SUB)],
    }


def test_a_dotted_claim_is_a_path() -> None:
    [has, _] = compiled({"owner": "$auth.org.name"})["conditions"]
    assert has["left"] == {"type": "static", "anchor": "authData", "field": ["org", "name"]}


def test_not_equal_also_matches_null() -> None:
    """As in MongoDB, what is not a value may be null; a column that is never null is not asked."""
    text = column("text_in_replica")
    assert compiled({"text": {"$ne": "a"}}) == {
        "type": "or",
        "conditions": [simple("!=", text, literal("a")), simple("IS", text, literal(None))],
    }
    assert compiled({"owner": {"$ne": "a"}}) == simple("!=", column("owner_in_replica"), literal("a"))


def test_related_rows_through_a_junction_are_one_subquery_in_another() -> None:
    """Clients do not get the rows of either."""
    assert compiled({"$exists": {"relationship": "labels", "where": {"text": "a"}}}) == {
        "type": "correlatedSubquery",
        "op": "EXISTS",
        "related": {
            "system": "permissions",
            "correlation": {"parentField": ["key"], "childField": ["issueId_in_replica"]},
            "subquery": {
                "table": "labellings",
                "alias": "zsubq_labels_junction",
                "where": {
                    "type": "correlatedSubquery",
                    "op": "EXISTS",
                    "related": {
                        "system": "permissions",
                        "correlation": {"parentField": ["labelId_in_replica"], "childField": ["key"]},
                        "subquery": {
                            "table": "labels",
                            "alias": "zsubq_labels",
                            "where": simple("=", column("text_in_replica"), literal("a")),
                        },
                    },
                },
            },
        },
    }


def test_no_exists_under_an_or_may_become_a_flipped_join() -> None:
    """zero-cache joins the rules of an action by OR, so with a second rule each EXISTS of the first says `flip: false`; one
    that stands alone, and one inside the subquery of another, are left to the planner."""
    shared = {"$exists": {"relationship": "labels", "where": {"text": "a"}}}
    other = {"text": "b"}

    def flips(condition: Any) -> list[Any]:
        match condition:
            case {"conditions": parts}:
                return [flip for part in parts for flip in flips(part)]
            case {"related": {"subquery": subquery}}:
                return [condition.get("flip"), *flips(subquery.get("where", {}))]
            case _:
                return []

    def flips_of(*rules: Any) -> list[Any]:
        permissions = compile_permissions(app(issue=json.dumps({"select": rules})))
        assert permissions is not None
        return [flip for _, condition in permissions["tables"]["issues"]["row"]["select"] for flip in flips(condition)]

    assert flips_of(shared) == [None, None]
    assert flips_of({"$and": [shared, other]}) == [None, None]
    assert flips_of({"$or": [shared, other]}) == [False, None]
    assert flips_of(shared, other) == [False, None]
    assert flips_of({"$and": [shared, {"flag": True}]}, other) == [False, None]
    assert flips_of({"$nor": [shared]}, other) == [None, None]  # NOT EXISTS is never flipped


def test_an_empty_rule_is_always_true_and_a_rule_that_never_matches_is_left_out() -> None:
    assert compiled({}) == {"type": "and", "conditions": []}
    permissions = compile_permissions(app(issue='{"select": [{"text": {"$in": []}}]}'))
    assert permissions is not None
    assert permissions["tables"]["issues"]["row"]["select"] == []


def test_rules_of_an_update_are_about_the_row_before_and_after_it() -> None:
    """Nobody may do what has no rules."""
    text = '{"insert": [{}], "update": {"before": [{}], "after": [{"id": 1}]}}'
    permissions = compile_permissions(app(issue=text))
    everybody = ["allow", {"type": "and", "conditions": []}]
    assert permissions == {
        "tables": {
            "issues": {
                "row": {
                    "select": [],
                    "insert": [everybody],
                    "update": {
                        "preMutation": [everybody],
                        "postMutation": [["allow", simple("=", column("key"), literal(1))]],
                    },
                    "delete": [],
                }
            }
        }
    }
    case = {"tables": TABLES_IN_REPLICA, "permissions": permissions, "queries": [{"table": "issues", "claims": {}}]}
    assert evaluate_permissions([case]) == [{"sqlite": [[]], "memory": [[]]}]


def test_without_any_rules_there_is_nothing_to_read() -> None:
    row = CompiledVersion(app(), 1).permissions
    assert (row.permissions, row.hash) == (None, None)


def test_permissions_are_stored_with_their_table_in_one_form() -> None:
    """A table without rules says nothing of them."""
    definition = app(issue='{ "select": [{}] }')
    stored = definition.to_json()
    assert AppDefinition.from_json(json.loads(json.dumps(stored))) == definition
    assert [table.get("permissions") for table in stored["tables"]] == ['{"select":[{}]}', None, None, None]


def test_equal_rules_have_equal_hashes_and_others_have_not() -> None:
    """Whatever else is published."""
    one = permissions_row_of(app(issue='{"select": [{"flag": true}]}'))
    same = permissions_row_of(app(issue='{ "select":[ {"flag": true} ] }'))
    other = permissions_row_of(app(issue='{"select": [{"flag": false}]}'))
    assert one == same
    assert len({one.hash, other.hash, None}) == 3


def test_other_named_queries_make_another_text_of_the_same_rules() -> None:
    """zero-cache asks for named queries again when the text changes. Without any, the text is that of before."""
    definition = app(issue='{"select": [{}]}')
    plain = permissions_row_of(definition)
    queries = [{"a": {"table": "issue"}}, {"a": {"table": "issue", "limit": 1}}, {"b": {"table": "issue"}}]
    rows = [plain, *(permissions_row_of(replace(definition, queries=each)) for each in queries)]
    assert len({row.permissions for row in rows}) == len({row.hash for row in rows}) == 4
    assert {row.permissions.strip() for row in rows if row.permissions} == {plain.permissions}
    assert permissions_row_of(replace(definition, queries=dict(queries[0]))) == rows[1]


def test_the_same_rules_can_be_sent_once_more() -> None:
    """In another text, which says the same; also where there are none."""
    row = permissions_row_of(app(issue='{"select": [{}]}'))
    again = row.again
    assert (again.permissions != row.permissions, again.hash != row.hash) == (True, True)
    assert json.loads(str(again.permissions)) == json.loads(str(row.permissions))
    nothing = permissions_row_of(app())
    assert (nothing.permissions, json.loads(str(nothing.again.permissions))) == (None, {"tables": {}})
