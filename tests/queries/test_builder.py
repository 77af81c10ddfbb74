"""changesource/queries/builder.py"""

import math
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

import pytest

from changesource.queries.builder import Expressions, Query, Tables
from changesource.queries.errors import InvalidQuery
from changesource.rules.checks import RuleScope
from tests.rules.schema import ISSUE, RELATIONSHIPS, app, column, connection, key

AWKWARD = replace(ISSUE, name="my-class", server_name="t", columns=(key(), column("is-it", "boolean")))
SCOPE = RuleScope(
    replace(
        app(
            {**RELATIONSHIPS, "member": {**RELATIONSHIPS["member"], "zsubq_x": [connection("issueId", "issue", "id")]}}
        ),
        tables=(*app().tables, AWKWARD),
    )
)
Q = Tables(SCOPE)


def simple(name: str, operator: str, value: Any) -> dict[str, Any]:
    left, right = {"type": "column", "name": name}, {"type": "literal", "value": value}
    return {"type": "simple", "left": left, "right": right, "op": operator}


def condition(make: Callable[[Expressions], Any], table: str = "issue") -> Any:
    return make(Expressions(SCOPE, SCOPE.tables[table]))


A, B, C = simple("text", "=", "a"), simple("number", ">", 1), simple("flag", "IS NOT", None)
TRUE: dict[str, Any] = {"type": "and", "conditions": []}
FALSE: dict[str, Any] = {"type": "or", "conditions": []}
CORRELATION = {"parentField": ["id"], "childField": ["issueId"]}
"""Of members, and of the junction of labels."""
TO_LABEL = {"parentField": ["labelId"], "childField": ["id"]}


# Queries


def test_a_query_begins_at_a_table() -> None:
    """By attribute or by name."""
    assert Q.issue.ast == Q["issue"].ast == {"table": "issue"}


def test_names_that_python_cannot_spell_are_written_in_brackets() -> None:
    """Tables this way, and columns as texts anyway."""
    assert Q["my-class"].where("is-it", True).ast == {"table": "my-class", "where": simple("is-it", "=", True)}


def test_where_compares_a_column() -> None:
    """With a value, or with an operator and a value."""
    assert Q.issue.where("text", "a").ast["where"] == A
    assert Q.issue.where("number", ">", 1).ast["where"] == B
    assert Q.issue.where("flag", "IS NOT", None).ast["where"] == C


def test_a_value_that_reads_like_an_operator_is_a_value() -> None:
    """With two arguments, the second is the value."""
    assert Q.issue.where("text", "IN").ast["where"] == simple("text", "=", "IN")


def test_several_conditions_have_to_hold_together() -> None:
    """In one flat condition."""
    query = Q.issue.where("text", "a").where("number", ">", 1).where(lambda e: e.cmp("flag", "IS NOT", None))
    assert query.ast["where"] == {"type": "and", "conditions": [A, B, C]}


def test_a_query_never_changes() -> None:
    """Each method returns another one."""
    start = Q.issue.where("text", "a")
    for changed in (
        start.where("number", 1),
        start.related("members"),
        start.where_exists("labels"),
        start.order_by("text"),
        start.limit(1),
        start.one(),
        start.start({"id": 1}),
    ):
        assert changed.ast != start.ast
    assert start.ast == {"table": "issue", "where": A}


def test_order_limit_and_start() -> None:
    """Each order comes after the earlier ones, and the last limit and start count."""
    query = Q.issue.order_by("text").order_by("number", "desc").limit(5).limit(0).start({"text": None, "id": 3})
    assert query.ast == {
        "table": "issue",
        "orderBy": [["text", "asc"], ["number", "desc"]],
        "limit": 0,
        "start": {"row": {"text": None, "id": 3}, "exclusive": True},
    }
    assert query.start({"id": 1}, inclusive=True).ast["start"] == {"row": {"id": 1}, "exclusive": False}


def test_one_keeps_the_first_row() -> None:
    """As a limit of 1."""
    assert Q.issue.one().ast == {"table": "issue", "limit": 1}


# Related rows


def test_related_follows_a_connection() -> None:
    """Its subquery is called like the relationship."""
    assert Q.issue.related("members", lambda m: m.where("level", 1).order_by("user").limit(2)).ast["related"] == [
        {
            "system": "client",
            "correlation": CORRELATION,
            "subquery": {
                "table": "member",
                "alias": "members",
                "where": simple("level", "=", 1),
                "orderBy": [["user", "asc"]],
                "limit": 2,
            },
        }
    ]


