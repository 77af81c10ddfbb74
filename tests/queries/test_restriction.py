"""changesource/queries/restriction.py"""

from dataclasses import replace
from typing import Any

import pytest

from changesource.queries.builder import Tables
from changesource.queries.restriction import NO_ROW, Restriction
from changesource.rules.checks import RuleScope
from tests.queries.shop import EVERYBODY, OPEN, Shop, exists_in
from tests.rules.schema import ISSUE

OWN = [{"owner": "$auth.sub"}]


def simple(column: str, operator: str, value: Any) -> dict[str, Any]:
    left, right = {"type": "column", "name": column}, {"type": "literal", "value": value}
    return {"type": "simple", "left": left, "right": right, "op": operator}


def by_type(condition: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The members of an AND or OR."""
    assert condition["type"] == kind
    return list(condition["conditions"])


OWN_OF_U1 = simple("owner_in_replica", "=", "u1")
U1 = {"sub": "u1"}


def test_names_become_those_of_the_replica() -> None:
    """Of tables and columns, at every place. Aliases stay, since the client knows rows by them."""
    shop = Shop(**OPEN)
    query = (
        shop.tables.issue.where("text", "a")
        .where_exists("labels", lambda label: label.where("text", "b"))
        .related("members", lambda m: m.order_by("user"))
        .related("labels")
        .order_by("number", "desc")
        .start({"number": 1, "id": 2})
        .limit(3)
    )
    to_labelling = {"parentField": ["key"], "childField": ["issueId_in_replica"]}
    to_label = {"parentField": ["labelId_in_replica"], "childField": ["key"]}
    assert shop.restricted(query) == {
        "table": "issues",
        "where": {
            "type": "and",
            "conditions": [
                simple("text_in_replica", "=", "a"),
                {
                    "type": "correlatedSubquery",
                    "related": {
                        "system": "client",
                        "correlation": to_labelling,
                        "subquery": {
                            "table": "labellings",
                            "alias": "zsubq_labels",
                            "where": {
                                "type": "correlatedSubquery",
                                "related": {
                                    "system": "client",
                                    "correlation": to_label,
                                    "subquery": {
                                        "table": "labels",
                                        "alias": "zsubq_zhidden_labels",
                                        "where": simple("text_in_replica", "=", "b"),
                                    },
                                },
                                "op": "EXISTS",
                            },
                        },
                    },
                    "op": "EXISTS",
                },
            ],
        },
        "related": [
            {
                "system": "client",
                "correlation": to_labelling,
                "subquery": {"table": "members", "alias": "members", "orderBy": [["user_in_replica", "asc"]]},
            },
            {
                "system": "client",
                "correlation": to_labelling,
                "hidden": True,
                "subquery": {
                    "table": "labellings",
                    "alias": "labels",
                    "related": [
                        {
                            "system": "client",
                            "correlation": to_label,
                            "subquery": {"table": "labels", "alias": "labels"},
                        }
                    ],
                },
            },
        ],
        "limit": 3,
        "orderBy": [["number_in_replica", "desc"]],
        "start": {"row": {"number_in_replica": 1, "key": 2}, "exclusive": True},
    }


def test_a_rule_is_added_to_the_root() -> None:
    """To what the query asks itself, with the claims of the caller."""
    shop = Shop(issue=OWN)
    assert shop.restricted(shop.tables.issue, U1)["where"] == OWN_OF_U1
    assert by_type(shop.restricted(shop.tables.issue.where("number", 1), U1)["where"], "and") == [
        simple("number_in_replica", "=", 1),
        OWN_OF_U1,
    ]
    found = shop.restricted(shop.tables.issue.where(lambda e: e.or_(e.cmp("number", 1), e.cmp("number", 2))), U1)
    assert [part["type"] for part in by_type(found["where"], "and")] == ["or", "simple"]


def test_one_of_several_rules_has_to_hold() -> None:
    """Those that never hold for the caller are left out, and one that always holds is enough."""
    shop = Shop(issue=[*OWN, {"flag": True}, {"$auth.role": "admin"}])
    found = shop.restricted(shop.tables.issue, U1)["where"]
    assert by_type(found, "or") == [OWN_OF_U1, simple("flag_in_replica", "=", True)]
    assert "where" not in shop.restricted(shop.tables.issue, {"sub": "u1", "role": "admin"})
    assert shop.restricted(shop.tables.issue)["where"] == simple("flag_in_replica", "=", True)


@pytest.mark.parametrize("rules", [{}, {"issue": []}, {"issue": [{"owner": "$auth.sub"}]}])
def test_without_a_rule_that_lets_the_caller_pass_there_is_no_row(rules: dict[str, Any]) -> None:
    """No rules, or a rule whose claim the caller does not have."""
    shop = Shop(**rules)
    assert shop.restricted(shop.tables.issue)["where"] == NO_ROW
    assert shop.restricted(shop.tables.issue.where("text", "a").related("members"))["where"] == NO_ROW
    assert shop.restricted(shop.tables.issue, {"sub": None})["where"] == NO_ROW


@pytest.mark.parametrize("claim", [{"a": 1}, ["u1"], {}])
def test_a_claim_that_cannot_be_compared_lets_no_one_pass(claim: Any) -> None:
    """As in `rules.matching`."""
    shop = Shop(issue=[{"owner": {"$ne": "$auth.sub"}}])
    assert shop.restricted(shop.tables.issue, {"sub": claim})["where"] == NO_ROW


def test_no_row_is_a_condition_that_zero_cache_keeps() -> None:
    """It takes an empty OR out before it compares queries, so that a query for no row would look like one for all rows."""
    assert NO_ROW == {
        "type": "simple",
        "left": {"type": "literal", "value": 0},
        "right": {"type": "literal", "value": 1},
        "op": "=",
    }
    shop = Shop(**OPEN)
    assert shop.restricted(shop.tables.issue.where(lambda e: e.or_()))["where"] == NO_ROW
    related = shop.restricted(shop.tables.issue.related("members", lambda m: m.where(lambda e: e.or_())))
    assert related["related"][0]["subquery"]["where"] == NO_ROW


def test_a_condition_that_always_holds_is_left_out() -> None:
    """For all rows there is one AST."""
    shop = Shop(**OPEN)
    assert shop.restricted(shop.tables.issue.where(lambda e: e.and_())) == {"table": "issues"}


def test_a_rule_is_added_to_related_rows() -> None:
    """At each step, with the rules of each table."""
    shop = Shop(issue=OWN, member=[{"user": "$auth.sub"}])
    found = shop.restricted(shop.tables.issue.related("members", lambda m: m.related("issue")), U1)
    members = found["related"][0]["subquery"]
    assert members["where"] == simple("user_in_replica", "=", "u1")
    assert members["related"][0]["subquery"]["where"] == OWN_OF_U1


def test_a_rule_is_added_to_the_rows_of_a_junction() -> None:
    """They are synced as well."""
    shop = Shop(issue=EVERYBODY, labelling=[{"labelId": 1}], label=[{"text": "a"}])
    found = shop.restricted(shop.tables.issue.related("labels"))
    junction = found["related"][0]["subquery"]
    assert junction["where"] == simple("labelId_in_replica", "=", 1)
    assert junction["related"][0]["subquery"]["where"] == simple("text_in_replica", "=", "a")
    without_rules = Shop(issue=EVERYBODY, label=EVERYBODY)
    hidden = without_rules.restricted(without_rules.tables.issue.related("labels"))
    assert hidden["related"][0]["subquery"]["where"] == NO_ROW


def test_a_rule_is_added_to_exists() -> None:
    """A row that the caller may not see does not count as there, and is not synced."""
    shop = Shop(issue=EVERYBODY, member=[{"user": "$auth.sub"}])
    query = shop.tables.issue.where_exists("members", lambda m: m.where("level", 1))
    subquery = shop.restricted(query, U1)["where"]["related"]["subquery"]
    assert by_type(subquery["where"], "and") == [
        simple("level_in_replica", "=", 1),
        simple("user_in_replica", "=", "u1"),
    ]


def test_a_rule_is_added_to_both_tables_of_an_exists_through_a_junction() -> None:
    """The junction's rule stands beside the inner EXISTS."""
    shop = Shop(issue=EVERYBODY, labelling=[{"labelId": 1}], label=[{"text": "a"}])
    junction = shop.restricted(shop.tables.issue.where_exists("labels"))["where"]["related"]["subquery"]
    inner, rule = by_type(junction["where"], "and")
    assert rule == simple("labelId_in_replica", "=", 1)
    assert inner["related"]["subquery"]["where"] == simple("text_in_replica", "=", "a")


def test_a_rule_is_added_to_not_exists() -> None:
    """Otherwise the query would tell that a hidden row is there."""
    shop = Shop(issue=EVERYBODY, member=[{"user": "$auth.sub"}])
    query = shop.tables.issue.where(lambda e: e.not_(e.exists("members")))
    found = shop.restricted(query, U1)["where"]
    assert found["op"] == "NOT EXISTS"
    assert found["related"]["subquery"]["where"] == simple("user_in_replica", "=", "u1")


def test_rows_of_a_table_without_rules_are_not_there() -> None:
    """EXISTS never holds, and NOT EXISTS always."""
    for rules in ({"issue": EVERYBODY, "label": EVERYBODY}, {"issue": EVERYBODY, "labelling": EVERYBODY}):
        shop = Shop(**rules)
        assert shop.restricted(shop.tables.issue.where_exists("labels"))["where"] == NO_ROW
        assert shop.restricted(shop.tables.issue.where(lambda e: e.not_(e.exists("labels")))) == {"table": "issues"}
        either = shop.tables.issue.where(lambda e: e.or_(e.exists("labels"), e.cmp("text", "a")))
        assert shop.restricted(either)["where"] == simple("text_in_replica", "=", "a")


def test_related_rows_that_a_rule_asks_about_are_not_synced() -> None:
    """They are of the system `permissions`, which zero-cache keeps to itself, and their own rules do not count."""
    shop = Shop(issue=[{"$exists": {"relationship": "members", "where": {"user": "$auth.sub"}}}])
    found = shop.restricted(shop.tables.issue, U1)["where"]
    assert found["related"]["system"] == "permissions"
    assert found["related"]["subquery"]["where"] == simple("user_in_replica", "=", "u1")


def test_what_the_query_asks_about_is_of_the_system_client() -> None:
    """So the client gets the rows with which it can run the query itself."""
    shop = Shop(**{**OPEN, "member": [{"$exists": {"relationship": "issue"}}]})
    query = shop.tables.issue.where_exists("members").related("labels")
    systems = [condition["related"]["system"] for condition, _ in exists_in(shop.restricted(query))]
    assert systems == ["client", "permissions"]


EXISTS = {"$exists": {"relationship": "members"}}
EXISTS_LABEL = {"$exists": {"relationship": "labels", "where": {"text": "a"}}}


@pytest.mark.parametrize(
    "rules",
    [
        [EXISTS, {"flag": True}],
        [EXISTS, EXISTS_LABEL],
        [{"$or": [EXISTS, {"flag": True}]}],
        [{"flag": True, "$or": [EXISTS_LABEL, {"number": 1, **EXISTS}]}],
        [{"$nor": [{"$nor": [EXISTS]}, {"$nor": [EXISTS, {"flag": True}]}]}],
        [{"$exists": {"relationship": "twins", "where": {"$or": [EXISTS, {"flag": True}]}}}],
    ],
)
@pytest.mark.parametrize("flip", [None, True, False])
def test_no_exists_under_an_or_may_be_flipped(rules: list[Any], flip: bool | None) -> None:
    """Whether it comes from the query, from a rule, or from `rule OR rule`: zero-cache 1.9.0 loses changes there."""
    shop = Shop(**{**OPEN, "issue": rules})
    for query in (
        shop.tables.issue,
        shop.tables.member.related("issue"),
        shop.tables.member.where_exists("issue", flip=flip),
        shop.tables.issue.where(lambda e: e.or_(e.exists("twins", flip=flip), e.cmp("text", "a"))),
        shop.tables.issue.where(lambda e: e.not_(e.and_(e.not_(e.exists("labels", flip=flip)), e.cmp("text", "a")))),
        shop.tables.issue.related("members", lambda m: m.where(lambda e: e.or_(e.exists("issue"), e.cmp("level", 1)))),
    ):
        found = list(exists_in(shop.restricted(query)))
        assert any(under_or for _, under_or in found)
        assert [condition for condition, under_or in found if under_or and condition.get("flip") is not False] == []


def test_one_rule_leaves_the_planner_its_choice() -> None:
    """An EXISTS that stands beside other conditions may be flipped."""
    shop = Shop(**{**OPEN, "issue": [EXISTS]})
    (rule, _), (own, _) = sorted(
        exists_in(shop.restricted(shop.tables.issue.where_exists("labels", flip=True).where("text", "a"))),
        key=lambda found: found[0]["related"]["system"],
        reverse=True,
    )[:2]
    assert "flip" not in rule
    assert own["flip"] is True


def test_a_not_exists_is_never_flipped() -> None:
    """Without its planner, zero-cache would make an EXISTS of it."""
    shop = Shop(**OPEN)
    for junction in ("members", "labels"):
        query = shop.tables.issue.where(lambda e, name=junction: e.not_(e.exists(name, flip=True)))
        assert shop.restricted(query)["where"]["flip"] is False
        either = shop.tables.issue.where(
            lambda e, name=junction: e.or_(e.cmp("text", "a"), e.not_(e.exists(name, flip=True)))
        )
        assert shop.restricted(either)["where"]["conditions"][1]["flip"] is False


def test_a_limit_inside_an_exists_is_left_out() -> None:
    """One row is enough for it. Where zero-cache begins at the related rows, it finds none of them under a limit."""
    shop = Shop(**OPEN)
    plain = shop.restricted(shop.tables.issue.where_exists("members"))
    assert shop.restricted(shop.tables.issue.where_exists("members", lambda m: m.limit(2))) == plain
    assert shop.restricted(shop.tables.issue.where_exists("members", lambda m: m.one())) == plain
    labels = shop.restricted(shop.tables.issue.where_exists("labels"))
    assert shop.restricted(shop.tables.issue.where_exists("labels", lambda label: label.one())) == labels
    none = shop.restricted(shop.tables.issue.where_exists("members", lambda m: m.limit(0)))
    assert none["where"]["related"]["subquery"]["limit"] == 0
    related = shop.restricted(shop.tables.issue.related("members", lambda m: m.limit(2)).limit(3))
    assert (related["limit"], related["related"][0]["subquery"]["limit"]) == (3, 2)


def test_a_rule_that_names_what_a_client_does_not_have_lets_no_one_pass() -> None:
    """The part of an app that one client sees lacks tables, and with them relationships."""
    shop = Shop(issue=[{"$exists": {"relationship": "nothing"}}, {"$nor": [{"$exists": {"relationship": "nothing"}}]}])
    assert shop.restricted(shop.tables.issue)["where"] == NO_ROW


def test_a_query_is_restricted_for_each_caller_anew() -> None:
    """Nothing of one caller stays for the next."""
    shop = Shop(issue=OWN)
    query = shop.tables.issue.related("twins")
    first = shop.restricted(query, U1)
    assert shop.restricted(query, {"sub": "u2"})["where"] == simple("owner_in_replica", "=", "u2")
    assert shop.restricted(query)["where"] == NO_ROW
    assert shop.restricted(query, U1) == first
    assert query.ast == shop.tables.issue.related("twins").ast


def test_each_query_of_a_caller_keeps_what_is_its_own() -> None:
    """What is worked out for one related query is not taken for another."""
    shop = Shop(**OPEN)
    restricted = Restriction(shop.scope).for_caller({})

    def level_asked_for(level: int) -> Any:
        query = shop.tables.issue.related("members", lambda m: m.where("level", level))
        return restricted(query.ast)["related"][0]["subquery"]["where"]["right"]["value"]

    assert [level_asked_for(level) for level in range(200)] == list(range(200))


def test_relationships_that_look_alike_keep_the_columns_of_their_tables() -> None:
    """Two tables have a relationship of the same name to the same columns, from columns that the replica calls otherwise."""
    shop = Shop(**OPEN)
    definition = shop.scope.app
    key, *others = ISSUE.columns
    ticket = replace(ISSUE, name="ticket", server_name="tickets", columns=(replace(key, server_name="number"), *others))
    scope = RuleScope(
        replace(
            definition,
            tables=(*definition.tables, replace(ticket, permissions=definition.tables[0].permissions)),
            relationships={**definition.relationships, "ticket": definition.relationships["issue"]},
        )
    )
    tables, restricted = Tables(scope), Restriction(scope).for_caller({})
    parents = [
        restricted(query.related("members").ast)["related"][0]["correlation"]["parentField"]
        for query in (tables.issue, tables.ticket)
    ]
    assert parents == [["key"], ["number"]]
