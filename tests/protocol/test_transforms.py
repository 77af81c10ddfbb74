"""changesource/protocol/transforms.py"""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidTransform
from changesource.protocol.transforms import (
    MAX_QUERIES,
    QueryRequest,
    parse_transform,
    query_response,
    refused,
    transform_failed,
    transformed,
)

NOT_JSON = "The body is not JSON."
NOT_A_TRANSFORM = 'The body is not ["transform", […]].'
TOO_DEEP = "The body is nested too deeply."
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def one(**members: Any) -> bytes:
    """A request with one query."""
    return json.dumps(["transform", [{"id": "q1", "name": "a", "args": [], **members}]]).encode()


def test_a_request_is_a_list_of_queries() -> None:
    """The argument is the only member of args, or None if there is none. Other members are left alone."""
    body = ["transform", [{"id": "1", "name": "a.b", "args": [{"x": 1}]}, {"id": "2", "name": "c", "args": [], "y": 0}]]
    assert parse_transform(json.dumps(body).encode()) == (
        QueryRequest("1", "a.b", {"x": 1}),
        QueryRequest("2", "c", None),
    )
    assert parse_transform(b'["transform",[]]') == ()


def test_older_clients_send_several_arguments() -> None:
    """The first counts, as with Zero."""
    assert parse_transform(one(args=[1, 2])) == (QueryRequest("q1", "a", 1),)


def test_what_is_odd_in_one_query_is_left_to_it() -> None:
    """Names and arguments may be any text and any JSON."""
    for text in ("", "__proto__", "\ud800", "\0", "a" * 100_000):
        assert parse_transform(one(id=text, name=text, args=[text])) == (QueryRequest(text, text, text),)
    assert parse_transform(one(args=[{"__proto__": {"a": 1}}]))[0].argument == {"__proto__": {"a": 1}}


@pytest.mark.parametrize(
    ("body", "reason", "ids"),
    [
        (b"", NOT_JSON, ()),
        (b" ", NOT_JSON, ()),
        (b"transform", NOT_JSON, ()),
        (b'["transform",[]', NOT_JSON, ()),
        (b'["transform",[]]]', NOT_JSON, ()),
        (b'["transform",[],]', NOT_JSON, ()),
        (b"['transform',[]]", NOT_JSON, ()),
        (b'["transform",[{"id":"q1","name":"a","args":[NaN]}]]', NOT_JSON, ()),
        (b'["transform",[{"id":"q1","name":"a","args":[-Infinity]}]]', NOT_JSON, ()),
        (b'["transform",[{"id":"q1","name":"a","args":[' + b"1" * 5_000 + b"]}]]", NOT_JSON, ()),
        (b'["transform",[{"id":"q1","name":"\xff","args":[]}]]', NOT_JSON, ()),
        (b'["transform",[{"id":"q1","name":"\x00","args":[]}]]', NOT_JSON, ()),
        (b"\x80", NOT_JSON, ()),
        (b"[" * 100_000, TOO_DEEP, ()),
        (b'{"a":' * 100_000, TOO_DEEP, ()),
        (b'["transform",[{"id":"q1","name":"a","args":[' + b"[" * 50_000 + b"]" * 50_000 + b"]}]]", TOO_DEEP, ()),
        (b"null", NOT_A_TRANSFORM, ()),
        (b"{}", NOT_A_TRANSFORM, ()),
        (b"[]", NOT_A_TRANSFORM, ()),
        (b'"transform"', NOT_A_TRANSFORM, ()),
        (b'["transform"]', NOT_A_TRANSFORM, ()),
        (b'["transform",{}]', NOT_A_TRANSFORM, ()),
        (b'["transform",null]', NOT_A_TRANSFORM, ()),
        (b'["transform",[],[]]', NOT_A_TRANSFORM, ()),
        (b'["transformed",[]]', NOT_A_TRANSFORM, ()),
        (b'["Transform",[]]', NOT_A_TRANSFORM, ()),
        (b'[["transform"],[]]', NOT_A_TRANSFORM, ()),
        (b'{"0":"transform","1":[]}', NOT_A_TRANSFORM, ()),
        (b'["push",[]]', NOT_A_TRANSFORM, ()),
        (b'["transform",[null]]', "Query 0 has no id, name or args, or one of another type.", ()),
        (b'["transform",[[]]]', "Query 0 has no id, name or args, or one of another type.", ()),
        (b'["transform",["a"]]', "Query 0 has no id, name or args, or one of another type.", ()),
        (b'["transform",[{}]]', "Query 0 has no id, name or args, or one of another type.", ()),
        (one(id=1), "Query 0 has no id, name or args, or one of another type.", ()),
        (one(id=None), "Query 0 has no id, name or args, or one of another type.", ()),
        (one(id=["q1"]), "Query 0 has no id, name or args, or one of another type.", ()),
        (one(name=1), "Query 0 has no id, name or args, or one of another type.", ("q1",)),
        (one(name=None), "Query 0 has no id, name or args, or one of another type.", ("q1",)),
        (one(name=["a"]), "Query 0 has no id, name or args, or one of another type.", ("q1",)),
        (one(args=None), "Query 0 has no id, name or args, or one of another type.", ("q1",)),
        (one(args={}), "Query 0 has no id, name or args, or one of another type.", ("q1",)),
        (one(args="[]"), "Query 0 has no id, name or args, or one of another type.", ("q1",)),
        (
            b'["transform",[{"id":"q1","name":"a","args":[]},{"id":"q2","name":"a"},{"id":3},{"id":"q4"}]]',
            "Query 1 has no id, name or args, or one of another type.",
            ("q1", "q2", "q4"),
        ),
    ],
)
def test_a_request_that_is_not_in_the_protocol_is_refused(body: bytes, reason: str, ids: tuple[str, ...]) -> None:
    """With the ids that could be read, so that zero-cache knows whom to tell, and nothing else of the body."""
    with pytest.raises(InvalidTransform) as invalid:
        parse_transform(body)
    assert invalid.value.args[0] == reason
    assert json.loads(transform_failed(invalid.value)) == {
        "kind": "TransformFailed",
        "origin": "server",
        "reason": "parse",
        "message": f"Failed to parse the query request: {reason}",
        "queryIDs": list(ids),
    }