def test_related_follows_a_junction() -> None:
    """The rows of the junction are hidden in the result."""
    assert Q.issue.related("labels", lambda label: label.where("text", "a")).ast["related"] == [
        {
            "system": "client",
            "correlation": CORRELATION,
            "hidden": True,
            "subquery": {
                "table": "labelling",
                "alias": "labels",
                "related": [
                    {
                        "system": "client",
                        "correlation": TO_LABEL,
                        "subquery": {"table": "label", "alias": "labels", "where": A},
                    }
                ],
            },
        }
    ]


def test_related_rows_can_be_nested_and_come_in_order() -> None:
    """In the order of the calls."""
    ast = Q.issue.related("members", lambda m: m.related("issue")).related("twins").ast
    assert [step["subquery"]["alias"] for step in ast["related"]] == ["members", "twins"]
    assert ast["related"][0]["subquery"]["related"][0]["subquery"] == {"table": "issue", "alias": "issue"}


def test_exists_follows_a_connection() -> None:
    """Its subquery has Zero's prefix."""
    expected = {
        "type": "correlatedSubquery",
        "related": {
            "system": "client",
            "correlation": CORRELATION,
            "subquery": {"table": "member", "alias": "zsubq_members", "where": simple("user", "=", "u1")},
        },
        "op": "EXISTS",
    }
    assert condition(lambda e: e.exists("members", lambda m: m.where("user", "u1"))) == expected
    assert Q.issue.where_exists("members", lambda m: m.where("user", "u1")).ast["where"] == expected
    assert condition(lambda e: e.exists("members", lambda m: m.where("user", "u1"), flip=True)) == {
        **expected,
        "flip": True,
    }


def test_exists_follows_a_junction() -> None:
    """With a condition on the junction's rows, and `flip` on both."""
    found = condition(lambda e: e.exists("labels", flip=False))
    assert found == {
        "type": "correlatedSubquery",
        "related": {
            "system": "client",
            "correlation": CORRELATION,
            "subquery": {
                "table": "labelling",
                "alias": "zsubq_labels",
                "where": {
                    "type": "correlatedSubquery",
                    "related": {
                        "system": "client",
                        "correlation": TO_LABEL,
                        "subquery": {"table": "label", "alias": "zsubq_zhidden_labels"},
                    },
                    "op": "EXISTS",
                    "flip": False,
                },
            },
        },
        "op": "EXISTS",
        "flip": False,
    }


# Conditions


def test_and_and_or_leave_out_what_changes_nothing() -> None:
    """Conditions that are None, and those that always or never hold."""
    assert condition(lambda e: e.and_(A, None, e.and_(), B)) == {"type": "and", "conditions": [A, B]}
    assert condition(lambda e: e.or_(A, None, e.or_(), B)) == {"type": "or", "conditions": [A, B]}
    assert condition(lambda e: e.and_(None, A)) == condition(lambda e: e.or_(None, A)) == A
    assert condition(lambda e: e.and_(None)) == condition(lambda e: e.and_()) == TRUE
    assert condition(lambda e: e.or_(None)) == condition(lambda e: e.or_()) == FALSE
    assert condition(lambda e: e.and_(A, e.or_())) == FALSE
    assert condition(lambda e: e.or_(A, e.and_())) == TRUE


def test_where_makes_a_condition_flat() -> None:
    """At each depth."""
    nested = Q.issue.where(lambda e: e.and_(e.and_(A, e.and_(B, C)), e.or_(A, e.or_(B, C))))
    assert nested.ast["where"] == {"type": "and", "conditions": [A, B, C, {"type": "or", "conditions": [A, B, C]}]}


@pytest.mark.parametrize(
    ("operator", "opposite"),
    [
        ("=", "!="),
        ("IS", "IS NOT"),
        ("<", ">="),
        (">", "<="),
        ("LIKE", "NOT LIKE"),
        ("ILIKE", "NOT ILIKE"),
        ("IN", "NOT IN"),
    ],
)
def test_not_takes_the_opposite_operator(operator: str, opposite: str) -> None:
    """Of each comparison, and back."""
    value: Any = ["a"] if "IN" in operator.split() else "a"
    one, other = simple("text", operator, value), simple("text", opposite, value)
    assert condition(lambda e: e.not_(one)) == other
    assert condition(lambda e: e.not_(other)) == one


