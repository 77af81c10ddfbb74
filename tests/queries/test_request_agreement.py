"""Requests for named queries are answered as @rocicorp/zero's `handleQueryRequest` answers them, without rules, but for

- texts of messages that are for people. A name that is not there gets the nearest one, and Pydantic has its own words;
- `details` that give the name of JavaScript's class of an error;
- `queryIDs` of a request that cannot be read: the ids that could be read, so that zero-cache knows whom to tell. There are
  none in Zero's answers;
- members of requests that the protocol does not have: they are left alone, so that a newer zero-cache may send them;
- `null` as the argument: it means none, as it does for mutators, where Zero's own client sends it for none;
- the number of queries in a request, which is limited, and what Python's JSON cannot read: tests/protocol/test_transforms.py;
- `flip`, limits inside an EXISTS, and constants in ASTs: test_builder_agreement.py.
"""

import json
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, create_model

from changesource.errors import InvalidTransform
from changesource.protocol.transforms import parse_transform, query_response, transform_failed
from changesource.queries.builder import Query, Tables
from changesource.queries.registry import Caller, Registry, query
from changesource.queries.transform import Transformer, replica_tables
from changesource.rules.checks import RuleScope
from tests.examples import examples
from tests.node.tools import ToolError, handle_query_requests
from tests.queries.programs import RICH, build, zero_schema
from tests.queries.shop import with_open_rules
from tests.queries.test_builder_agreement import comparable as comparable_ast
from tests.rules.schema import app

SCOPE = RuleScope(with_open_rules(app(RICH)))

QUERIES: dict[str, Any] = {
    "all": {"program": {"table": "issue", "steps": []}, "arguments": None},
    "issues.mine": {
        "program": {
            "table": "issue",
            "steps": [
                ["where", ["and", [["cmp", "owner", {"$arg": "owner"}], ["cmp", "flag", "IS NOT", {"$arg": "flag"}]]]],
                ["related", "members", [["orderBy", "level", "desc"], ["limit", 3]]],
                ["related", "labels", None],
            ],
        },
        "arguments": {"owner": {"type": "string"}, "flag": {"type": "boolean", "default": False}},
    },
    "issues.labelled.with": {
        "program": {
            "table": "issue",
            "steps": [
                ["whereExists", "labels", [["whereColumn", "text", {"$arg": "text"}]], False],
                ["orderBy", "number", "asc"],
                ["start", {"number": {"$arg": "number"}}, True],
            ],
        },
        "arguments": {"text": {"type": "string", "default": "a"}, "number": {"type": "number", "default": 0}},
    },
    "members.few": {
        "program": {"table": "member", "steps": [["limit", {"$arg": "count"}], ["whereExists", "same", None, None]]},
        "arguments": {"count": {"type": "number"}},
    },
}
TYPES = {"string": str, "boolean": bool, "number": float}


def filled(value: Any, args: BaseModel) -> Any:
    match value:
        case {"$arg": name}:
            found = getattr(args, name)
            # A JavaScript number without a fraction is an integer.
            return int(found) if isinstance(found, float) and found.is_integer() else found
        case dict():
            return {name: filled(member, args) for name, member in value.items()}
        case list():
            return [filled(member, args) for member in value]
        case _:
            return value


def registry_of(queries: dict[str, Any]) -> Registry:
    registry = Registry()
    for name, declared in queries.items():
        _declare(registry, name, declared["program"], declared["arguments"])
    return registry


def _declare(registry: Registry, name: str, program: Any, arguments: dict[str, Any] | None) -> None:
    if arguments is None:

        def without_arguments(q: Tables) -> Query:
            return build(q, program)

        query(name, app="shop", registry=registry)(without_arguments)
        return
    fields: dict[str, Any] = {each: (TYPES[spec["type"]], spec.get("default", ...)) for each, spec in arguments.items()}
    model = create_model("Arguments", __config__=ConfigDict(strict=True), **fields)

    def with_arguments(q: Tables, args: BaseModel) -> Query:
        return build(q, filled(program, args))

    with_arguments.__annotations__["args"] = model
    query(name, app="shop", registry=registry)(with_arguments)


TRANSFORMER = Transformer(SCOPE.app, [replica_tables(SCOPE.app)], registry_of(QUERIES))


def answered(body: str, user_id: str | None) -> Any:
    """Our answer to a request."""
    try:
        queries = parse_transform(body.encode())
    except InvalidTransform as error:
        return json.loads(transform_failed(error))
    return json.loads(
        query_response(user_id, [each.answer for each in TRANSFORMER.transform(queries, Caller(user_id))])
    )


# Requests