def test_a_request_has_a_bounded_number_of_queries() -> None:
    """One more, or 10,000, are refused."""
    queries = [{"id": str(number), "name": "a", "args": []} for number in range(10_000)]
    assert len(parse_transform(json.dumps(["transform", queries[:MAX_QUERIES]]).encode())) == MAX_QUERIES
    for count in (MAX_QUERIES + 1, 10_000):
        with pytest.raises(InvalidTransform) as invalid:
            parse_transform(json.dumps(["transform", queries[:count]]).encode())
        assert invalid.value.args[0] == f"The body has more than {MAX_QUERIES} queries."
        assert len(invalid.value.query_ids) == count


@given(st.binary(max_size=50) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_raises_anything_else(body: bytes) -> None:
    """Whatever is sent, it is read or refused."""
    with suppress(InvalidTransform):
        parse_transform(body)


@given(st.lists(st.tuples(st.text(), st.text(), json_values), max_size=3))
def test_requests_are_read_as_they_are_written(queries: list[tuple[str, str, Any]]) -> None:
    """Ids, names and arguments."""
    body = json.dumps(["transform", [{"id": id, "name": name, "args": [value]} for id, name, value in queries]])
    assert parse_transform(body.encode()) == tuple(QueryRequest(*query) for query in queries)


def test_answers_are_in_the_order_of_the_queries() -> None:
    """Each is an AST or an error, with the id and the name of its query."""
    first, second, third = QueryRequest("1", "a", None), QueryRequest("2", "\ud800", 5), QueryRequest("3", "c", {})
    answers = [transformed(first, {"table": "t"}), refused(second, "No."), refused(third, "No.", {"type": "x"})]
    assert json.loads(query_response("u1", answers)) == {
        "kind": "QueryResponse",
        "userID": "u1",
        "queries": [
            {"id": "1", "name": "a", "ast": {"table": "t"}},
            {"error": "app", "id": "2", "name": "\ud800", "message": "No."},
            {"error": "app", "id": "3", "name": "c", "message": "No.", "details": {"type": "x"}},
        ],
    }


def test_a_visitor_has_no_user_id() -> None:
    """null, and not left out: zero-cache would trust the client then."""
    assert query_response(None, []) == b'{"kind": "QueryResponse", "userID": null, "queries": []}'