def test_not_of_and_is_or() -> None:
    """De Morgan's laws, and NOT EXISTS."""
    found = condition(lambda e: e.not_(e.and_(A, e.or_(B, e.exists("members")))))
    exists = condition(lambda e: e.exists("members"))
    assert found == {
        "type": "or",
        "conditions": [
            simple("text", "!=", "a"),
            {"type": "and", "conditions": [simple("number", "<=", 1), {**exists, "op": "NOT EXISTS"}]},
        ],
    }
    assert condition(lambda e: e.not_(e.and_())) == FALSE


def test_comparisons_follow_sql() -> None:
    """So nothing is said about null by itself: null is compared as a value, which only IS finds."""
    assert condition(lambda e: e.cmp("text", None)) == simple("text", "=", None)
    assert condition(lambda e: e.cmp("text", "!=", None)) == simple("text", "!=", None)
    assert condition(lambda e: e.not_(e.cmp("text", "IS", None))) == simple("text", "IS NOT", None)
    assert condition(lambda e: e.cmp("data", "IS", None)) == simple("data", "IS", None)


def test_lists_may_be_tuples() -> None:
    """Both become JSON arrays."""
    assert condition(lambda e: e.cmp("number", "IN", (1, 2.5))) == simple("number", "IN", [1, 2.5])
    assert condition(lambda e: e.cmp("number", "NOT IN", [])) == simple("number", "NOT IN", [])
    assert condition(lambda e: e.cmp_lit("a", "IN", ("a",)))["right"] == {"type": "literal", "value": ["a"]}


def test_values_that_no_column_has_are_compared_with_each_other() -> None:
    """Claims and arguments."""
    assert condition(lambda e: e.cmp_lit("admin", "IN", ["admin", "owner"])) == {
        "type": "simple",
        "left": {"type": "literal", "value": "admin"},
        "right": {"type": "literal", "value": ["admin", "owner"]},
        "op": "IN",
    }
    assert condition(lambda e: e.cmp_lit(None, "IS", None))["op"] == "IS"
    assert condition(lambda e: e.cmp_lit(1, "=", "1"))["op"] == "="
    assert condition(lambda e: e.cmp_lit(1, "<", 1.5))["op"] == "<"
    assert condition(lambda e: e.cmp_lit(None, "LIKE", "a"))["op"] == "LIKE"


def test_a_backslash_in_a_pattern_escapes_the_next_character() -> None:
    """So a pattern may end with two of them."""
    assert condition(lambda e: e.cmp("text", "LIKE", "a\\\\"))["right"]["value"] == "a\\\\"
    assert condition(lambda e: e.cmp("text", "ILIKE", "\\%"))["right"]["value"] == "\\%"


class Word(StrEnum):
    A = "a"


def test_members_of_enumerations_are_their_values() -> None:
    """Pydantic gives them for arguments."""
    assert Q.issue.where("text", Word.A).ast["where"] == A


# Refusals