_texts = st.text(st.characters(codec="utf-8"), max_size=5)
_scalars = st.none() | st.booleans() | st.sampled_from([0, 1, -2, 1.5, 10, "", "a", "u1", "=", "$ne"]) | _texts
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2), max_leaves=4
)
_names = st.sampled_from([*QUERIES, *QUERIES, *(name.replace(".", "|") for name in QUERIES)])
_unknown_names = st.sampled_from(
    ["", "issues", "issues.mine.x", "issues..mine", "al", "__proto__", "constructor", "x.y"]
)
_fitting = st.fixed_dictionaries(
    {"owner": st.sampled_from(["u1", "", "😀"]), "count": st.sampled_from([0, 1, 5])},
    optional={"flag": st.booleans(), "text": st.sampled_from(["a", "%"]), "number": st.sampled_from([0, 1.5])},
)
_arguments = (
    _fitting | _fitting | st.dictionaries(st.sampled_from(["owner", "flag", "text", "number", "count"]), _scalars)
)
_args = st.one_of(
    st.just([]),
    _arguments.map(lambda each: [each]),
    _json.map(lambda each: [each]),
    st.lists(_json, min_size=2, max_size=2),
)
_queries = st.fixed_dictionaries({"id": _texts, "name": _names | _names | _names | _unknown_names, "args": _args})
_not_queries = st.one_of(
    _json,
    st.fixed_dictionaries({"id": _scalars, "name": _scalars, "args": _json}),
    st.fixed_dictionaries({}, optional={"id": _texts, "name": _texts, "args": _args}),
)
_requests = st.one_of(
    *[st.tuples(st.just("transform"), st.lists(_queries, max_size=5)).map(list)] * 6,
    st.tuples(st.just("transform"), st.lists(_queries | _not_queries, max_size=3)).map(list),
    st.tuples(st.sampled_from(["transform", "push", None]), _json).map(list),
    _json,
)
_bodies = _requests.map(json.dumps) | st.sampled_from(["", "[", '["transform",[]', "{]", '["transform",[NaN]]', "nul"])


@given(st.lists(st.tuples(_bodies, st.none() | st.sampled_from(["u1", ""])), min_size=4, max_size=4))
@settings(max_examples=examples(300))
def test_requests_are_answered_as_by_zero(requests: list[tuple[str, str | None]]) -> None:
    """But for what is listed above."""
    ours = [answered(body, user_id) for body, user_id in requests]
    found = handle_query_requests(
        schema=zero_schema(SCOPE),
        queries=QUERIES,
        answers=ours,
        requests=[{"body": without_null(body), "userID": user_id} for body, user_id in requests],
    )
    normalized, theirs = found[: len(ours)], found[len(ours) :]
    for our, their in zip(normalized, theirs, strict=True):
        event(our["kind"])
        assert comparable(our) == comparable(their)


def without_null(body: str) -> str:
    """The request with no argument where it is null."""
    try:
        request = json.loads(body)
    except ValueError:
        return body
    match request:
        case ["transform", list() as queries]:
            for each in queries:
                match each:
                    case {"args": [None, *_]}:
                        each["args"] = []
            return json.dumps(request)
        case _:
            return body


def comparable(answer: Any) -> Any:
    """An answer without what is listed above."""
    if answer["kind"] == "TransformFailed":
        assert answer["message"].startswith("Failed to parse ")
        return {**answer, "message": "", "queryIDs": [], "details": None}
    return {**answer, "queries": [_comparable(each) for each in answer["queries"]]}


def _comparable(answer: Any) -> Any:
    if "error" not in answer:
        return comparable_ast(answer)
    event(answer["message"].split(" ")[0])
    details = answer.pop("details", {})
    if "type" in details:
        assert details["type"] == "InputValidationError"
        paths = sorted(issue["path"] for issue in details["result"]["issues"])
        return {**answer, "message": answer["message"].split(": ")[0], "details": paths}
    return {**answer, "message": ""}


def test_what_zero_does_not_know_is_left_alone() -> None:
    """It answers such a request with a failure."""
    body = json.dumps(["transform", [{"id": "1", "name": "all", "args": [], "later": 1}]])
    assert [each["id"] for each in answered(body, None)["queries"]] == ["1"]
    (theirs,) = handle_query_requests(
        schema=zero_schema(SCOPE), queries=QUERIES, requests=[{"body": body, "userID": None}]
    )
    assert theirs["kind"] == "TransformFailed"


def test_an_answer_that_zero_cache_cannot_read_is_found() -> None:
    """By the tool, or the test above would say nothing."""
    answer = {"kind": "QueryResponse", "userID": None, "queries": [{"id": "1", "name": "a", "ast": {"table": 1}}]}
    with pytest.raises(ToolError):
        handle_query_requests(answers=[answer])
