"""changesource/queries/tracing.py"""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from changesource.queries.builder import Query, Tables
from changesource.queries.registry import Caller, Registry, query
from changesource.queries.tracing import Trace, find_trace_problems, trace
from tests.rules.schema import SCOPE

TABLES = Tables(SCOPE)


class Arguments(BaseModel):
    text: str
    path: str
    anchor: str
    get: str
    op: str
    row: dict[str, Any]
    names: list[str]


def traced(make: Callable[[Tables, Arguments, Caller], Query]) -> Trace:
    registry = Registry()

    def function(q: Tables, args: Arguments, caller: Caller) -> Query:
        return make(q, args, caller)

    query("it", app="shop", registry=registry)(function)
    return trace(registry.of_app("shop")["it"], TABLES)


def parameter(anchor: str, *path: str) -> dict[str, Any]:
    return {"type": "parameter", "anchor": anchor, "path": list(path)}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda q, args, caller: q.issue.where("text", args.text), parameter("args", "text")),
        (lambda q, args, caller: q.issue.where("text", args.path), parameter("args", "path")),
        (lambda q, args, caller: q.issue.where("text", args.anchor), parameter("args", "anchor")),
        (lambda q, args, caller: q.issue.where("text", args.get), parameter("args", "get")),
        (lambda q, args, caller: q.issue.where("text", "LIKE", args.text), parameter("args", "text")),
        (lambda q, args, caller: q.issue.where("text", "IN", args.names), parameter("args", "names")),
        (lambda q, args, caller: q.issue.where("owner", caller.user_id), parameter("caller", "user_id")),
        (lambda q, args, caller: q.issue.where("owner", caller.claims["sub"]), parameter("caller", "claims", "sub")),
        (
            lambda q, args, caller: q.issue.where("owner", caller.claims.get("sub")),
            parameter("caller", "claims", "sub"),
        ),
        (
            lambda q, args, caller: q.issue.where(lambda e: e.cmp_lit("admin", "IN", caller.claims["roles"])),
            parameter("caller", "claims", "roles"),
        ),
        (
            lambda q, args, caller: q.issue.where(lambda e: e.cmp_lit(args.text, "LIKE", caller.claims["name"])),
            parameter("caller", "claims", "name"),
        ),
    ],
)
def test_a_value_that_is_not_known_leaves_its_place(make: Callable[..., Query], expected: dict[str, Any]) -> None:
    """An argument may have any name."""
    found = traced(make)
    assert (found.problem, found.unknown) == ("", "")
    assert found.ast is not None
    assert found.ast["where"]["right"] == expected


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda q, args, caller: q.issue if args.text else q.member, "args.text"),
        (lambda q, args, caller: q.issue if args.text == "a" else q.member, "args.text"),
        (lambda q, args, caller: q.issue.where("text", f"%{args.text}%"), "args.text"),
        (lambda q, args, caller: q.issue.where("text", args.text.lower()), "args.text.lower"),
        (lambda q, args, caller: q.issue.where("text", args.op, "a"), "args.op"),
        (lambda q, args, caller: q.issue.where(args.text, "a"), "args.text"),
        (lambda q, args, caller: q.issue.order_by("text", args.text), "args.text"),
        (lambda q, args, caller: q.issue.start(args.row), "args.row"),
        (lambda q, args, caller: q.issue.where(lambda e: e.cmp_lit("a", args.op, "a")), "args.op"),
        (
            lambda q, args, caller: q.issue.where("text", "a" if "x" in caller.claims["roles"] else ""),
            "caller.claims.roles",
        ),
    ],
)
def test_a_function_that_has_to_know_a_value_cannot_be_traced(make: Callable[..., Query], what: str) -> None:
    """Which is no problem of the function. It is said what it has to know."""
    assert traced(make) == Trace(unknown=f"It depends on the value of {what}.")


def test_a_name_that_the_app_does_not_have_is_a_problem() -> None:
    """Whatever the values are."""
    assert traced(lambda q, args, caller: q.isue).problem == "There is no table 'isue'. Did you mean 'issue'?"
    found = traced(lambda q, args, caller: q.issue.where("data", args.text))
    assert found.problem == "'data': a json column can only be compared with null."


def test_a_function_without_return_is_a_problem() -> None:
    assert traced(lambda q, args, caller: None).problem == "The function returned no query."  # type: ignore[arg-type,return-value]


def test_problems_name_the_function() -> None:
    """Those of one app."""
    registry = Registry()
    query("good", app="shop", registry=registry)(lambda q: q.issue)
    query("bad", app="shop", registry=registry)(lambda q: q.isue)
    query("of.another", app="blog", registry=registry)(lambda q: q.isue)
    (problem,) = find_trace_problems(SCOPE.app, registry)
    assert problem == (
        "bad, which is tests.queries.test_tracing.test_problems_name_the_function.<locals>.<lambda>: "
        "There is no table 'isue'. Did you mean 'issue'?"
    )