ONLY_SCALARS = "compare with a string, a number, true or false, or null."
NOT_ITS_QUERY = "The function for 'members' returns the query that it was given."


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Q.isue, "There is no table 'isue'. Did you mean 'issue'?"),
        (lambda: Q["_scop"], "There is no table '_scop'."),
        (lambda: Q["__proto__"], "There is no table '__proto__'."),
        (
            lambda: Q.issue.where("text"),
            "where takes a column and a value, a column, an operator and a value, or a function.",
        ),
        (lambda: Q.issue.where("txt", 1), "The table 'issue' has no column 'txt'. Did you mean 'text'?"),
        (lambda: Q.issue.where("text_in_replica", 1), "The table 'issue' has no column 'text_in_replica'."),
        (lambda: Q.issue.where({"text": "a"}, 1), "The table 'issue' has no column {'text': 'a'}."),
        (
            lambda: Q.issue.where("text", "==", "a"),
            "'text': '==' is not an operator. There are !=, <, <=, =, >, >=, ILIKE, IN, IS, IS NOT, LIKE, NOT ILIKE, "
            "NOT IN, NOT LIKE.",
        ),
        (lambda: Q.issue.where("text", "in", ["a"]), "'text': 'in' is not an operator."),
        (lambda: Q.issue.where("text", ["="], "a"), "'text': ['='] is not an operator."),
        (lambda: Q.issue.where("text", None, "a"), "'text': None is not an operator."),
        (lambda: Q.issue.where("text", 5), "'text': a string column is never compared with a number."),
        (lambda: Q.issue.where("number", True), "'number': a number column is never compared with a boolean."),
        (lambda: Q.issue.where("flag", 1), "'flag': a boolean column is never compared with a number."),
        (lambda: Q.issue.where("data", "{}"), "'data': a json column can only be compared with null."),
        (lambda: Q.issue.where("data", "IN", ["a"]), "'data': a json column can only be compared with null."),
        (lambda: Q.issue.where("number", "LIKE", "1%"), "'number': LIKE compares text, and this is a number column."),
        (lambda: Q.issue.where("text", "IN", "a"), "'text': IN takes a list."),
        (lambda: Q.issue.where("text", "NOT IN", {"a"}), "'text': NOT IN takes a list."),
        (
            lambda: Q.issue.where("text", "IN", ["a", None]),
            "'text': IN never finds null. Compare with IS and null.",
        ),
        (lambda: Q.issue.where("text", "IN", ["a", 1]), "'text': a string column is never compared with a number."),
        (lambda: Q.issue.where("text", "IN", [["a"]]), f"'text': {ONLY_SCALARS}"),
        (lambda: Q.issue.where("text", ["a"]), f"'text': {ONLY_SCALARS}"),
        (lambda: Q.issue.where("text", {"$ne": 1}), f"'text': {ONLY_SCALARS}"),
        (lambda: Q.issue.where("text", {"toStaticParam": 1}), f"'text': {ONLY_SCALARS}"),
        (lambda: Q.issue.where("text", b"a"), f"'text': {ONLY_SCALARS}"),
        (
            lambda: Q.issue.where("text", "\ud800"),
            "'text': the text has half a surrogate pair, which is not a character.",
        ),
        (lambda: Q.issue.where("number", 2**53), "'number': no number column holds integers beyond ±(2^53 - 1)."),
        (lambda: Q.issue.where("number", math.nan), "'number': a number column holds finite numbers only."),
        (lambda: Q.issue.where("number", "IN", [-math.inf]), "'number': a number column holds finite numbers only."),
        (
            lambda: Q.issue.where("text", "LIKE", "a\\"),
            "'text': a pattern ends with a backslash, which has nothing to escape. Write two of them for one.",
        ),
        (lambda: Q.issue.where("text", "NOT ILIKE", "\\\\\\"), "'text': a pattern ends with a backslash"),
        (lambda: Q.issue.where(lambda _: "text"), "A condition comes from cmp, and_, or_, not_ or exists."),
        (lambda: Q.issue.where(lambda _: {"type": "x"}), "A condition comes from cmp, and_, or_, not_ or exists."),
        (lambda: Q.issue.where(lambda _: None), "A condition comes from cmp, and_, or_, not_ or exists."),
        (lambda: Q.issue.where("text", "a").where(lambda _: None), "A condition comes from cmp, and_, or_, not_"),
        (lambda: Q.issue.where(lambda e: e.not_(None)), "A condition comes from cmp, and_, or_, not_ or exists."),
        (lambda: Q.issue.where(lambda e: e.and_(A, Q.issue)), "A condition comes from cmp, and_, or_, not_ or exists."),
        (
            lambda: Q.issue.related("member"),
            "The table 'issue' has no relationship 'member'. Did you mean 'members'?",
        ),
        (lambda: Q.label.related("issues"), "The table 'label' has no relationship 'issues'."),
        (lambda: Q.issue.where_exists("nothing"), "The table 'issue' has no relationship 'nothing'."),
        (
            lambda: Q.member.related("zsubq_x"),
            "The name of a relationship must not begin with 'zsubq_', which Zero reserves.",
        ),
        (lambda: Q.issue.related("members", lambda _: Q.member), NOT_ITS_QUERY),
        (lambda: Q.issue.related("members", lambda m: m.ast), NOT_ITS_QUERY),
        (lambda: Q.issue.related("members", lambda m: m.related), NOT_ITS_QUERY),
        (lambda: Q.issue.related("members", lambda _: None), NOT_ITS_QUERY),
        (lambda: Q.issue.where_exists("members", lambda _: Q.member.where("user", "a")), NOT_ITS_QUERY),
        (
            lambda: Q.issue.related("labels", lambda _: Q.label),
            "The function for 'labels' returns the query that it was given.",
        ),
        (
            lambda: Q.issue.where_exists("labels", lambda _: Q.label),
            "The function for 'labels' returns the query that it was given.",
        ),
        (
            lambda: Q.issue.where_exists("members", lambda m: m.related("issue")),
            "exists 'members': the query of an exists has no related.",
        ),
        (
            lambda: Q.issue.where_exists("members", lambda m: m.start({"id": 1})),
            "exists 'members': the query of an exists has no start.",
        ),
        (lambda: Q.issue.order_by("txt"), "The table 'issue' has no column 'txt'. Did you mean 'text'?"),
        (lambda: Q.issue.order_by("text", "ASC"), "order_by 'text': the direction is asc or desc."),
        (lambda: Q.issue.order_by("text", None), "order_by 'text': the direction is asc or desc."),
        (lambda: Q.issue.order_by("data"), "order_by 'data': a json column has no order. Sort by another."),
        (
            lambda: Q.issue.related("labels", lambda label: label.order_by("text")),
            "order_by: Zero does not support it behind the junction of the relationship 'labels'.",
        ),
        (
            lambda: Q.issue.where_exists("labels", lambda label: label.limit(1)),
            "limit: Zero does not support it behind the junction of the relationship 'labels'.",
        ),
        *[
            (lambda count=count: Q.issue.limit(count), "A limit is a whole number from 0 to 2,147,483,647.")
            for count in (-1, 2**31, 1.0, True, "1", None, math.nan)
        ],
        (lambda: Q.issue.start({"nothing": 1}), "The table 'issue' has no column 'nothing'."),
        (lambda: Q.issue.start({"text": 1}), "'text': a string column is never compared with a number."),
        (lambda: Q.issue.start({"data": "{}"}), "'data': a json column can only be compared with null."),
        (lambda: Q.issue.start([["text", "a"]]), "start takes a row: a value for each column that the query sorts by."),
        (lambda: condition(lambda e: e.cmp_lit(1, "~", 1)), "'~' is not an operator."),
        (lambda: condition(lambda e: e.cmp_lit(1, ["="], 1)), "['='] is not an operator."),
        (
            lambda: condition(lambda e: e.cmp_lit(1, "=", [1])),
            "cmp_lit: IN and NOT IN take a list on the right, and other operators do not.",
        ),
        (
            lambda: condition(lambda e: e.cmp_lit("a", "IN", "abc")),
            "cmp_lit: IN and NOT IN take a list on the right, and other operators do not.",
        ),
        (lambda: condition(lambda e: e.cmp_lit(["a"], "IN", ["a"])), f"cmp_lit: {ONLY_SCALARS}"),
        (
            lambda: condition(lambda e: e.cmp_lit("a", "IN", ["a", None])),
            "cmp_lit: IN never finds null. Compare with IS and null.",
        ),
        (lambda: condition(lambda e: e.cmp_lit({"a": 1}, "=", 1)), f"cmp_lit: {ONLY_SCALARS}"),
        (lambda: condition(lambda e: e.cmp_lit(1, "IN", [{}])), f"cmp_lit: {ONLY_SCALARS}"),
        (lambda: condition(lambda e: e.cmp_lit(1, "<", "a")), "cmp_lit: a number and a string have no order."),
        (lambda: condition(lambda e: e.cmp_lit(True, ">=", 1)), "cmp_lit: a boolean and a number have no order."),
        (lambda: condition(lambda e: e.cmp_lit(1, "LIKE", "1")), "cmp_lit: LIKE compares text."),
        (lambda: condition(lambda e: e.cmp_lit("1", "NOT LIKE", 1)), "cmp_lit: NOT LIKE compares text."),
        (lambda: condition(lambda e: e.cmp_lit("a", "LIKE", "\\")), "cmp_lit: a pattern ends with a backslash"),
        (lambda: condition(lambda e: e.cmp_lit(math.inf, "=", 1)), "cmp_lit: a number column holds finite numbers"),
    ],
)
def test_what_typescript_would_refuse_is_refused(make: Callable[[], object], message: str) -> None:
    """And what zero-cache could not run. The message says what to write instead."""
    with pytest.raises(InvalidQuery) as refused:
        make()
    assert refused.value.message.startswith(message)


def test_python_may_ask_for_names_of_its_own() -> None:
    """Which are no tables."""
    assert not hasattr(Q, "__wrapped__")
    assert isinstance(Q.issue, Query)
